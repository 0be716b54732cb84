"""Folders of pictures, one folder per class; and pictures of any size and mode to one array.

Bytes stay bytes. Pictures of more than 8 bits (16 bit, 32 bit, float) keep their numbers, as
float32 with an axis for their one channel, and are scaled by the range that the training part
shows, as every other source is.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import ConfigError
from .folders import below, by_class, left_aside, parts
from .raw import Part, Raw
from .scaling import PICTURES

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG = ("JPEG", "MPO")
"""Phones write the second, a JPEG with further pictures behind it, under the ending of the
first."""
PORTABLE = ("PPM",)
FORMATS: Mapping[str, Sequence[str]] = {
    ".png": ("PNG",),
    ".apng": ("PNG",),
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".jpe": JPEG,
    ".jfif": JPEG,
    ".bmp": ("BMP",),
    ".gif": ("GIF",),
    ".webp": ("WEBP",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    ".ppm": PORTABLE,
    ".pgm": PORTABLE,
    ".pbm": PORTABLE,
    ".pnm": PORTABLE,
}
"""What a file of each ending holds, by Pillow's names."""
READABLE = tuple(sorted({names[0] for names in FORMATS.values()}))
ORIENTATION = 0x0112
"""EXIF's tag."""
SIDEWAYS = (5, 6, 7, 8)
"""Values of EXIF's orientation that swap width and height."""
BACKGROUNDS = (255, 0, 128)
"""Grey levels to lay transparent pictures on, the first that is far enough from what they show."""
QUARTER = 64
"""The least that the highest of the upper bytes of 16 bits must come to."""

