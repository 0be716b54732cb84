"""Which folders below one are parts of a dataset (train, test, ...), and which are classes."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ConfigError

NAMES = {
    "train": "train|training|trn",
    "test": "test|testing|tst",
    "val": "val|valid|validation|validate|dev|development|eval|evaluation",
}
"""How parts are called, of which the first that is there is the test part."""
SAID = "images?|imgs?|pictures?|pics|photos?|data|dataset|set|split|part|folder|samples?"
"""What else such a name may say: train_images, TrainingSet."""
EXACT = {
    part: re.compile(rf"(?:(?:{SAID})[\W_\d]*)*(?:{names})[\W_\d]*(?:{SAID})?[\W_\d]*")
    for part, names in NAMES.items()
}
LOOSE = {
    part: re.compile(rf"(?:.*[\W_])?(?:{names})(?:[\W_\d].*)?") for part, names in NAMES.items()
}
"""Patterns for names such as seg_train and seg_test."""

Patterns = Mapping[str, re.Pattern[str]]
Wanted = Callable[[Path], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Folders whose own folders are the classes."""

    train: Path
    test: Path | None = None
    notes: tuple[str, ...] = ()


def part_of(name: str, patterns: Patterns = EXACT) -> str | None:
    """`train`, `test` or `val` for a folder that is called so, in any case; None for all others."""
    return next(
        (part for part, pattern in patterns.items() if pattern.fullmatch(name.lower())), None
    )


def parts(folder: Path, wanted: Wanted) -> Parts:
    """The folder itself where it holds classes. Raises ConfigError where it may hold either, or two
    parts for training.

    A part holds class folders, so a folder called `train` with `wanted` files directly in it is the
    class of trains.
    """
    visible = [place for place in sorted(folder.iterdir()) if not place.name.startswith(".")]
    places = [place for place in visible if _holds(place, wanted)]
    deep = [place for place in places if any(_holds(inner, wanted) for inner in place.iterdir())]
    if not deep:
        _check_flat(folder, places)
        return Parts(train=folder)
    called = _by_part(deep)
    train = called["train"]
    held_out = [*called["test"], *called["val"]]
    if not train and not held_out:
        _check_alone(folder, places)
        return Parts(train=folder)
    aside = [place for place in places if place not in (*train, *held_out)]
    others = [place for place in aside if part_of(place.name) is None]
    _check(folder, train, held_out, others)
    test = held_out[0] if held_out else None
    return Parts(train=train[0], test=test, notes=_notes(test, [*held_out[1:], *aside]))


def _check_alone(folder: Path, places: Sequence[Path]) -> None:
    """Raises ConfigError where the only folder is no class, but has the parts."""
    inner = [one for one in sorted(places[0].iterdir()) if one.is_dir() and part_of(one.name)]
    if len(places) == 1 and inner:
        parts = _names(inner)
        raise ConfigError(
            f"{folder}: its one folder, {places[0].name}, has {parts}: name {places[0]} instead"
        )


def _by_part(deep: Sequence[Path]) -> dict[str, list[Path]]:
    """The folders that are called as each part is."""
    patterns = _patterns(deep)
    return {
        part: [place for place in deep if part_of(place.name, patterns) == part] for part in NAMES
    }


def below(folder: Path) -> list[Path]:
    """Files at any depth, sorted, neither hidden nor in a hidden folder."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(
        file for file in files if not any(name[0] == "." for name in file.relative_to(folder).parts)
    )


def by_class(folder: Path, wanted: Wanted, what: str, example: str) -> list[tuple[Path, str]]:
    """(file, class) of every file that is wanted, sorted; the folders directly below are the
    classes.

    Args:
        what: how the message calls such files where there is none.
        example: the name of one.
    """
    found = [
        (file, class_name(place))
        for place in _visible(folder)
        for file in below(place)
        if wanted(file)
    ]
    if not found:
        raise ConfigError(
            f"{folder}: no {what} in class folders; expected {folder.name}/CLASS/{example}, one "
            f"folder per class"
        )
    return found


def left_aside(folder: Path, wanted: Wanted, what: str) -> Iterator[str]:
    """Notes on what lies in class folders and is not read."""
    inside = {place.name: below(place) for place in _visible(folder)}
    empty = [name for name, files in inside.items() if not any(map(wanted, files))]
    if empty:
        yield f"folders without {what} are no classes: {', '.join(empty)}"
    others = [file for files in inside.values() for file in files if not wanted(file)]
    if others:
        endings = sorted({file.suffix.lower() or file.name for file in others})
        yield f"{len(others)} files that are no {what} left aside: {', '.join(endings)}"


def _visible(folder: Path) -> list[Path]:
    return [
        place
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
    ]


def class_name(place: Path) -> str:
    """The class in one spelling, whichever system made the folder."""
    if not place.name.isprintable():
        raise ConfigError(f"{str(place)!a}: a class folder whose name cannot be printed: rename it")
    return unicodedata.normalize("NFC", place.name)


def _holds(place: Path, wanted: Wanted) -> bool:
    return place.is_dir() and any(wanted(file) for file in place.rglob("*"))


def _patterns(deep: Sequence[Path]) -> Patterns:
    """Names that say more than their part count only where all of them do, in this way or the plain
    one."""
    loosely = {part_of(place.name, LOOSE) for place in deep}
    return LOOSE if "train" in loosely and len(loosely) > 1 and None not in loosely else EXACT


def _check_flat(folder: Path, places: Sequence[Path]) -> None:
    if len(places) > 1 and all(part_of(place.name) for place in places):
        raise ConfigError(
            f"{folder}: {_names(places)} are parts without class folders; expected one folder for "
            "each class in them"
        )


def _check(
    folder: Path, train: Sequence[Path], held_out: Sequence[Path], others: Sequence[Path]
) -> None:
    if others and not (train and held_out):
        raise ConfigError(
            f"{folder}: {_names([*train, *held_out])} may be a part or a class, with "
            f"{_names(others)} beside it: put parts in folders called train and test, or classes "
            "in a folder of their own"
        )
    if len(train) != 1:
        fault = (
            f"{_names(train)} are all called so" if train else f"there is {_names(held_out)} alone"
        )
        raise ConfigError(
            f"{folder}: expected one folder for training, such as 'train'; {fault}: rename them"
        )


def _notes(test: Path | None, aside: Sequence[Path]) -> tuple[str, ...]:
    used = (f"test part from folder {test.name!r}",) if test else ()
    return (*used, f"not used: folder {_names(aside)}") if aside else used


def _names(places: Sequence[Path]) -> str:
    return ", ".join(repr(place.name) for place in places)
