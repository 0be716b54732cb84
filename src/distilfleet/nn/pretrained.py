"""Classifiers of `transformers` that come trained: `hf:` and a folder, or the name of a model that
was fetched before.

Pictures, texts, sounds and series, by the shape of a sample. The model's own processor or tokenizer
says what it does to its inputs. Its head is kept where it is for the data's classes, by name, its
rows in the order of the data's; otherwise it gets a new one. Weights are read from safetensors
files alone, no code that comes with a model is run, and nothing is fetched.

Axes: N samples, L tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from logging import CRITICAL
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.models.auto import modeling_auto

from ..core.errors import ConfigError
from ..core.types import PADDING
from . import folder
from .language import DTYPE
from .processors import PixelForm, Pixels, Steps, Tokens, Waves

PROCESSOR = "preprocessor_config.json"
INTERPOLATIONS = {1: "bicubic", 2: "bilinear", 3: "bicubic", 4: "bilinear", 5: "bilinear"}
"""Torch's names of what PIL numbers; those that torch lacks are replaced by the nearest that it
has."""
HEAD_DEVIATION = 0.02
"""Standard deviation of the weights of a new head, where the model does not say."""
MOST_TOKENS = 512
"""Of a text, where the model does not say how many it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A kind of classification."""

    inputs: str
    """What it classifies, in words."""
    mapping: Any
    """The classes of `transformers` that do, by configuration."""


IMAGES = Classification(
    inputs="pictures", mapping=modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
)
TEXTS = Classification(
    inputs="texts", mapping=modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
)
SOUNDS = Classification(
    inputs="sounds", mapping=modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
)
SERIES = Classification(
    inputs="series", mapping=modeling_auto.MODEL_FOR_TIME_SERIES_CLASSIFICATION_MAPPING
)
CLASSIFICATIONS = {1: (TEXTS,), 2: (SOUNDS, SERIES), 3: (IMAGES,)}
"""What may be done with a sample of so many axes."""


class Pretrained(nn.Module):
    """A model of `transformers` behind what it does to its inputs; gives logits."""

    def __init__(self, net: nn.Module, reads: nn.Module, *, has_new_head: bool) -> None:
        super().__init__()
        self.net = net
        self.reads = reads
        self.has_new_head = has_new_head

    def forward(self, x_N: Tensor) -> Tensor:
        output = self.net(**self.reads(x_N))
        return _logits(output)


def _logits(output: Any) -> Tensor:
    """Whatever a family calls them."""
    for name in ("logits", "prediction_logits", "prediction_outputs"):
        if (found := getattr(output, name, None)) is not None:
            logits: Tensor = found
            return logits
    raise ConfigError(f"the model gives {type(output).__name__}, which has no logits")


def build(
    name: str, shape: tuple[int, ...], classes: int, class_names: tuple[str, ...] = ()
) -> Pretrained:
    """The classifier in evaluation mode; a new head draws from torch's generator.

    Raises:
        ConfigError: there is no such model here, it is for another task, or its files are not what
            they should be.
    """
    place = folder_of(name)
    with _said(name):
        settings = _settings(place)
        task = _classification(name, settings, shape)
        head = _order(settings, classes, class_names)
        reads = _reader(place, settings, task)
        net, is_new = _net(place, settings, task, classes, head)
    return Pretrained(net, reads, has_new_head=is_new)


def tokenised(name: str, texts: Sequence[str]) -> np.ndarray:
    """Ids of each text's tokens, cut at the model's longest, int32 [N, L], with -1 behind the
    shorter ones."""
    place = folder_of(name)
    tokenizer = _tokenizer(place)
    most = _most_tokens(place)
    rows = tokenizer(list(texts), truncation=True, max_length=most)["input_ids"]
    longest = max(map(len, rows), default=1)
    ids_NL = np.full((len(rows), longest), PADDING, np.int32)
    for row, ids in enumerate(rows):
        ids_NL[row, : len(ids)] = ids
    return ids_NL


def folder_of(name: str) -> Path:
    """Where the model lies: the folder that is named, or what was fetched from the hub before.
    Raises ConfigError."""
    place = name.removeprefix("hf:")
    path = Path(place).expanduser()
    if not path.is_dir():
        path = _fetched(place)
    if not (path / folder.CONFIG).is_file():
        raise ConfigError(
            f"{path}: no {folder.CONFIG}, which a model of transformers has: name "
            "the folder that has it"
        )
    folder.check(path)
    return path


# --- reading what a folder says -------------------------------------------------------------------


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"hf:{name}: no such folder, and no model of that name in this machine's cache of the "
            "hub: fetch it "
            f"with `hf download {name}`, or name its folder"
        ) from error


@lru_cache(maxsize=16)
def _settings(place: Path) -> Any:
    return transformers.AutoConfig.from_pretrained(
        place, trust_remote_code=False, local_files_only=True
    )


def _classification(name: str, settings: Any, shape: tuple[int, ...]) -> Classification:
    """What this model does with samples of this shape."""
    wanted = CLASSIFICATIONS.get(len(shape), ())
    found = next((task for task in wanted if type(settings) in task.mapping), None)
    if found is not None:
        return found
    able = [
        task.inputs for task in (IMAGES, TEXTS, SOUNDS, SERIES) if type(settings) in task.mapping
    ]
    given = " or ".join(task.inputs for task in wanted) or f"samples of shape {list(shape)}"
    does = (
        f"classifies {' and '.join(able)}" if able else "is no classifier that transformers knows"
    )
    raise ConfigError(
        f"{name}: {settings.model_type} {does}; the data are {given}: choose a model for those"
    )


def _order(settings: Any, classes: int, class_names: tuple[str, ...]) -> list[int] | None:
    """The rows of the head in the order of the data's classes; None: it needs a new head."""
    own = [_plain(str(label)) for _, label in sorted(settings.id2label.items())]
    if len(own) != classes:
        return None
    wanted = [_plain(name) for name in class_names]
    if sorted(own) == sorted(wanted) and len(set(own)) == classes:
        return [own.index(name) for name in wanted]
    numbered = not wanted or wanted == [str(at) for at in range(classes)]
    unnamed = own == [f"label {at}" for at in range(classes)]
    return list(range(classes)) if numbered or unnamed else None


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _reader(place: Path, settings: Any, task: Classification) -> nn.Module:
    if task is TEXTS:
        return Tokens(_padding(place, settings))
    if task is SERIES:
        return Steps()
    facts = _processor(place)
    if task is IMAGES:
        return Pixels(_pixel_form(facts, settings))
    return Waves(bool(facts.get("do_normalize", False)))


