"""What nets for sound hear: the logarithm of a spectrum in bands as wide as ears tell them apart.

The spectrum is a part of the net, so that a sample is a waveform for every model: small nets of the
zoo, large pretrained ones that have their own spectra, and a user's. It is two convolutions with
fixed weights, which every runtime of a board has; a Fourier transform is not. They are made anew at
each pass, so there is nothing to send, keep or train.

Axes: N samples, L steps, F frames, B bands, K frequencies.
"""

import math

import torch
from torch import Tensor, nn

FRAMES = 32
"""A frame is the power of two that comes next to this part of a sample."""
SHORTEST = 64
LONGEST = 512
"""Steps of a frame, whatever the sample: 32 ms at 16 kHz."""
FEWEST_STEPS = 4 * SHORTEST
MOST_BANDS = 32
BEND = 700.0
"""Hz at which pitch turns from even steps to even ratios (O'Shaughnessy, 1987), at 16 kHz."""
HIGHEST = 8000.0
"""Hz of the highest frequency at 16 kHz; at other rates bands keep their share of it."""
FLOOR = 1e-4
"""Power of silence, next to that of noise as loud as the training data."""


class LogMel(nn.Module):
    """Waveforms [N, 1, L] to log-mel spectra [N, B, F] (Davis and Mermelstein, 1980, without their
    cosine transform)."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.frame = frame_steps(steps)
        self.hop = self.frame // 2
        self.bands = min(MOST_BANDS, self.frame // 4)

    def frames(self, steps: int) -> int:
        """Frames of a sample; they overlap by half, and what is over at its end is not seen."""
        return 1 + (steps - self.frame) // self.hop

    def forward(self, x_N1L: Tensor) -> Tensor:
        waves_C1W = _waves(self.frame, x_N1L)
        both_NCF = nn.functional.conv1d(x_N1L, waves_C1W, stride=self.hop)
        real_NKF, imaginary_NKF = both_NCF.chunk(2, dim=1)
        power_NKF = real_NKF.square() + imaginary_NKF.square()
        bands_BK1 = _triangles(self.bands, self.frame, x_N1L)
        power_NBF = nn.functional.conv1d(power_NKF, bands_BK1)
        return (power_NBF + FLOOR).log()


def frame_steps(steps: int) -> int:
    """Steps of a frame for samples of this length. Raises ValueError for too short ones."""
    if steps < FEWEST_STEPS:
        raise ValueError(f"it takes sound: (1, steps), of at least {FEWEST_STEPS} steps")
    nearest = 1 << round(math.log2(steps / FRAMES))
    return min(LONGEST, max(SHORTEST, nearest))


def _waves(frame: int, like: Tensor) -> Tensor:
    """Cosines, then sines, of all frequencies under a Hann window; noise of deviation 1 has power
    of 1 in each."""
    times = torch.arange(frame, device=like.device, dtype=torch.float32)
    frequencies = torch.arange(frame // 2 + 1, device=like.device, dtype=torch.float32)
    window = 0.5 - 0.5 * torch.cos(times * (2 * math.pi / frame))
    angles = frequencies[:, None] * times * (2 * math.pi / frame)
    scale = 1 / math.sqrt(0.375 * frame)
    waves = torch.cat([angles.cos(), angles.sin()]) * (window * scale)
    return waves[:, None].to(like.dtype)


def _triangles(bands: int, frame: int, like: Tensor) -> Tensor:
    """Shares of each frequency in each band: triangles, even in pitch and at least two frequencies
    wide."""
    top = math.log1p(HIGHEST / BEND)
    even = [BEND * math.expm1(top * edge / (bands + 1)) / HIGHEST for edge in range(bands + 2)]
    edges = [share * (frame // 2) for share in even]
    for number in range(1, bands + 2):
        edges[number] = max(edges[number], edges[number - 1] + 1.0)
    bins = torch.arange(frame // 2 + 1, device=like.device, dtype=torch.float32)
    marks = torch.tensor(edges, device=like.device)
    low, middle, high = (marks[start : start + bands, None] for start in range(3))
    rising = (bins - low) / (middle - low)
    falling = (high - bins) / (high - middle)
    shares = torch.minimum(rising, falling).clamp(min=0)
    return (shares / shares.sum(dim=1, keepdim=True))[..., None].to(like.dtype)
