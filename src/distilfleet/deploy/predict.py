"""Predictions of a model for a file: batch by batch, as rows that can be written while they come.

torch is used where it is; elsewhere an exported form is played, see `onnx`.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from ..core.disk import UNFINISHED, storing
from ..core.errors import ConfigError
from ..data.naming import Naming
from ..data.spec import DataSpec
from . import facts, onnx, samples

OUTPUTS = (".csv", ".jsonl")
Row = dict[str, Any]
"""One prediction, as it is written."""


class Predictor(Protocol):
    """A classifier of numbers, whatever runs it."""

    @property
    def spec(self) -> DataSpec: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    def probabilities(self, inputs: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A file that is ready to be predicted."""

    count: int
    """How many samples there are."""
    batches: Iterator[np.ndarray]
    """The probabilities of some samples after the other, [B, C]."""
    classes: tuple[str, ...]
    labels: np.ndarray | None = None
    """The number of each sample's class, -1 for one that the model does not know; None without
    labels."""
    texts: Sequence[str] = ()
    """The samples themselves, where they are texts."""
    notes: tuple[str, ...] = ()


def has_torch() -> bool:
    """Whether this machine can run models that are not exported."""
    from importlib.util import find_spec

    return find_spec("torch") is not None


def work(model: Any, file: str, naming: Naming, batch: int) -> Asked:
    """Read the file as the model takes it. Raises ConfigError.

    Args:
        model: what `load` or `onnx.load` gives.
        batch: samples that are judged at a time.
    """
    if getattr(model, "takes_texts", False):
        return _of_texts(model, file, naming, batch)
    found = samples.read(file, model.spec, naming)
    starts = range(0, len(found), batch)
    return Asked(
        count=len(found),
        batches=(_shares(model, found.inputs[at : at + batch]) for at in starts),
        classes=model.classes,
        labels=found.labels,
        notes=found.notes,
    )


def _of_texts(model: Any, file: str, naming: Naming, batch: int) -> Asked:
    found = samples.read_texts(file, naming)
    starts = range(0, len(found.texts), batch)
    return Asked(
        count=len(found.texts),
        batches=(model.predict(found.texts[at : at + batch]) for at in starts),
        classes=model.classes,
        labels=found.numbers(model.classes),
        texts=found.texts,
        notes=found.notes,
    )


def _shares(model: Any, inputs: np.ndarray) -> np.ndarray:
    found: np.ndarray = model.probabilities(inputs)
    return found


# --- rows -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Score:
    """How many of the labelled samples were right."""

    right: int = 0
    labelled: int = 0

    def __str__(self) -> str:
        share = self.right / max(1, self.labelled)
        return f"accuracy {share:.1%} of {self.labelled} labelled samples"


def rows(asked: Asked, score: Score) -> Iterator[Row]:
    """One for each sample, in the order of the file; `score` counts along."""
    number = 0
    for shares_BC in asked.batches:
        for shares_C in shares_BC:
            yield _row(asked, number, shares_C, score)
            number += 1


def _row(asked: Asked, number: int, shares_C: np.ndarray, score: Score) -> Row:
    best = int(shares_C.argmax())
    row: Row = {"sample": number + 1}
    if asked.texts:
        row["text"] = asked.texts[number]
    row |= {"class": asked.classes[best], "probability": _rounded(shares_C[best])}
    if asked.labels is not None and asked.labels[number] >= 0:
        label = int(asked.labels[number])
        score.labelled += 1
        score.right += best == label
        row["label"] = asked.classes[label]
    elif asked.labels is not None:
        row["label"] = ""
    named = zip(asked.classes, shares_C, strict=True)
    return row | {f"p({name})": _rounded(share) for name, share in named}


def _rounded(share: np.floating[Any]) -> float:
    return round(float(share), 6)


@contextmanager
def writing(out: Path) -> Iterator[Callable[[Row], None]]:
    """Writes rows as they come; the file has its name once all are there.

    Raises ConfigError for an ending that stands for no format, or a name that is taken.
    """
    check_out(out)
    unfinished = out.with_name(out.name + UNFINISHED)
    with storing(out):
        file = unfinished.open("w", encoding="utf-8", newline="")
    with file:
        yield _written(out, _lines(out, file))
        with storing(out):
            file.flush()
            unfinished.replace(out)


def check_out(out: Path) -> None:
    """Raises ConfigError for a file that cannot be written as predictions."""
    if out.suffix.lower() not in OUTPUTS:
        raise ConfigError(f"--out {out}: expected a name that ends in {' or '.join(OUTPUTS)}")
    if out.exists():
        raise ConfigError(f"{out} is there already; name another --out")


def _written(out: Path, write: Callable[[Row], None]) -> Callable[[Row], None]:
    def put(row: Row) -> None:
        with storing(out):
            write(row)

    return put


def _lines(out: Path, file: IO[str]) -> Callable[[Row], None]:
    if out.suffix.lower() == ".jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file)
    writer: list[csv.DictWriter[str]] = []

    def put(row: Row) -> None:
        if not writer:
            writer.append(csv.DictWriter(file, list(row)))
            writer[0].writeheader()
        writer[0].writerow(row)

    return put


def loaded(place: str | Path, *, own_models: bool = False) -> Any:
    """The model by torch, or, without it, its exported form. Raises ConfigError."""
    folder = facts.model_folder(place)
    if not has_torch():
        return onnx.load(folder)
    from .model import load

    return load(folder, own_models=own_models)