Opener = Callable[[], AbstractContextManager["Image"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What all pictures of a dataset are brought to."""

    width: int
    height: int
    grey: bool
    deep: bool = False
    """Numbers of more than 8 bits, which are kept."""
    background: int = BACKGROUNDS[0]
    """Grey level behind transparent pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one picture says of itself."""

    size: tuple[int, int]
    """Width and height once the picture stands upright."""
    grey: bool
    range: tuple[float, float] | None
    """Lowest and highest value of a picture of more than 8 bits; None for bytes."""
    ink: int | None
    """Mean grey level of what is not transparent; None where all or nothing is."""
    animated: bool
    highest_of_upper: int | None
    """The highest upper byte of a colour picture of 16 bits, of which Pillow reads that byte
    alone."""


def read(folder: Path) -> Raw:
    """`folder/CLASS/*.png`, or `folder/train/CLASS/*` with `folder/test/CLASS/*`, whatever their
    case."""
    found = parts(folder, is_picture)
    train_files = by_class(found.train, is_picture, "pictures", f"*.png (or {_endings()})")
    openers = [opener(file) for file, _ in train_files]
    form, notes = survey(openers)
    train = _part(train_files, form)
    test = (
        _part(by_class(found.test, is_picture, "pictures", "*.png"), form) if found.test else None
    )
    notes = (*notes, *left_aside(found.train, is_picture, "pictures"), *found.notes)
    return Raw(where=str(folder), train=train, test=test, layout=PICTURES, notes=notes)


def read_inputs(folder: Path) -> np.ndarray:
    """Every picture below a folder, whatever the folders are called: as `stack` gives them."""
    files = [file for file in below(folder) if is_picture(file)]
    if not files:
        raise ConfigError(f"{folder}: no pictures; expected files that end in {_endings()}")
    openers = [opener(file) for file in files]
    return stack(openers, survey(openers)[0])


def is_picture(file: Path) -> bool:
    """Whether a file is a picture by its ending. Hidden files are none: some systems keep notes in
    them."""
    return file.suffix.lower() in FORMATS and not file.name.startswith(".")


def opener(file: Path) -> Opener:
    """Opens a picture when called; a damaged one is a `ConfigError` that names the file."""
    return partial(_open, file)


# --- one format for all ---------------------------------------------------------------------------


def survey(openers: Sequence[Opener]) -> tuple[Format, tuple[str, ...]]:
    """The most common size, grey only if every picture is, one depth; and notes on what is done to
    some."""
    looks = []
    for each in openers:
        with each() as picture:
            looks.append(_look(picture))
    (width, height), _ = Counter(look.size for look in looks).most_common(1)[0]
    inks = [look.ink for look in looks if look.ink is not None]
    form = Format(
        width=width,
        height=height,
        grey=all(look.grey for look in looks),
        deep=looks[0].range is not None,
        background=_background(inks),
    )
    _check_upper(looks)
    return form, tuple(_notes(looks, form))


def stack(openers: Sequence[Opener], form: Format) -> np.ndarray:
    """Pictures as uint8, [n, height, width] if grey, else [n, height, width, 3]; deep ones float32,
    [n, h, w, 1]."""
    last = (1,) if form.deep else () if form.grey else (3,)
    pixels = np.empty(
        (len(openers), form.height, form.width, *last), dtype=np.float32 if form.deep else np.uint8
    )
    for row, each in enumerate(openers):
        with each() as picture:
            pixels[row] = _pixels(picture, form).reshape(pixels.shape[1:])
    return pixels


def fitted(pixels: np.ndarray, form: Format) -> np.ndarray:
    """Pictures of one array, uint8, brought to another size and to grey or colour."""
    return stack([_held(picture) for picture in pixels], form)


def _held(picture: np.ndarray) -> Opener:
    return lambda: nullcontext(_pillow().fromarray(picture))


def _look(picture: "Image") -> _Look:
    size = picture.size
    deep = _is_deep(picture)
    if deep:
        lowest = np.asarray(picture).min()
        highest = np.asarray(picture).max()
    return _Look(
        size=(size[1], size[0]) if _lies(picture) else size,
        grey=picture.mode in ("1", "L", "LA") or deep,
        range=(float(lowest), float(highest)) if deep else None,
        ink=_ink(picture),
        animated=picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1,
        highest_of_upper=int(np.asarray(picture).max()) if _is_halved(picture) else None,
    )


def _lies(picture: "Image") -> bool:
    """Whether its EXIF says that it is to be turned by a quarter; Pillow turns TIFF itself."""
    has_exif = "exif" in picture.info or picture.format in JPEG
    return has_exif and picture.format != "TIFF" and picture.getexif().get(ORIENTATION) in SIDEWAYS


def _is_deep(picture: "Image") -> bool:
    return picture.mode == "F" or picture.mode.startswith("I")


def _is_halved(picture: "Image") -> bool:
    """16 bits per colour, of which Pillow keeps the upper 8."""
    return not _is_deep(picture) and any(
        ";16" in str(tile[3]) for tile in getattr(picture, "tile", ())
    )


def _is_transparent(picture: "Image") -> bool:
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def _ink(picture: "Image") -> int | None:
    if not _is_transparent(picture) or _is_deep(picture):
        return None
    pixels = np.asarray(picture.convert("RGBA"), dtype=np.float64)
    cover = pixels[..., 3]
    if cover.min() == cover.max():
        return None
    return round(float(np.average(pixels[..., :3].mean(-1), weights=cover)))


def _background(inks: Sequence[int]) -> int:
    """White, unless what is shown is nearer to it than to black or grey."""
    return max(BACKGROUNDS, key=lambda level: min((abs(level - ink) for ink in inks), default=0))


def _check_upper(looks: Sequence[_Look]) -> None:
    uppers = [look.highest_of_upper for look in looks if look.highest_of_upper is not None]
    if uppers and max(uppers) < QUARTER:
        raise ConfigError(
            f"colour pictures of 16 bits whose values stay below {(max(uppers) + 1) << 8}: of each "
            "the upper 8 bits are read, which would leave little: save them with values up to "
            "65535, or with 8 bits"
        )


def _notes(looks: Sequence[_Look], form: Format) -> Iterator[str]:
    count = len(looks)
    resized = sum(look.size != (form.width, form.height) for look in looks)
    if resized:
        yield (
            f"{resized} of {count} pictures resized to {form.width} x {form.height}, the most "
            "common size"
        )
    ranges = [look.range for look in looks if look.range is not None]
    if ranges:
        lowest = min(low for low, _ in ranges)
        highest = max(high for _, high in ranges)
        yield (
            f"pictures of more than 8 bits: {lowest:g} to {highest:g} seen, which becomes 0 to 1 "
            "(0 to 1 stays)"
        )
    if any(look.ink is not None for look in looks):
        yield f"transparent pictures laid on grey level {form.background} of 255"
    animated = sum(look.animated for look in looks)
    if animated:
        yield f"of {animated} of {count} pictures, which have several frames, the first is used"
    if any(look.highest_of_upper is not None for look in looks):
        yield "of colour pictures of 16 bits the upper 8 are read"


# --- one picture ----------------------------------------------------------------------------------


@contextmanager
def _open(file: Path) -> Iterator["Image"]:
    """A picture, decoded when its pixels are asked for; whatever a decoder raises becomes one
    error."""
    image = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with image.open(file, formats=READABLE) as picture:
                _check_content(picture, file)
                yield picture
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"{file}: not a readable picture ({error}): remove it or fetch it again"
        ) from error


def _check_content(picture: "Image", file: Path) -> None:
    width, height = picture.size
    if width * height > (most := _pillow().MAX_IMAGE_PIXELS):
        raise ConfigError(f"{width} x {height} pixels; expected at most {most}: make it smaller")
    if picture.format not in FORMATS[file.suffix.lower()]:
        raise ConfigError(
            f"its content is {picture.format}: give the file the ending of that, or fetch it again"
        )


def _pixels(picture: "Image", form: Format) -> np.ndarray:
    from PIL import ImageOps

    if _is_deep(picture) != form.deep:
        most = "more than 8 bits and" if form.deep else "8 bits and"
        raise ConfigError(
            f"mode {picture.mode}, where others have {most} cannot share its scale: save all alike"
        )
    upright = ImageOps.exif_transpose(picture)
    flat = _deep(upright) if form.deep else _flat(upright, form)
    if flat.size != (form.width, form.height):
        flat = flat.resize((form.width, form.height), _pillow().Resampling.BILINEAR)
    return np.asarray(flat)


def _deep(picture: "Image") -> "Image":
    numbers = np.asarray(picture).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ConfigError("a pixel is no finite number: fill the gap or remove the picture")
    made: Image = _pillow().fromarray(numbers)
    return made


def _flat(picture: "Image", form: Format) -> "Image":
    if _is_transparent(picture):
        level = form.background
        behind = _pillow().new("RGBA", picture.size, (level, level, level, 255))
        behind.alpha_composite(picture.convert("RGBA"))
        picture = behind
    return picture.convert("L" if form.grey else "RGB")


# --- folders --------------------------------------------------------------------------------------


def _part(files: list[tuple[Path, str]], form: Format) -> Part:
    pixels = stack([opener(file) for file, _ in files], form)
    return Part(inputs=pixels, labels=np.array([name for _, name in files]))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("pictures need Pillow: pip install 'distilfleet[train]'") from error
    return Image


def _endings() -> str:
    return ", ".join(sorted(FORMATS))
