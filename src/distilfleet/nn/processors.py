"""What a pretrained classifier does to its inputs first, as torch modules without weights: what its
processor says.

Devices and server share one form of a sample, so that proxy samples can be mixed; the large model's
own size, mean and deviation are applied inside of it, at each forward pass.

Axes: B batch, C channels, H height, W width, L steps or tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..core.types import PADDING
from .place import as_array

EPS = 1e-7
"""What is added to the variance of a wave before its root is taken, as the processors of speech
models do."""
Inputs = Mapping[str, Tensor]
"""What a model of `transformers` is called with, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelForm:
    """How pictures are to be for a model."""

    channels: int
    size: tuple[int, int] | None
    """Height and width that every picture is resized to; None: by its shorter side, or not at
    all."""
    shorter_side: int | None
    crop: tuple[int, int] | None
    """Height and width that are cut out of the middle."""
    interpolation: str
    scale: float
    """What values between 0 and 1 are multiplied by."""
    added_share: float
    """What is added then."""
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Pixels(nn.Module):
    """Pictures with values between 0 and 1, [B, C, H, W], as `pixel_values`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, form: PixelForm) -> None:
        super().__init__()
        self.form = form
        self.register_buffer("mean", torch.tensor(form.mean).reshape(-1, 1, 1), persistent=False)
        deviation = torch.tensor(form.deviation).reshape(-1, 1, 1)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, x_BCHW: Tensor) -> Inputs:
        form = self.form
        if x_BCHW.shape[1] == 1 and form.channels > 1:
            x_BCHW = x_BCHW.expand(-1, form.channels, -1, -1)
        resized = _cropped(_resized(x_BCHW, form), form.crop)
        scaled = resized * form.scale + form.added_share
        return {"pixel_values": (scaled - self.mean.to(scaled)) / self.deviation.to(scaled)}


def _resized(x_BCHW: Tensor, form: PixelForm) -> Tensor:
    height, width = x_BCHW.shape[2:]
    if form.size is not None:
        wanted = form.size
    elif form.shorter_side is not None:
        scale = form.shorter_side / min(height, width)
        wanted = (round(height * scale), round(width * scale))
    else:
        wanted = (height, width)
    if wanted == (height, width):
        return x_BCHW
    if form.interpolation == "nearest":
        return F.interpolate(x_BCHW, wanted, mode="nearest-exact")
    return F.interpolate(x_BCHW, wanted, mode=form.interpolation, antialias=True)


def _cropped(x_BCHW: Tensor, crop: tuple[int, int] | None) -> Tensor:
    """The middle of the pictures; black is added where they are smaller."""
    if crop is None:
        return x_BCHW
    height, width = crop
    missing_height = max(0, height - x_BCHW.shape[2])
    missing_width = max(0, width - x_BCHW.shape[3])
    if missing_height or missing_width:
        top, left = missing_height // 2, missing_width // 2
        x_BCHW = F.pad(x_BCHW, (left, missing_width - left, top, missing_height - top))
    top = (x_BCHW.shape[2] - height) // 2
    left = (x_BCHW.shape[3] - width) // 2
    return x_BCHW[:, :, top : top + height, left : left + width]


class Waves(nn.Module):
    """Sound of one channel, [B, 1, L], as `input_values` [B, L], of mean 0 and deviation 1 if
    asked."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, x_BCL: Tensor) -> Inputs:
        x_BL = x_BCL.squeeze(1)
        if self.normalised:
            deviation_B1 = (x_BL.var(1, correction=0, keepdim=True) + EPS).sqrt()
            x_BL = (x_BL - x_BL.mean(1, keepdim=True)) / deviation_B1
        return {"input_values": x_BL}


class Extracted(nn.Module):
    """Sound of one channel, [B, 1, L], as the model's own extractor makes it, on the processor."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, x_BCL: Tensor) -> Inputs:
        waves = list(as_array(x_BCL.squeeze(1)))
        rate_hz = self.extractor.sampling_rate
        made = self.extractor(waves, sampling_rate=rate_hz, return_tensors="pt")
        name = self.extractor.model_input_names[0]
        return {name: made[name].to(x_BCL)}


class Steps(nn.Module):
    """Series, [B, C, L], as `past_values` [B, L, C]."""

    def forward(self, x_BCL: Tensor) -> Inputs:
        return {"past_values": x_BCL.transpose(1, 2)}


class Tokens(nn.Module):
    """Ids of tokens, [B, L] with -1 behind each text, as ids and mask, no longer than the longest
    text."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x_BL: Tensor) -> Inputs:
        if not torch.compiler.is_compiling():
            longest = int((x_BL != PADDING).sum(1).max())
            x_BL = x_BL[:, : max(1, longest)]
        mask_BL = x_BL != PADDING
        ids_BL = torch.where(mask_BL, x_BL, self.padding).long()
        return {"input_ids": ids_BL, "attention_mask": mask_BL.long()}
