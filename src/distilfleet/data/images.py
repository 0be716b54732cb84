"""Folders of pictures, one folder per class; and pictures of any size and mode to one array."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distilfleet.core.errors import ConfigError
from distilfleet.data.raw import Part, Raw

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
TEST_FOLDERS = ("test", "val", "valid", "validation")

Opener = Callable[[], AbstractContextManager["Image"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What all pictures of a dataset are brought to."""

    width: int
    height: int
    grey: bool


def read(folder: Path) -> Raw:
    """`folder/CLASS/*.png`, or `folder/train/CLASS/*` with `folder/test/CLASS/*`."""
    train_folder = folder / "train" if (folder / "train").is_dir() else folder
    train_files = _by_class(train_folder)
    openers = [opener(file) for file, _ in train_files]
    form, note = survey(openers)
    train = _part(train_files, form)
    test_folder = _test_folder(folder) if train_folder != folder else None
    test = _part(_by_class(test_folder), form) if test_folder else None
    test_note = (f"test part from folder {test_folder.name!r}",) if test_folder else ()
    return Raw(where=str(folder), train=train, test=test, notes=(*note, *test_note))


def read_inputs(folder: Path) -> np.ndarray:
    """Every picture below a folder, whatever the folders are called: uint8, [n, h, w] or [n, h, w, 3]."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    if not files:
        raise ConfigError(f"{folder}: no pictures; expected files that end in {_endings()}")
    openers = [opener(file) for file in files]
    return stack(openers, survey(openers)[0])


def opener(file: Path) -> Opener:
    """Opens a picture when called; a damaged one is a `ConfigError` that names the file."""
    return partial(_open, file)


def survey(openers: Sequence[Opener]) -> tuple[Format, tuple[str, ...]]:
    """The most common size, grey only if every picture is; and a note if some have to be resized."""
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for each in openers:
        with each() as picture:
            sizes[picture.size] += 1
            grey = grey and _is_grey(picture)
    (width, height), count = sizes.most_common(1)[0]
    odd = len(openers) - count
    note = (f"{odd} of {len(openers)} pictures resized to {width} x {height}, the most common size",) if odd else ()
    return Format(width=width, height=height, grey=grey), note


def stack(openers: Sequence[Opener], form: Format) -> np.ndarray:
    """Pictures as uint8, [n, height, width] if grey, else [n, height, width, 3]."""
    shape = (form.height, form.width) if form.grey else (form.height, form.width, 3)
    pixels = np.empty((len(openers), *shape), dtype=np.uint8)
    for row, each in enumerate(openers):
        with each() as picture:
            pixels[row] = _pixels(picture, form)
    return pixels


@contextmanager
def _open(file: Path) -> Iterator["Image"]:
    """A picture, decoded when its pixels are asked for; Pillow's many errors become one."""
    image = _pillow()
    try:
        with image.open(file) as picture:
            yield picture
    except (OSError, ValueError, SyntaxError, EOFError, image.DecompressionBombError) as error:
        raise ConfigError(f"{file}: not a readable picture ({error}): remove it or fetch it again") from error


def _by_class(folder: Path) -> list[tuple[Path, str]]:
    """(file, class) of every picture, sorted; the folders directly below are the classes."""
    found = [
        (file, place.name)
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
        for file in sorted(place.rglob("*"))
        if file.suffix.lower() in ENDINGS
    ]
    if not found:
        raise ConfigError(
            f"{folder}: no pictures in class folders; expected {folder.name}/CLASS/*.png (or {_endings()}), one folder "
            f"per class, or IDX files"
        )
    return found


def _part(files: list[tuple[Path, str]], form: Format) -> Part:
    pixels = stack([opener(file) for file, _ in files], form)
    return Part(inputs=pixels, labels=np.array([name for _, name in files]))


def _test_folder(folder: Path) -> Path | None:
    return next((folder / name for name in TEST_FOLDERS if (folder / name).is_dir()), None)


def _is_grey(picture: "Image") -> bool:
    return picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I")


def _pixels(picture: "Image", form: Format) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip
        picture = _pillow().fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    picture = picture.convert("L" if form.grey else "RGB")
    if picture.size != (form.width, form.height):
        picture = picture.resize((form.width, form.height), _pillow().Resampling.BILINEAR)
    return np.asarray(picture)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("pictures need Pillow: pip install 'distilfleet[train]'") from error
    return Image


def _endings() -> str:
    return ", ".join(sorted(ENDINGS))
