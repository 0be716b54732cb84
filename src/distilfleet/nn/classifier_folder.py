"""What the folder of a classifier of `transformers` says, before its weights are read: what it
classifies, what becomes of its head, and what it does to its inputs first.

No code that comes with a model is run, and nothing is fetched.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from logging import CRITICAL
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from torch import nn
from transformers.models.auto import modeling_auto

from ..core.errors import ConfigError
from . import folder
from .processors import Extracted, PixelForm, Pixels, Steps, Tokens, Waves

PROCESSOR = "preprocessor_config.json"
VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model"),
    *("spiece.model", "sentencepiece.bpe.model"),
)
"""Files of which every tokenizer has one."""
POOLING = "1_Pooling/config.json"
"""Where models of sentences say how tokens become one vector."""
GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Last words of classes that write text."""
HEADS = ("For", "LMHead", "WithLMHead")
"""What is in the names of classes that have a head."""
INTERPOLATIONS = {1: "bicubic", 2: "bilinear", 3: "bicubic", 4: "bilinear", 5: "bilinear"}
"""Torch's names of what PIL numbers; those that torch lacks are replaced by the nearest that it
has."""
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
BY_AXES = {1: (TEXTS,), 2: (SOUNDS, SERIES), 3: (IMAGES,)}
"""What may be done with a sample of so many axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What becomes of a model's head."""

    order: tuple[int, ...] | None
    """Its rows in the order of the data's classes; None: it is replaced by a new one."""
    has_own: bool
    """Whether the folder has a head for this kind of classification at all."""
    note: str
    """What was decided, for the record."""

    @property
    def is_new(self) -> bool:
        return self.order is None


def folder_of(name: str) -> Path:
    """Where the model lies: the folder that is named, or what was fetched from the hub before.
    Raises ConfigError."""
    place = name.removeprefix("hf:")
    path = Path(place).expanduser()
    if not path.is_dir():
        path = _fetched(place)
    if not (path / folder.CONFIG).is_file():
        raise ConfigError(
            f"{path}: no {folder.CONFIG}, which a model of transformers has: name the folder that "
            "has it"
        )
    folder.check(path)
    if not any(path.glob("*.safetensors")):
        pickled = next((file.name for file in sorted(path.glob("*.bin"))), None)
        what = (
            f"its weights are pickled ({pickled}), which can run code" if pickled else "no weights"
        )
        raise ConfigError(
            f"{path}: {what}: put model.safetensors there, as save_pretrained of transformers "
            "writes it"
        )
    return path


@contextmanager
def reading(name: str) -> Iterator[None]:
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


@lru_cache(maxsize=16)
def settings_of(place: Path) -> Any:
    """The model's configuration."""
    return transformers.AutoConfig.from_pretrained(
        place, trust_remote_code=False, local_files_only=True
    )


def classification(name: str, settings: Any, shape: tuple[int, ...]) -> Classification:
    """What this model does with samples of this shape. Raises ConfigError for one that does not."""
    if settings.is_encoder_decoder:
        raise ConfigError(
            f"{name}: {settings.model_type} has an encoder and a decoder, and writes rather than "
            "classifies: choose a model that is an encoder alone"
        )
    wanted = BY_AXES.get(len(shape), ())
    found = next((task for task in wanted if type(settings) in task.mapping), None)
    if found is None:
        every = (IMAGES, TEXTS, SOUNDS, SERIES)
        able = [task.inputs for task in every if type(settings) in task.mapping]
        given = " or ".join(task.inputs for task in wanted) or f"of shape {list(shape)}"
        does = f"classifies {' and '.join(able)}" if able else "is no classifier of transformers"
        raise ConfigError(
            f"{name}: {settings.model_type} {does}; the data are {given}: choose a model for those"
        )
    _check_sizes(name, settings, found, shape)
    return found


def head_for(
    name: str, settings: Any, task: Classification, classes: int, class_names: tuple[str, ...]
) -> Head:
    """What becomes of the model's head. Raises ConfigError for a model that writes."""
    built = next(iter(settings.architectures or ()), "")
    if built.endswith(GENERATING):
        raise ConfigError(
            f"{name}: {built} predicts the next token and has no head for classes: choose a "
            "classifier or an encoder; `splitkd --teacher` takes this one"
        )
    own = task.mapping[type(settings)]
    of_task = [kind.__name__ for kind in (own if isinstance(own, tuple) else (own,))]
    if built not in of_task:
        other = f" in place of that of {built}" if any(word in built for word in HEADS) else ""
        note = f"{name} came without a head for classes: it gets a new one{other}."
        return Head(order=None, has_own=False, note=note)
    order, reason = _order(settings, classes, class_names)
    note = f"The head of {name} is kept: {reason}."
    if order is None:
        note = f"{name} gets a new head: {reason}."
    return Head(order=order, has_own=True, note=note)


def reader(place: Path, settings: Any, task: Classification) -> nn.Module:
    """What the model does to its inputs first. Raises ConfigError where its folder does not say."""
    if task is TEXTS:
        return Tokens(_padding(place, settings))
    if task is SERIES:
        return Steps()
    if not (place / PROCESSOR).is_file():
        raise ConfigError(
            f"{place}: no {PROCESSOR}, which says what the model does to its inputs: fetch it with "
            "the model"
        )
    facts = folder.read_object(place / PROCESSOR)
    if task is IMAGES:
        return Pixels(_pixel_form(facts, settings))
    kind: Any = transformers.AutoFeatureExtractor
    extractor = kind.from_pretrained(place, trust_remote_code=False, local_files_only=True)
    if isinstance(extractor, transformers.Wav2Vec2FeatureExtractor):
        return Waves(bool(extractor.do_normalize))
    return Extracted(extractor)


