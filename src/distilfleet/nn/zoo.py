"""Models by name: small and large nets for images, series and tables, the published ones, and the
user's own.

Zoo nets are `nn.Sequential` of named stages (`stem`, `stage1`, ..., `head`), so that distillation
can tap the output of each. They have no dropout, so training is deterministic, and GroupNorm in
place of BatchNorm, because running averages suffer when models are averaged; `conv-bn` is the one
exception. Early strides keep them cheap on a device.

Axes: N samples, C channels, L steps, H height, W width; nets of one family work on L and on HW
alike.
"""

import copy
import importlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ..core.errors import ConfigError, Error, did_you_mean
from . import audio, classics, trainable
from . import words as of_words
from .forward import words
from .isolation import seeded, settings_kept
from .own_nets import as_written, can_be_copied, fault_of, materialised
from .place import Place

PRETRAINED = "hf:"
"""How names of models of `transformers` begin."""
INNER = "net."
"""How names of their weights begin: beside the net lies what is done to its inputs."""
FEWEST_IDS = 8
"""As many ids as any vocabulary has."""
Factory = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a net with [N, classes] logits for the shape of one sample and the number of classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A net that can be built any number of times; get one from `model`, which checks it."""

    name: str
    """A zoo name, `hf:` and a model of `transformers`, `module:function` or
    `path/to/file.py:function`."""
    shape: tuple[int, ...]
    """The shape of one sample: (features,), (channels, steps), (channels, height, width), or
    (tokens,)."""
    classes: int
    train: str = trainable.ALL
    """What of it trains: all, head, lora:R or last:N."""
    class_names: tuple[str, ...] = ()
    """The names of the classes, by which a pretrained head knows which are its own; empty where
    nobody says."""
    of_texts: bool = False
    """Whether samples are the hashed words of texts, integers that are padded with `PADDING`."""

    place: Place = Place()
    """Where the module is put."""

    def build(self, seed: int) -> nn.Module:
        """A new net in training mode; the same seed gives the same weights. Torch's own seed stays
        as it was.

        A user's factory, which may read files, is called once per seed, and what it made is copied
        where that can be.
        """
        return self.place.put(self._made(seed))

    def _made(self, seed: int) -> nn.Module:
        if self.is_pretrained or not self.is_own or not can_be_copied(_kept(self, seed)):
            return _built(self, seed)
        try:
            return copy.deepcopy(_kept(self, seed))
        except Exception:  # whatever a user's attributes make of being copied
            return _built(self, seed)

    @property
    def is_own(self) -> bool:
        """Whether it is a user's net, of which nothing is known but what it does."""
        return self.name not in ZOO and not self.is_pretrained

    @property
    def is_pretrained(self) -> bool:
        """Whether it comes with weights of `transformers` that know something."""
        return self.name.startswith(PRETRAINED)

    @property
    def takes_ids(self) -> bool:
        """Whether samples are ids of tokens, which are not scaled or mixed."""
        return self.of_texts or (self.is_pretrained and len(self.shape) == 1)

    @property
    def dtype(self) -> str:
        """The type of samples, as numpy writes it."""
        return "<i4" if self.takes_ids else "<f4"

    def example(self, samples: int) -> torch.Tensor:
        """Inputs for a trial: seeded noise, or the first tokens of any vocabulary."""
        if self.takes_ids:
            return (
                torch.arange(samples * self.shape[0], dtype=torch.int32).reshape(samples, -1)
                % FEWEST_IDS
            )
        return torch.randn(samples, *self.shape, generator=torch.Generator().manual_seed(0))


def model(
    name: str,
    shape: Sequence[int],
    classes: int,
    train: str = trainable.ALL,
    class_names: Sequence[str] = (),
    *,
    of_texts: bool = False,
) -> Model:
    """The named model for samples of this shape, checked by a forward pass: of the zoo on the meta
    device, without memory, others for real.

    Args:
        train: what of it trains: `all`, `head`, `lora:R` (adapters of rank R, and the head) or
            `last:N` (the last N layers, and the head).
        class_names: of the data, for a pretrained model whose head may be for the same ones.
        of_texts: whether samples are the hashed words of texts.
    """
    trainable.check(train)
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 1 or classes < 2:
        raise ConfigError(
            f"a model needs sizes of at least 1 and at least 2 classes, not {sizes} and {classes}"
        )
    wanted = Model(name=name, shape=sizes, classes=int(classes), train=train, of_texts=of_texts)
    return _checked(
        replace(wanted, class_names=tuple(class_names)) if wanted.is_pretrained else wanted
    )


