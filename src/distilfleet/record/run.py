"""Writing a run directory. The one owner of run files; wall time is handed in.

    run.toml        what was asked, with what versions
    metrics.jsonl   one object per finished round
    fleet.json      who takes part
    checkpoints/    safetensors, newest generations
    models/         the trained models, a folder each
    report.html     written by `report`
    wall.jsonl      seconds that this machine took, one object per finished round; all else is
                    equal where runs are
    times.jsonl     of a real fleet: when each job was where, one object per finished round
    plan.json       of the first round, where cuts are planned

wire.safetensors and audit.json: see `captured`.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import tomli_w

from ..core.disk import Content, lock, storing, write_atomically, write_folder
from ..core.errors import RecordError
from ..core.failpoint import reached
from ..core.tally import Timed, Times
from .checkpoint import Checkpoint, newest, set_aside, write_checkpoint
from .history import WALL, of_a_round, read_about

log = logging.getLogger(__name__)
METRICS = "metrics.jsonl"
TIMES = "times.jsonl"
UNBEGUN = frozenset({".lock", "fleet.json", "fleet.json.unfinished", "run.toml.unfinished"})
"""What a run leaves that ended before it had a `run.toml`: there is nothing in it to go on with."""
IN_USE = "is in use by another run. Wait for it, or name another --out."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """An open run directory; this process is its only writer until `close`."""

    path: Path
    lock: IO[bytes]
    metrics: IO[bytes]

    def append(self, metrics: Mapping[str, Any]) -> None:
        """One finished round, flushed as it happens."""
        with storing(self.path / METRICS):
            self.metrics.write(_line(metrics))
            self.metrics.flush()
        reached("round.appended")

    def append_wall(self, number: int, wall_s: float) -> None:
        """Seconds that the run has taken up to a round, before its metrics."""
        self._add(WALL, {"round": number, "wall_s": round(wall_s, 6)})

    def append_times(self, number: int, times: Times) -> None:
        """When each job of a real fleet's round was where, before its metrics."""
        jobs = [_known(job) for job in times.jobs]
        self._add(TIMES, {"round": number, "jobs": jobs, "server_s": times.server_s})

    def _add(self, name: str, said: Mapping[str, Any]) -> None:
        with storing(self.path / name), (self.path / name).open("ab") as out:
            out.write(_line(said))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a state; the metrics up to it reach the disk first."""
        with storing(self.path / METRICS):
            os.fsync(self.metrics.fileno())
        write_checkpoint(self.path / "checkpoints", checkpoint)

    def models(self, models: Iterable[tuple[str, Mapping[str, Content]]]) -> None:
        """The trained models, given as names and files: a folder each, which replaces the one that
        was there as a whole."""
        for name, files in models:
            write_folder(self.path / "models" / _file_name(name), files)
        reached("models.written")

    def plan(self, plan: Mapping[str, Any], plan_s: float) -> None:
        """What the planner of cuts decided for the first round, and the seconds of wall time that
        it took."""
        write_atomically(self.path / "plan.json", json.dumps(plan).encode())
        self._add(WALL, {"round": 0, "plan_s": round(plan_s, 6)})

    def close(self) -> None:
        """Give the directory free; nothing can be written any more."""
        self.metrics.close()
        self.lock.close()


def _known(job: Timed) -> dict[str, Any]:
    """What is known of when a job was where."""
    return {name: value for name, value in asdict(job).items() if value is not None}


def check_free(path: Path) -> None:
    """Raises RecordError if the path already holds something."""
    if path.exists() and not (path.is_dir() and {file.name for file in path.iterdir()} <= UNBEGUN):
        raise RecordError(
            f"{path} already exists and is not empty. Name another --out, or go on with --resume "
            f"{path}."
        )


def create(path: Path, about: Mapping[str, Any], fleet: Mapping[str, Any]) -> RunRecord:
    """A new run directory. Raises RecordError if the path already holds something, or cannot be
    made."""
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise RecordError(f"{path} cannot be made: {fault.strerror}. Name another --out.") from None
    with ExitStack() as opened:
        held = opened.enter_context(lock(path, IN_USE))
        write_atomically(path / "fleet.json", json.dumps(fleet).encode())
        write_atomically(path / "run.toml", tomli_w.dumps(about).encode())
        metrics = opened.enter_context((path / METRICS).open("ab"))
        opened.pop_all()
    reached("run.created")
    return RunRecord(path=path, lock=held, metrics=metrics)


def reopen(path: Path) -> tuple[RunRecord, Mapping[str, Any], Checkpoint | None]:
    """An interrupted run, its `run.toml` and its newest sound checkpoint; metrics after that
    checkpoint are cut off.

    Damaged ones after it are set aside, and the record and the log say so. None: the run was
    stopped before its first round and its first checkpoint, so it begins anew.

    Raises RecordError if the directory is no run, damaged, or being written by another process.
    """
    about = read_about(path)
    with ExitStack() as opened:
        held = opened.enter_context(lock(path, IN_USE))
        metrics = opened.enter_context(_opened(path / METRICS))
        checkpoint, faults = (None, {}) if _is_untouched(path) else newest(path / "checkpoints")
        last = 0 if checkpoint is None else checkpoint.round
        _cut(metrics, last)
        for name in (WALL, TIMES):
            _cut_lines(path / name, last)
        run = RunRecord(path=path, lock=held, metrics=metrics)
        for file, fault in faults.items():
            about = add_note(run, about, f"{fault} The run goes on from the checkpoint before it.")
            log.warning("%s The run goes on from the checkpoint before it.", fault)
            set_aside(file)
        opened.pop_all()
    return run, about, checkpoint


def add_note(run: RunRecord, about: Mapping[str, Any], note: str) -> Mapping[str, Any]:
    """For readers of the record and its page; the new `run.toml`."""
    about = {**about, "notes": [*(old for old in about.get("notes", ()) if old != note), note]}
    rewrite_about(run, about)
    return about


def say_who_keeps(path: Path, said: str) -> None:
    """Which devices of a real fleet keep their models, in place of what was said of it before; for
    whoever has the record open."""
    about = {**read_about(path), "kept": said}
    write_atomically(path / "run.toml", tomli_w.dumps(about).encode())


def rewrite_about(run: RunRecord, about: Mapping[str, Any]) -> None:
    """Replace `run.toml`, for example when more rounds are asked of a run."""
    write_atomically(run.path / "run.toml", tomli_w.dumps(about).encode())


def rewrite_fleet(run: RunRecord, fleet: Mapping[str, Any]) -> None:
    """Replace `fleet.json`, when others take part."""
    write_atomically(run.path / "fleet.json", json.dumps(fleet).encode())


def _is_untouched(path: Path) -> bool:
    """Whether nothing came of the run yet."""
    return not (path / METRICS).stat().st_size and not any(
        (path / "checkpoints").glob("*.safetensors")
    )


def _cut(metrics: IO[bytes], rounds: int) -> None:
    """Leave these rounds, and round 0 before them where it is whole."""
    if not _is_start(metrics.readline()):
        metrics.seek(0)
    for _ in range(rounds):
        if not metrics.readline().endswith(b"\n"):
            raise RecordError(
                f"{metrics.name} has fewer rounds than the checkpoint ({rounds}). Restore it, or "
                "start anew."
            )
    metrics.truncate()


def _is_start(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and bool(of_a_round(line)["round"] == 0)
    except ValueError:
        return False


def _opened(file: Path) -> IO[bytes]:
    """Raises RecordError."""
    try:
        return file.open("r+b")
    except OSError as fault:
        remedy = "Restore it from a copy, or start the run anew."
        raise RecordError(f"{file} cannot be opened: {fault.strerror}. {remedy}") from None


def _cut_lines(file: Path, last: int) -> None:
    """A line that a crash cut short goes too, and so does one that is damaged: nothing hangs on
    these."""
    if file.is_file():
        whole = file.read_bytes().splitlines(keepends=True)
        write_atomically(
            file, b"".join(line for line in whole if line.endswith(b"\n") and _is_until(line, last))
        )


def _is_until(line: bytes, last: int) -> bool:
    try:
        return bool(of_a_round(line)["round"] <= last)
    except ValueError:
        return False


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