def rate_hz_of(name: str) -> float:
    """Numbers a second of the sounds that a model of sounds takes; 0 of one that does not say."""
    file = folder_of(name) / PROCESSOR
    return float(folder.read_object(file).get("sampling_rate", 0.0)) if file.is_file() else 0.0


def is_pooled_by_first(place: Path) -> bool:
    """Whether an encoder of sentences reads its first token, where others take the mean of all."""
    file = place / POOLING
    return file.is_file() and bool(folder.read_object(file).get("pooling_mode_cls_token", False))


@lru_cache(maxsize=4)
def tokenizer_of(place: Path) -> Any:
    """The model's tokenizer. Raises ConfigError.

    Of a folder that has none, `transformers` makes one without words, and says nothing.
    """
    if not any((place / file).is_file() for file in VOCABULARIES):
        raise ConfigError(f"{place}: no tokenizer ({VOCABULARIES[0]}): fetch it with the model")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            place, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # whatever a family's own code makes of files that are not there
        raise ConfigError(
            f"{place}: no tokenizer that can be read ({_line(error)}): fetch tokenizer.json with "
            "the model"
        ) from error


def most_tokens(place: Path) -> int:
    """Tokens of the longest text that the model takes."""
    settings = settings_of(place)
    said = getattr(settings, "max_position_embeddings", MOST_TOKENS)
    behind = (settings.pad_token_id or 0) + 1 if "roberta" in settings.model_type else 0
    return int(min(said - behind, tokenizer_of(place).model_max_length))


# --- details --------------------------------------------------------------------------------------


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"hf:{name}: no such folder, and no model of that name in this machine's cache of the "
            f"hub: fetch it with `hf download {name}`, or name its folder"
        ) from error


def _check_sizes(name: str, settings: Any, task: Classification, shape: tuple[int, ...]) -> None:
    """Raises ConfigError for samples of other sizes than the model's, where nothing mends that."""
    channels = shape[0]
    of_pictures = getattr(settings, "num_channels", 3)
    if task is IMAGES and channels not in (1, of_pictures):
        raise ConfigError(
            f"{name}: takes pictures of {of_pictures} channels; the data's have {channels}"
        )
    if task is SOUNDS and channels != 1:
        raise ConfigError(f"{name}: takes sounds of one channel; the data have {channels}")
    if task is SERIES:
        wanted = (settings.num_input_channels, settings.context_length)
        if wanted != shape:
            raise ConfigError(
                f"{name}: takes series of {wanted[0]} channels and {wanted[1]} steps; the data's "
                f"have {shape[0]} and {shape[1]}: cut the data so, as with --window, or choose "
                "another model"
            )


def _order(
    settings: Any, classes: int, class_names: tuple[str, ...]
) -> tuple[tuple[int, ...] | None, str]:
    """The rows of the head in the order of the data's classes, or None, and the reason."""
    own = [_plain(str(label)) for _, label in sorted(settings.id2label.items())]
    if len(own) != classes:
        return None, f"it knows {len(own)} classes, the data have {classes}"
    wanted = [_plain(name) for name in class_names]
    if sorted(own) == sorted(wanted) and len(set(own)) == classes:
        return tuple(own.index(name) for name in wanted), "it knows the data's classes by name"
    in_order = tuple(range(classes))
    if not wanted or wanted == [str(at) for at in range(classes)]:
        return (
            in_order,
            f"the data's classes are numbers, taken for its own in order ({own[0]}, ..)",
        )
    if own == [f"label {at}" for at in range(classes)]:
        return (
            in_order,
            f"its classes have no names, and are taken in the data's order ({wanted[0]}, ..)",
        )
    strange = next(name for name in own if name not in wanted)
    return None, f"it knows other classes than the data's, such as {strange!r}"


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _pixel_form(facts: Mapping[str, Any], settings: Any) -> PixelForm:
    size = _sides(facts.get("size")) if facts.get("do_resize", True) else {}
    crop = _sides(facts.get("crop_size")) if facts.get("do_center_crop") else {}
    shorter = size.get("shortest_edge")
    if shorter is not None and facts.get("crop_pct"):
        crop = {"height": shorter, "width": shorter}
        shorter = int(shorter / facts["crop_pct"])
    is_scaled = facts.get("do_rescale", True)
    scale = 255 * float(facts.get("rescale_factor", 1 / 255)) if is_scaled else 255.0
    is_normalised = facts.get("do_normalize", True) and facts.get("image_mean") is not None
    return PixelForm(
        channels=int(getattr(settings, "num_channels", 3)),
        size=(size["height"], size["width"]) if "height" in size else None,
        shorter_side=shorter,
        crop=(crop["height"], crop["width"]) if crop else None,
        interpolation=INTERPOLATIONS[int(facts.get("resample") or 2)],
        scale=scale,
        added_share=-1.0 if facts.get("rescale_offset") else 0.0,
        mean=tuple(facts["image_mean"]) if is_normalised else (0.0,),
        deviation=tuple(facts["image_std"]) if is_normalised else (1.0,),
    )


def _sides(said: Any) -> Mapping[str, int]:
    """A size as processors write it: one number for both sides, or sides by name."""
    return {"height": said, "width": said} if isinstance(said, int) else dict(said or {})


def _padding(place: Path, settings: Any) -> int:
    padding = settings.pad_token_id
    if padding is None:
        padding = tokenizer_of(place).pad_token_id
    return 0 if padding is None else int(padding)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