def large_for(shape: Sequence[int], is_sound: bool = False, of_texts: bool = False) -> str:
    """The zoo's large net for samples of this shape."""
    return f"{_family(shape, is_sound, of_texts)}-xl"


def smalls_for(
    shape: Sequence[int], is_sound: bool = False, of_texts: bool = False
) -> tuple[str, ...]:
    """The zoo's small nets for samples of this shape, from the smallest to the largest."""
    return SMALLS[_family(shape, is_sound, of_texts)]


# --- finding and checking -------------------------------------------------------------------------


def _family(shape: Sequence[int], is_sound: bool, of_texts: bool) -> str:
    if of_texts:
        return "words"
    if len(shape) not in FAMILIES:
        raise ConfigError(
            f"no zoo net takes samples of shape {tuple(shape)}; give a table, a series or an image"
        )
    return "sound" if is_sound else FAMILIES[len(shape)]


@lru_cache(maxsize=8)
def _kept(wanted: Model, seed: int) -> nn.Module:
    """What is copied; nobody works in it."""
    return _built(wanted, seed)


def _built(wanted: Model, seed: int) -> nn.Module:
    if wanted.is_pretrained:
        from . import pretrained  # seconds, for those who want one

        with seeded(seed), settings_kept():
            return _ready(
                pretrained.build(wanted.name, wanted.shape, wanted.classes, wanted.class_names),
                wanted.train,
            )
    factory = _factory(wanted.name)
    with seeded(seed), settings_kept():
        net: object = factory(wanted.shape, wanted.classes)
        if not isinstance(net, nn.Module):
            raise ConfigError(
                f"{wanted.name} returned {type(net).__name__}; a model factory returns a "
                "torch.nn.Module"
            )
        net = as_written(net)
        for switch in (net.eval, net.train):
            if switch() is not net:
                raise ConfigError(
                    f"{switch.__name__}() of {wanted.name} does not return the net; end it in "
                    "return self"
                )
        return _ready(materialised(net, wanted.example), wanted.train)


def _ready(net: nn.Module, train: str) -> nn.Module:
    return trainable.train_mode(trainable.choose(net, train))


@lru_cache(maxsize=256)
def _checked(wanted: Model) -> Model:
    if not wanted.is_pretrained:
        _factory(wanted.name)
    if wanted.train != trainable.ALL:
        _checked(replace(wanted, train=trainable.ALL))
    if wanted.is_pretrained or wanted.train != trainable.ALL:
        wanted.build(seed=0)  # what is wrong with a folder, or a choice, is said as it is
    fault = _fault(wanted)
    if fault is None:
        return wanted
    if wanted.train != trainable.ALL:
        raise ConfigError(f"--train {wanted.train} does not suit {wanted.name}: {fault}")
    if wanted.is_pretrained:
        raise ConfigError(f"{wanted.name} does not take samples of shape {wanted.shape}: {fault}")
    fitting = [name for name in ZOO if _fault(replace(wanted, name=name)) is None]
    remedy = f"these do: {', '.join(fitting)}" if fitting else "no zoo model does"
    verb = "does not take" if wanted.name in ZOO else "cannot be trained on"
    raise ConfigError(
        f"model {wanted.name} {verb} samples of shape {wanted.shape} ({fault}); {remedy}"
    )


def _fault(wanted: Model) -> str | None:
    """Why the net does not map [2, *shape] to [2, classes]; None if it does. Two samples, for
    BatchNorm's sake."""
    try:
        if wanted.is_own or wanted.is_pretrained:
            return _fault_as_built(wanted)
        if wanted.of_texts != (wanted.name in WORDS):
            return "it takes hashed words of texts" if wanted.name in WORDS else "it takes numbers"
        with torch.device("meta"):
            wanted.build(seed=0)(wanted.example(2).to("meta"))
    except Error as error:
        return str(error)
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever building or running a net on a shape that it was not made for can raise
        return words(error)
    return None


def _fault_as_built(wanted: Model) -> str | None:
    net = wanted.build(seed=0)
    if wanted.train.startswith(trainable.LORA) and trainable.adapted_in_vain(
        net, wanted.example(2)
    ):
        return "it goes past adapters, for it reads the weights of its layers itself; take last:N"
    return fault_of(net, wanted.example, wanted.classes)


