"""Reading a run directory: what was asked, who took part, what every round gave."""

import json
import tomllib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.disk import PREVIOUS, UNFINISHED
from ..core.errors import RecordError
from .captured import read_audit

SCHEMA = 1
ASKED = {"recipe": str, "rounds": int}
"""What `run.toml` must have."""
WALL = "wall.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One run, read-only."""

    path: Path
    about: Mapping[str, Any]
    """`run.toml`: recipe, settings, versions, seed, models, data, savings, disclosure."""
    fleet: Mapping[str, Any]
    """`fleet.json`: who takes part."""
    rounds: Sequence[Mapping[str, Any]]
    """`metrics.jsonl`, one mapping per finished round, with the seconds of `wall.jsonl`."""
    start: Mapping[str, Any] = field(default_factory=dict)
    """Round 0 of `metrics.jsonl`: quality before any training, of a run whose models knew some."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """`audit.json`: what a curious server recovered; empty if that was not tried."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    """`plan.json`: cuts and shares of the first round, and what they were expected to cost; empty
    without cuts."""
    times: Mapping[str, Any] = field(default_factory=dict)
    """The last of `times.jsonl`: when each job of that round was where; empty of a simulated
    run."""
    models: Sequence[str] = ()
    """Names of the models that the run ended with, each a folder in `models/`."""


def read(path: Path) -> History:
    """A run's history. Raises RecordError if the directory holds no run of this version."""
    return History(
        path=path,
        about=read_about(path),
        fleet=read_fleet(path),
        rounds=read_rounds(path),
        start=read_start(path),
        audit=read_audit(path),
        plan=read_plan(path),
        times=_last_times(path),
        models=model_names(path),
    )


def model_names(path: Path) -> tuple[str, ...]:
    """Names of the folders in `models/`; none before the last round."""
    found = (file.parent.name for file in path.glob("models/*/preprocessing.json"))
    return tuple(sorted(name for name in found if not name.endswith((UNFINISHED, PREVIOUS))))


def read_about(path: Path) -> Mapping[str, Any]:
    """`run.toml` of a run directory."""
    file = path / "run.toml"
    if not file.is_file():
        raise RecordError(
            f"{path} is not a run directory: it has no run.toml. Name the folder that `--out` made."
        )
    try:
        about = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise RecordError(
            f"{file} is damaged: {fault}. Restore it from a copy, or start the run anew."
        ) from None
    if about.get("schema") != SCHEMA:
        raise RecordError(
            f"{path} was written in record schema {about.get('schema')}, this version reads "
            f"{SCHEMA}. Use the distilfleet that wrote it "
            f"({about.get('versions', {}).get('distilfleet', 'unknown')})."
        )
    for name, kind in ASKED.items():
        if not isinstance(about.get(name), kind):
            raise RecordError(
                f"{file} is damaged: {name} is missing or no {kind.__name__}. Restore a copy."
            )
    return about


def read_rounds(path: Path) -> list[Mapping[str, Any]]:
    """Finished rounds, each with its `wall_s` where that is known; a last line that a crash cut
    short is left out."""
    wall_s = {
        line["round"]: line["wall_s"] for line in _whole_lines(path / WALL) if "wall_s" in line
    }
    rounds: list[Mapping[str, Any]] = []
    for metrics in _metrics(path):
        number = metrics["round"]
        if number == 0:
            continue
        rounds.append({**metrics, "wall_s": wall_s[number]} if number in wall_s else metrics)
    return rounds


def read_start(path: Path) -> Mapping[str, Any]:
    """Round 0, which is quality before any training; empty where it was not measured."""
    return next((metrics for metrics in _metrics(path)[:1] if metrics["round"] == 0), {})


def _metrics(path: Path) -> list[Mapping[str, Any]]:
    file = path / "metrics.jsonl"
    if not file.is_file():
        return []
    lines = file.read_bytes().split(b"\n")
    rounds: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            rounds.append(of_a_round(line))
        except ValueError as fault:
            raise RecordError(
                f"{file}, line {number} is damaged: {fault}. Delete it and what follows."
            ) from None
    return rounds


def read_times(path: Path) -> Iterator[Mapping[str, Any]]:
    """`times.jsonl` of a real fleet, one object per round: see `core.tally.Timed`. Nothing if there
    is none."""
    yield from _whole_lines(path / "times.jsonl")


def _whole_lines(file: Path) -> Iterator[Mapping[str, Any]]:
    """Nothing hangs on these: what is damaged is left out."""
    if file.is_file():
        with file.open("rb") as lines:
            for line in lines:
                with suppress(ValueError):  # a last one that a crash cut short too
                    yield of_a_round(line)


def of_a_round(line: bytes) -> Mapping[str, Any]:
    """One line of a file that has one for each round. Raises ValueError."""
    found = read_object(line)
    if not isinstance(found.get("round"), int):
        raise ValueError("it has no round")  # noqa: TRY004 (of what is read, not of an argument)
    return found


def read_object(text: bytes) -> Mapping[str, Any]:
    """One JSON object. Raises ValueError; never anything else, whatever the bytes."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"an object is expected, not {type(found).__name__}")  # noqa: TRY004
    return found


def _last_times(path: Path) -> Mapping[str, Any]:
    file = path / "times.jsonl"
    last = b""
    if file.is_file():
        with file.open("rb") as lines:
            last = next(
                iter(deque((line for line in lines if line.endswith(b"\n")), maxlen=1)), b""
            )
    with suppress(ValueError):
        return of_a_round(last)
    return {}


def read_plan(path: Path) -> Mapping[str, Any]:
    """`plan.json`; empty if there is none."""
    file = path / "plan.json"
    if not file.is_file():
        return {}
    try:
        return read_object(file.read_bytes())
    except ValueError as fault:
        raise RecordError(
            f"{file} is damaged: {fault}. Restore it from a copy, or delete it."
        ) from None


def read_fleet(path: Path) -> Mapping[str, Any]:
    """`fleet.json`. Raises RecordError."""
    file = path / "fleet.json"
    try:
        return read_object(file.read_bytes())
    except (OSError, ValueError) as fault:
        raise RecordError(
            f"{file} cannot be read: {fault}. Restore it from a copy, or start the run anew."
        ) from None
