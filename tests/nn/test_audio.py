"""Nets for sound: spectra inside the net, by two fixed convolutions."""

import numpy as np
import pytest
import torch

from distilfleet.core.errors import ConfigError
from distilfleet.nn import audio, zoo
from distilfleet.nn.profile import profile


def test_power_is_that_of_a_fourier_transform():
    torch.manual_seed(0)
    waves = torch.randn(3, 1, 4000)
    spectrum = audio.LogMel(4000)
    assert (spectrum.frame, spectrum.hop, spectrum.bands) == (128, 64, 32)
    both = torch.nn.functional.conv1d(waves, audio._waves(128, waves), stride=64)
    power = both[:, :65].square() + both[:, 65:].square()
    window = torch.hann_window(128, periodic=True)
    expected = torch.fft.rfft(waves[:, 0].unfold(1, 128, 64) * window).abs().square()
    assert torch.allclose(power, expected.transpose(1, 2) / (0.375 * 128), rtol=1e-3, atol=1e-4)
    assert spectrum(waves).shape == (3, 32, spectrum.frames(4000)) == (3, 32, 61)
    assert spectrum(torch.randn(1, 1, 200_000)).exp().mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("frame", [64, 128, 256, 512])
def test_every_band_sees_something_and_bands_rise(frame):
    bands = audio._triangles(min(32, frame // 4), frame, torch.zeros(1))[..., 0].numpy()
    assert np.allclose(bands.sum(axis=1), 1)
    middles = bands @ np.arange(frame // 2 + 1)
    assert (np.diff(middles) > 0).all()
    assert np.isfinite(bands).all()


def test_a_tone_is_loudest_in_its_band():
    times = torch.arange(16_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * times) for hz in (300, 1000, 4000)])[:, None]
    loudest = audio.LogMel(16_000)(tones).mean(dim=2).argmax(dim=1).tolist()
    assert loudest == sorted(set(loudest))


def test_nets_for_sound_are_small_and_what_they_hear_is_no_weight():
    for name, weights in {"sound-xs": 6_000, "sound-s": 25_000, "sound-m": 80_000}.items():
        facts = profile(zoo.model(name, (1, 16_000), 12))
        assert facts.parameters < weights
        assert facts.weight_bytes == 4 * facts.parameters
    assert "spectrum" not in " ".join(zoo.model("sound-s", (1, 800), 3).build(0).state_dict())
    assert zoo.smalls_for((1, 8000), is_sound=True) == ("sound-xs", "sound-s", "sound-m")
    assert zoo.large_for((1, 8000), is_sound=True) == "sound-xl"


@pytest.mark.parametrize("shape", [(1, 200), (2, 4000), (1, 8, 8)])
def test_what_is_no_sound_is_refused(shape):
    with pytest.raises(ConfigError, match="it takes sound"):
        zoo.model("sound-s", shape, 3)