@lru_cache(maxsize=256)
def _factory(name: str) -> Factory:
    if name in ZOO:
        return ZOO[name]
    place, colon, function = name.rpartition(":")
    if not (colon and place and function):
        raise ConfigError(
            f"unknown model {name!r}{did_you_mean(name, ZOO)}; known are {', '.join(ZOO)}, "
            "or module:function for your own"
        )
    found = getattr(_module(place), function, None)
    if not callable(found):
        raise ConfigError(
            f"{place} has no function {function}; define {function}(shape, classes) -> "
            "torch.nn.Module"
        )
    factory: Factory = found
    return factory


def _module(place: str) -> ModuleType:
    try:
        with settings_kept():
            return (
                _module_at(Path(place)) if place.endswith(".py") else importlib.import_module(place)
            )
    except Error:
        raise
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        remedy = "mend it, install what is missing, or name the file as path/to/file.py:function"
        raise ConfigError(
            f"cannot import {place} for a model ({words(error)}); {remedy}"
        ) from error


def _module_at(path: Path) -> ModuleType:
    """The file's module under its full path as name, run once."""
    name = str(path.resolve())
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"no Python file {path} for a model; give path/to/file.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# --- images ---------------------------------------------------------------------------------------


def conv_xs(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two stages of 8 and 16 channels."""
    return _stages(_image(shape), classes, (8, 16), _plain)


def conv_s(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 12, 24 and 32 channels."""
    return _stages(_image(shape), classes, (12, 24, 32), _plain)


def dsconv_s(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Depthwise-separable stages (MobileNet, arXiv 1704.04861)."""
    return _stages(_image(shape), classes, (16, 32, 64), _separable)


def conv_m(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 16, 32 and 64 channels."""
    return _stages(_image(shape), classes, (16, 32, 64), _plain)


def conv_l(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 20, 40 and 80 channels."""
    return _stages(_image(shape), classes, (20, 40, 80), _plain)


def conv_xl(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 48, 96 and 192 channels, to be taught by many small nets."""
    return _stages(_image(shape), classes, (48, 96, 192), _plain)


def conv_bn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """`conv-s` with BatchNorm."""
    return _stages(_image(shape), classes, (12, 24, 32), _normalised)


# --- series ---------------------------------------------------------------------------------------


def wave_xs(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two stages of 8 and 16 channels."""
    return _stages(_series(shape), classes, (8, 16), _bypassed)


def wave_s(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 16, 32 and 32 channels."""
    return _stages(_series(shape), classes, (16, 32, 32), _bypassed)


def wave_m(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 24, 48 and 64 channels."""
    return _stages(_series(shape), classes, (24, 48, 64), _bypassed)


def wave_l(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three stages of 32, 64 and 96 channels."""
    return _stages(_series(shape), classes, (32, 64, 96), _bypassed)


def wave_xl(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Residual stages of two convolutions (as in arXiv 1611.06455)."""
    return _stages(_series(shape), classes, (64, 128, 192), _residual)


# --- sound ----------------------------------------------------------------------------------------


def sound_xs(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Spectra, then two stages of 12 and 24 channels over time."""
    return _heard(shape, classes, (12, 24), _bypassed)


def sound_s(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Spectra, then three stages of 16, 32 and 48 channels over time (as in arXiv 1904.03814)."""
    return _heard(shape, classes, (16, 32, 48), _bypassed)


def sound_m(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Spectra, then three stages of 32, 48 and 96 channels over time."""
    return _heard(shape, classes, (32, 48, 96), _bypassed)


def sound_xl(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Spectra, then residual stages of two convolutions over time."""
    return _heard(shape, classes, (96, 160, 256), _residual)


# --- tables, and anything flattened ---------------------------------------------------------------


def mlp_xs(shape: tuple[int, ...], classes: int) -> nn.Module:
    """One hidden layer of 16."""
    return _mlp(shape, classes, (16,))


def mlp_s(shape: tuple[int, ...], classes: int) -> nn.Module:
    """One hidden layer of 48."""
    return _mlp(shape, classes, (48,))


def mlp_m(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two hidden layers of 64."""
    return _mlp(shape, classes, (64, 64))


def mlp_l(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two hidden layers of 128."""
    return _mlp(shape, classes, (128, 128))


def mlp_xl(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three hidden layers of 512, 512 and 256."""
    return _mlp(shape, classes, (512, 512, 256))


def perceptron(shape: tuple[int, ...], classes: int) -> nn.Module:
    """One hidden layer of 64."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(shape), 64), nn.ReLU(), nn.Linear(64, classes)
    )


# --- parts ----------------------------------------------------------------------------------------

Stage = Callable[[int, int, int, int], nn.Module]
"""Makes a stage of dimensions (1: series, 2: image), channels in, channels out and stride."""


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError("it takes images: (channels, height, width)")
    return shape


def _series(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 2:
        raise ValueError("it takes series: (channels, steps)")
    return shape


def _stages(
    shape: tuple[int, ...], classes: int, widths: tuple[int, ...], stage: Stage
) -> nn.Sequential:
    """A stem, a stage that halves the size for each further width, and a head on the means over
    positions."""
    dims = len(shape) - 1
    parts: dict[str, nn.Module] = {
        "stem": _stem(shape, widths[0], nn.BatchNorm2d if stage is _normalised else _norm)
    }
    for number, (inputs, outputs) in enumerate(pairwise(widths), 1):
        parts[f"stage{number}"] = stage(dims, inputs, outputs, 2)
    left = _left(nn.Sequential(OrderedDict(parts)), shape)
    parts["head"] = _head(left, widths[-1], classes, 2 if max(shape[1:]) < 16 else 3)
    return _initialised(nn.Sequential(OrderedDict(parts)))


def _heard(
    shape: tuple[int, ...], classes: int, widths: tuple[int, ...], stage: Stage
) -> nn.Sequential:
    """Stages over the spectra of a waveform, whose bands are channels."""
    if len(shape) != 2 or shape[0] != 1:
        raise ValueError("it takes sound: (1, steps)")
    spectrum = audio.LogMel(shape[1])
    inner = _stages((spectrum.bands, spectrum.frames(shape[1])), classes, widths, stage)
    return nn.Sequential(OrderedDict([("spectrum", spectrum), *inner.named_children()]))


def _left(body: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The size that the stages leave of a sample of this shape: (steps,) or (height, width)."""
    tensors = {**dict(body.named_parameters()), **dict(body.named_buffers())}
    without_memory = {name: tensor.to("meta") for name, tensor in tensors.items()}
    features = functional_call(body, without_memory, torch.empty(2, *shape, device="meta"))
    return tuple(features.shape[2:])


def _stem(shape: tuple[int, ...], width: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    """The first stage, which shrinks large samples.

    A series is not normalised here: that would take away the amplitude, and with it gravity in an
    accelerometer's data.
    """
    stride = _stem_stride(shape)
    if len(shape) == 2:
        return nn.Sequential(_conv(1, shape[0], width, stride, kernel=9, bias=True), nn.ReLU())
    pool = [nn.MaxPool2d(2)] if stride > 1 else []
    return nn.Sequential(
        _conv(2, shape[0], width, max(1, stride // 2)), *pool, norm(width), nn.ReLU()
    )


def _stem_stride(shape: tuple[int, ...]) -> int:
    """1, 2 or 4: the larger the sample, the sooner it shrinks, so that no net is dear on a
    device."""
    few, many = (16, 64) if len(shape) == 2 else (12, 48)
    size = max(shape[1:])
    return 1 if size <= few else 2 if size <= many else 4


def _head(left: tuple[int, ...], width: int, classes: int, side: int) -> nn.Module:
    """Logits from the mean over a series, or over each part of an image, at most `side` of them
    each way: small nets need to know where.

    The windows that are averaged are all of one size and lie at equal distances, which every
    runtime of a board has as one operation. Adaptive pooling, whose windows differ, becomes a
    gather there wherever sizes do not divide.
    """
    if len(left) == 1:
        return nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, classes))
    sides = [min(side, size) for size in left]
    strides = [size // many for size, many in zip(left, sides, strict=True)]
    kernels = [
        size - (many - 1) * stride for size, many, stride in zip(left, sides, strides, strict=True)
    ]
    pool = (
        nn.Identity()
        if max(kernels) == 1
        else nn.AvgPool2d((kernels[0], kernels[1]), (strides[0], strides[1]))
    )
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(width * prod(sides), classes))


def _conv(
    dims: int, inputs: int, outputs: int, stride: int, *, kernel: int = 0, **options: Any
) -> nn.Conv1d | nn.Conv2d:
    """Convolution that keeps the size at stride 1; without bias unless asked, as a normalisation
    follows."""
    make = nn.Conv1d if dims == 1 else nn.Conv2d
    width = kernel or (5 if dims == 1 else 3)
    return make(inputs, outputs, width, stride, width // 2, **{"bias": False, **options})


def _initialised(net: nn.Sequential) -> nn.Sequential:
    """Convolutions as in He et al. 2015 (arXiv 1502.01852), so that what is not normalised keeps
    its size."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(1, channels // 8), channels)


def _plain(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Images are convolved in full and pooled after, which is worth a point or two of accuracy over
    a stride."""
    return nn.Sequential(
        _conv(dims, inputs, outputs, 1), _norm(outputs), nn.ReLU(), nn.MaxPool2d(stride)
    )


def _normalised(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(_conv(dims, inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU())


def _separable(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    depthwise = _conv(dims, inputs, inputs, stride, groups=inputs)
    return nn.Sequential(
        depthwise, _conv(dims, inputs, outputs, 1, kernel=1), _norm(outputs), nn.ReLU()
    )


def _bypassed(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    body = nn.Sequential(_conv(dims, inputs, outputs, stride), _norm(outputs))
    return _with_shortcut(body, dims, inputs, outputs, stride)


def _residual(dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    first = nn.Sequential(_conv(dims, inputs, outputs, stride), _norm(outputs), nn.ReLU())
    body = nn.Sequential(first, _conv(dims, outputs, outputs, 1), _norm(outputs))
    return _with_shortcut(body, dims, inputs, outputs, stride)


def _with_shortcut(body: nn.Module, dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Normalised convolutions beside one that is not, so that amplitudes survive: on the watch data
    worth 5 points."""
    shortcut = _conv(dims, inputs, outputs, stride, kernel=1, bias=True)
    return nn.Sequential(classics.Residual(body, shortcut), nn.ReLU())


def _mlp(shape: tuple[int, ...], classes: int, widths: tuple[int, ...]) -> nn.Sequential:
    parts: dict[str, nn.Module] = {
        "stem": nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), widths[0]), nn.ReLU())
    }
    for number, (inputs, outputs) in enumerate(pairwise(widths), 1):
        parts[f"stage{number}"] = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())
    parts["head"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(OrderedDict(parts))


# --- names ----------------------------------------------------------------------------------------

WORDS: dict[str, Factory] = {
    "words-s": of_words.words_s,
    "words-m": of_words.words_m,
    "words-l": of_words.words_l,
    "words-xl": of_words.words_xl,
}
"""Nets of texts."""
ZOO: dict[str, Factory] = {
    "conv-xs": conv_xs,
    "conv-s": conv_s,
    "dsconv-s": dsconv_s,
    "conv-m": conv_m,
    "conv-l": conv_l,
    "conv-xl": conv_xl,
    "conv-bn": conv_bn,
    "wave-xs": wave_xs,
    "wave-s": wave_s,
    "wave-m": wave_m,
    "wave-l": wave_l,
    "wave-xl": wave_xl,
    "sound-xs": sound_xs,
    "sound-s": sound_s,
    "sound-m": sound_m,
    "sound-xl": sound_xl,
    "mlp-xs": mlp_xs,
    "mlp-s": mlp_s,
    "mlp-m": mlp_m,
    "mlp-l": mlp_l,
    "mlp-xl": mlp_xl,
    "perceptron": perceptron,
    **WORDS,
    "vgg19": classics.vgg19,
    "mobilenet-v2": classics.mobilenet_v2,
    "mobilenet-v3-small": classics.mobilenet_v3_small,
    "shufflenet-v2-x0.5": classics.shufflenet_v2_x0_5,
    "shufflenet-v2-x1.0": classics.shufflenet_v2_x1_0,
    "shufflenet-v2-x1.5": classics.shufflenet_v2_x1_5,
    "squeezenet-1.1": classics.squeezenet1_1,
}
FAMILIES = {1: "mlp", 2: "wave", 3: "conv"}
"""The family of nets by the number of axes of one sample."""
SMALLS = {
    "mlp": ("mlp-xs", "mlp-s", "mlp-m", "mlp-l"),
    "wave": ("wave-xs", "wave-s", "wave-m", "wave-l"),
    "sound": ("sound-xs", "sound-s", "sound-m"),
    "conv": ("conv-xs", "dsconv-s", "conv-s", "conv-m", "conv-l"),
    "words": ("words-s", "words-m", "words-l"),
}
