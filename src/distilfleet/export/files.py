"""Exported files in a model's folder: written aside, judged in their runtime, and kept only if they
lose little."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Protocol, cast

import msgspec
from msgspec import structs

from ..core.disk import storing, sync_folder, write_atomically
from ..core.errors import ConfigError, Error, RecordError
from .exportable import Exportable
from .judge import Check, Judgement, judged
from .runtimes import Precision, Runtime, missing

SCHEMA = 1
EXPORTS = "exports.json"
SLOWER = 1.2
"""Times as long as before: that is said."""


class Writer(Protocol):
    """A module that writes files for one runtime."""

    def write(self, model: Exportable, file: Path, precision: Precision) -> None:
        """Write the model there, and what belongs to it beside it.

        Raises ConfigError for a model that the runtime does not take.
        """


class Exports(msgspec.Struct, frozen=True, kw_only=True):
    """What `exports.json` holds."""

    schema: int = SCHEMA
    exports: tuple[Judgement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be exported."""

    runtime: Runtime
    precision: Precision = "float32"
    most_loss: float = 1.0
    """Percentage points of accuracy that the file may lose."""


def export(model: Exportable, wish: Wish, trial: Check, folder: Path) -> Judgement:
    """Write the model for a runtime, judge the file there, and keep it and the verdict in the
    folder.

    Raises ConfigError, and keeps nothing, for a missing package, a model that the runtime does not
    take, and a file that loses more than it may.
    """
    _check(model, wish)
    with storing(folder):
        aside = Path(mkdtemp(prefix=".export-", dir=folder))
    try:
        file = aside / wish.runtime.file_name(wish.precision)
        verdict = _written(model, wish, trial, file)
        _check_loss(verdict, wish)
        verdict = structs.replace(verdict, notes=tuple(_notes(verdict, read(folder))))
        _move(aside, folder)
        _note(folder, verdict)
        return verdict
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read(folder: Path) -> Exports:
    """The verdicts on the files of a model's folder. Raises RecordError."""
    file = folder / EXPORTS
    if not file.is_file():
        return Exports()
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Exports)
    except msgspec.MsgspecError as fault:
        raise RecordError(f"{file} is damaged ({fault}): remove it and export again") from None
    if found.schema != SCHEMA:
        raise RecordError(
            f"{file} is of schema {found.schema}; this version reads {SCHEMA}: update distilfleet"
        )
    return found


def _check(model: Exportable, wish: Wish) -> None:
    target = wish.runtime
    if wish.precision not in target.precisions:
        raise ConfigError(
            f"{target.name} files are not written in {wish.precision}; "
            f"there is {', '.join(target.precisions)}"
        )
    if not (target.of_language_models if model.language else target.of_others):
        kind = "language models" if model.language else "classifiers"
        raise ConfigError(f"{target.name} is not for {kind}; export to onnx instead")


def _written(model: Exportable, wish: Wish, trial: Check, file: Path) -> Judgement:
    target = wish.runtime
    try:
        _writer(target).write(model, file, wish.precision)
    except Error:
        raise
    except ModuleNotFoundError as fault:
        raise missing(target, fault) from None
    except OSError:
        raise
    except Exception as fault:  # whatever an exporter makes of a net that it does not know
        first = (str(fault).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"this model cannot be written for {target.name}: {type(fault).__name__}: {first[:300]}"
        ) from fault
    return judged(target, wish.precision, file, model.weight_bytes, trial)


def _writer(target: Runtime) -> Writer:
    return cast(Writer, import_module(f".write.{target.name}", __package__))


def _check_loss(verdict: Judgement, wish: Wish) -> None:
    if verdict.lost_points > wish.most_loss:
        raise ConfigError(
            f"{verdict.file} finds {verdict.accuracy:.2%} where torch finds "
            f"{verdict.torch_accuracy:.2%}: it loses {verdict.lost_points:.2f} points, at most "
            f"{wish.most_loss:g} are allowed, and it was not kept. "
            f"Choose another precision, or raise --most-loss."
        )


def _notes(verdict: Judgement, before: Exports) -> Iterator[str]:
    """Where fewer bits do not help."""
    if verdict.precision == "float32":
        return
    if verdict.bytes > verdict.weight_bytes:
        yield f"{verdict.precision} does not help here: the file is larger than the weights"
    for other in before.exports:
        slower = verdict.sample_s / other.sample_s
        is_whole = (other.runtime, other.precision) == (verdict.runtime, "float32")
        if is_whole and slower > SLOWER:
            yield f"one sample takes {slower:.1f} times as long as in {other.file}"


def _move(aside: Path, folder: Path) -> None:
    """All parts to their names; the file that is named last is the one that is looked for."""
    parts = sorted(aside.iterdir(), key=lambda part: len(part.name), reverse=True)
    for part in parts:
        target = folder / part.name
        with storing(target):
            part.replace(target)
    sync_folder(folder)


def _note(folder: Path, verdict: Judgement) -> None:
    others = [kept for kept in read(folder).exports if kept.file != verdict.file]
    noted = Exports(exports=(*others, verdict))
    write_atomically(
        folder / EXPORTS, msgspec.json.format(msgspec.json.encode(noted), indent=2) + b"\n"
    )