def _processor(place: Path) -> Mapping[str, Any]:
    if not (place / PROCESSOR).is_file():
        raise ConfigError(
            f"{place}: no {PROCESSOR}, which says what the model does to its inputs: fetch "
            "it with the model"
        )
    return folder.read_object(place / PROCESSOR)


def _pixel_form(facts: Mapping[str, Any], settings: Any) -> PixelForm:
    resized = facts.get("size") if facts.get("do_resize", True) else None
    size = {"height": resized, "width": resized} if isinstance(resized, int) else resized or {}
    cropped = facts.get("crop_size") if facts.get("do_center_crop") else None
    crop = {"height": cropped, "width": cropped} if isinstance(cropped, int) else cropped
    shorter = size.get("shortest_edge")
    share = facts.get("crop_pct")
    if shorter is not None and share:
        crop = {"height": shorter, "width": shorter}
        shorter = int(shorter / share)
    channels = int(getattr(settings, "num_channels", 3))
    normalised = facts.get("do_normalize", True) and facts.get("image_mean") is not None
    scale = (
        255 * float(facts.get("rescale_factor", 1 / 255))
        if facts.get("do_rescale", True)
        else 255.0
    )
    return PixelForm(
        channels=channels,
        size=(size["height"], size["width"]) if "height" in size else None,
        shorter_side=shorter,
        crop=None if crop is None else (crop["height"], crop["width"]),
        interpolation=INTERPOLATIONS[int(facts.get("resample") or 2)],
        scale=scale,
        added_share=-1.0 if facts.get("rescale_offset") else 0.0,
        mean=tuple(facts["image_mean"]) if normalised else (0.0,),
        deviation=tuple(facts["image_std"]) if normalised else (1.0,),
    )


# --- text -----------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _tokenizer(place: Path) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(
            place, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # whatever a family's own code makes of files that are not there
        raise ConfigError(
            f"{place}: no tokenizer that can be read ({_line(error)}): fetch tokenizer.json "
            "with the model"
        ) from error


def _padding(place: Path, settings: Any) -> int:
    padding = settings.pad_token_id
    if padding is None:
        padding = _tokenizer(place).pad_token_id
    return 0 if padding is None else int(padding)


def _most_tokens(place: Path) -> int:
    said = getattr(_settings(place), "max_position_embeddings", MOST_TOKENS)
    return int(min(said, _tokenizer(place).model_max_length))


# --- weights --------------------------------------------------------------------------------------


def _net(
    place: Path, settings: Any, task: Classification, classes: int, order: list[int] | None
) -> tuple[nn.Module, bool]:
    """The model with a head for the classes, and whether that is new."""
    kind = task.mapping[type(settings)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    wanted = _with_classes(settings, classes)
    read = {
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
        DTYPE: torch.float32,
    }
    net, facts = kind.from_pretrained(
        place, config=wanted, ignore_mismatched_sizes=True, output_loading_info=True, **read
    )
    head = _head_path(net)
    missing = [*facts["missing_keys"], *(key[0] for key in facts["mismatched_keys"])]
    is_new = any(key.startswith(f"{head}.") for key in missing)
    if order is None and not is_new:
        _renew(net.get_submodule(head), getattr(settings, "initializer_range", HEAD_DEVIATION))
        is_new = True
    if order is not None and not is_new:
        _reorder(net.get_submodule(head), order)
    return net.eval(), is_new


def _with_classes(settings: Any, classes: int) -> Any:
    wanted = type(settings)(**settings.to_dict())
    wanted.num_labels = classes
    if hasattr(wanted, "num_targets"):
        wanted.num_targets = classes
    return wanted


def _head_path(net: nn.Module) -> str:
    """The last linear layer outside of the encoder."""
    prefix = getattr(net, "base_model_prefix", "")
    linear = [
        path
        for path, part in net.named_modules()
        if isinstance(part, nn.Linear) and not path.startswith(f"{prefix}.")
    ]
    return str(linear[-1])


def _renew(head: Any, deviation_scale: float) -> None:
    """A linear layer as it is before any training; `transformers` itself would leave alone what it
    has read."""
    nn.init.normal_(head.weight, std=deviation_scale)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def _reorder(head: nn.Module, order: list[int]) -> None:
    rows = torch.tensor(order)
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(weight[rows].clone())


@contextmanager
def _said(name: str) -> Iterator[None]:
    """What a family's own code raises becomes the reason why its model is refused; it prints
    nothing."""
    logging: Any = transformers.utils.logging
    verbosity = logging.get_verbosity()
    showed_progress = logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SafetensorError) as error:
        raise ConfigError(f"{name}: cannot be read as a classifier ({_line(error)})") from error
    finally:
        logging.set_verbosity(verbosity)
        if showed_progress:
            logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
