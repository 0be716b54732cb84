"""The verb `predict`: a trained model on a file of samples, or on a text to go on with."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from ..core.plain import plain
from ..data.reading import Axis, Decimal, Missing, Reading, Separator
from .words import parsed

if TYPE_CHECKING:
    from ..deploy.predict import Asked, Row

READ = "--flags-are-read"
"""Not for people: goes on with flags that are read, which follow in JSON."""
SHOWN = 20
"""Predictions that are printed where no file takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """Classes with probabilities for each sample of a file; a language model goes on with each
    text."""

    model: Path
    """Folder of a model: one of `models/` of a finished run, or of a device."""
    file: str
    """Samples in any form that `run --data` takes, with labels or without; of texts also a .txt
    file with one on each line."""
    out: Path | None = None
    """File that takes all predictions as they come, .csv or .jsonl. Default: the first ones are
    printed."""
    batch: int = 256
    """Samples that are judged at a time."""
    own_models: bool = False
    """Build a net of its author's own code, which the folder names."""
    tokens: int = 64
    """Most tokens that a language model adds to a text."""
    temperature: float = 0.0
    """Draw tokens at this temperature; 0 takes the likeliest each time."""
    seed: int = 0
    """Seed of the draws."""
    label: str | None = None
    """Column or key of labels. Default: what the run called it, or `label`."""
    rename: tuple[str, ...] = ()
    """Columns that the run calls otherwise: --rename temp=temperature."""
    rename_class: tuple[str, ...] = ()
    """Classes that the run calls otherwise: --rename-class laufen=run."""
    rename_value: tuple[str, ...] = ()
    """Categories of a column that the run calls otherwise: --rename-value place:loft=attic."""
    columns: tuple[str, ...] = ()
    """What the inputs are, in order, where the file has no names for them."""
    units: tuple[str, ...] = ()
    """Columns in another unit than the run's, with factor and offset: --units
    temp=0.5556,-17.78."""
    any_range: bool = False
    """Take values as they are that seem to be in another unit."""
    skip_unknown: bool = False
    """Leave samples out whose class or category the run does not know."""
    fit_pictures: bool = False
    """Bring pictures to the size and colours of the run's."""
    decimal: Decimal | None = None
    """Decimal mark of a table's numbers, where they can be read in two ways."""
    separator: Separator | None = None
    """What parts the fields of a table."""
    missing: Missing = "refuse"
    """Samples without a number: refuse the file, or drop such samples."""
    channels_axis: Axis | None = None
    """Which axis of a sample has the channels."""
    time: str | None = None
    """Column of a table with the time of each row, where series are cut."""
    rate_hz: float | None = None
    """Steps per second, where the file does not say it."""
    text: str | None = None
    """Column or key of the texts, for a model that classifies them."""

    @property
    def reading(self) -> Reading:
        return Reading(
            decimal=self.decimal,
            separator=self.separator,
            missing=self.missing,
            channels_axis=self.channels_axis,
            time=self.time,
            rate_hz=self.rate_hz,
            text=self.text,
        )


def predict(words: list[str]) -> int:
    """The verb. Without torch, where memory is short, a fresh process does what follows the reading
    of flags, as with an agent."""
    if words[:1] == [READ]:
        return _predicted(_read(words[1]))
    flags = parsed(Predict, "distilfleet predict", words or ["--help"])
    if find_spec("torch") is None:
        command = [sys.executable, "-m", "distilfleet.cli", "predict", READ, _written(flags)]
        sys.stdout.flush()
        os.execv(sys.executable, command)  # noqa: S606
    return _predicted(flags)


def _written(flags: Predict) -> str:
    import msgspec

    return msgspec.json.encode(flags, enc_hook=str).decode()


def _read(written: str) -> Predict:
    import msgspec

    return msgspec.json.decode(written, type=Predict, dec_hook=_made)


def _made(kind: Any, value: Any) -> Any:
    return kind(value)


def _predicted(flags: Predict) -> int:
    for name, least in (("batch", 1), ("tokens", 1), ("temperature", 0)):
        if not getattr(flags, name) >= least:
            raise ConfigError(f"--{name} is {getattr(flags, name)}; it must be at least {least}")
    from ..deploy.predict import check_out, loaded

    if flags.out is not None:
        check_out(flags.out)
    model = loaded(flags.model, own_models=flags.own_models)
    if model.classes:
        _classes(model, flags)
    else:
        _continuations(model, flags)
    return 0


# --- classes --------------------------------------------------------------------------------------


def _classes(model: Any, flags: Predict) -> None:
    from ..deploy.predict import Score, rows, work, writing
    from ..service.naming_flags import naming_of

    found = work(model, flags.file, naming_of(flags), flags.batch)
    for note in found.notes:
        print(plain(f"note: {note}"))
    score = Score()
    begun = _progress(rows(found, score), found.count)
    with nullcontext(print) if flags.out is None else writing(flags.out) as put:
        if flags.out is None:
            _print_rows(begun, found)
        else:
            for row in begun:
                put(row)
    if flags.out is not None:
        print(f"{found.count} predictions in {flags.out}")
    if score.labelled:
        print(score)


def _print_rows(begun: "Iterator[Row]", found: "Asked") -> None:
    """The first ones as a table; the rest are only counted."""
    for row in islice(begun, SHOWN):
        label = f"  (is {row['label']})" if row.get("label") else ""
        text = f"  {row['text'][:60]}" if "text" in row else ""
        print(plain(f"{row['sample']:>8}  {row['class']}  {row['probability']:.1%}{label}{text}"))
    left = sum(1 for _ in begun)
    if left:
        print(f"... and {left} more: --out FILE.csv takes all")


def _progress(rows: "Iterator[Row]", count: int) -> "Iterator[Row]":
    """The rows, with a bar on a terminal's standard error."""
    if not sys.stderr.isatty():
        yield from rows
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(rows, "predicting", total=count, console=console, transient=True)


# --- texts ----------------------------------------------------------------------------------------


def _continuations(model: Any, flags: Predict) -> None:
    from ..deploy.predict import writing
    from ..deploy.samples import read_texts
    from ..service.naming_flags import naming_of

    texts = read_texts(flags.file, naming_of(flags)).texts
    if flags.out is None:
        for number, text in enumerate(texts):
            _print_continuation(model, text, number, flags)
        return
    with writing(flags.out) as put:
        for row in _progress(_continued(model, texts, flags), len(texts)):
            put(row)
    print(f"{len(texts)} continuations in {flags.out}")


def _continued(model: Any, texts: Any, flags: Predict) -> "Iterator[Row]":
    for number, text in enumerate(texts):
        said = model.generate(
            text,
            tokens=flags.tokens,
            temperature=flags.temperature,
            seed=flags.seed + number,
        )
        yield {"sample": number + 1, "text": text, "continuation": said}


def _print_continuation(model: Any, text: str, number: int, flags: Predict) -> None:
    print(text, end="", flush=True)
    pieces = model.continuation(
        text, tokens=flags.tokens, temperature=flags.temperature, seed=flags.seed + number
    )
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
