"""What a server was asked for: each run is a file, and the folder that it is in is its state. A
crash loses none.

    queue/NAME.json     waiting or under way
    queue/NAME.stop     ... and to be stopped after its round
    queue/NAME.waits    ... and what devices it waits for, in words
    queue/NAME.tries    ... and how often the server died in its round
    stopped/NAME.json   until somebody resumes it
    done/NAME.json      what came of it, and what was asked for
    runs/NAME           its record
    faults/NAME.log     where a run failed that raised

The server alone moves a file out of `queue`; whoever may write here may put one in. A file that
cannot be read is a run that fails, whatever is in it: it holds up neither the server nor the runs
behind it.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ..core.attempts import Attempts
from ..core.disk import storing, sync_folder, write_atomically
from ..core.errors import ConfigError, RecordError
from ..core.failpoint import reached

T = TypeVar("T")
State = Literal[
    "under way", "waiting", "waiting for devices", "stopping", "stopped", "finished", "failed"
]
MOST_ERROR = 600
"""Characters of why a run failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRun:
    """One run of the queue, and how far it is."""

    name: str
    state: State
    error: str = ""
    """Why it failed."""
    waits: str = ""
    """What devices it waits for, or waited for when it gave way, in words."""

    @property
    def goes_on(self) -> bool:
        """Whether the server does this run now."""
        return self.state in ("under way", "waiting for devices", "stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRun:
    """What a server is asked for."""

    recipe: str
    settings: dict[str, Any] = field(default_factory=dict)
    started: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """What came of a run."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """A server's folder."""

    state: Path

    def folder(self, name: str) -> Path:
        """The folder of a state, made if it is not there."""
        made = self.state / name
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        return made

    def record(self, name: str) -> Path:
        """Where the record of a run is."""
        return self.folder("runs") / name

    def ask(self, name: str, asked: Mapping[str, Any]) -> None:
        """Put a run into the queue."""
        write_atomically(self._file("queue", name), json.dumps(asked).encode())

    def asked(self, name: str) -> dict[str, Any]:
        """Raises RecordError if the file is damaged."""
        return _asked(self._file("queue", name))

    def waiting(self) -> list[str]:
        """Runs in the queue, the one that has waited longest first."""
        return [file.stem for file in _by_age(self.folder("queue"))]

    # --- stop and resume --------------------------------------------------------------------------

    def stop(self, name: str) -> None:
        """Ask for it; the server does it after the round under way. Raises ConfigError if it is not
        in the queue."""
        if not name or not self._file("queue", name).exists():
            raise ConfigError(f"{name} is {self._known(name).state}: there is nothing to stop")
        self._wish(name).touch()

    def resume(self, name: str) -> None:
        """Into the queue again, behind what waits there.

        Raises ConfigError if it is neither stopped, stopping nor failed, or if what was asked for
        is lost.
        """
        state = self._known(name).state
        if state not in ("stopped", "stopping", "failed"):
            raise ConfigError(f"{name} is {state}: there is nothing to resume")
        self._wish(name).unlink(missing_ok=True)
        if state == "failed":
            self._ask_again(name)
        elif self._file("stopped", name).exists():
            os.utime(self._file("stopped", name))
            self._move(name, "stopped", "queue")

    def _ask_again(self, name: str) -> None:
        done = self._file("done", name)
        if self._file("queue", name).exists():
            raise ConfigError(f"{name} is just ending; ask again in a moment")
        try:
            _asked(done)
        except RecordError:
            raise ConfigError(
                f"what was asked for with {name} is lost; ask for it anew with `run`"
            ) from None
        os.utime(done)
        self._move(name, "done", "queue")

    def to_stop(self, name: str) -> bool:
        """Whether somebody asked for the run to stop."""
        return self._wish(name).exists()

    def tell_waits(self, name: str, words: str) -> None:
        """Server: the run under way waits for devices, or does so no more."""
        file = self._waits(name)
        with storing(file):
            if words:
                file.write_text(words)
            else:
                file.unlink(missing_ok=True)

    def attempts(self, name: str) -> Attempts:
        """Server: at the run."""
        return Attempts(self._file("queue", name).with_suffix(".tries"))

    def put_last(self, name: str) -> None:
        """Server: behind all that wait."""
        file = self._file("queue", name)
        with storing(file):
            os.utime(file)

    def set_aside(self, name: str) -> None:
        """Server: a run that was to be stopped is stopped, and stays so until it is resumed."""
        self._move(name, "queue", "stopped")
        self._forget(name)

    def close(self, name: str, error: str) -> None:
        """Server: a run is over. What was asked for stays beside what came of it, so that it can be
        resumed."""
        try:
            asked = self.asked(name)
        except RecordError:
            asked = {}
        over = {**asked, "error": plain(error)}
        write_atomically(self._file("done", name), json.dumps(over).encode())
        reached("run.done")
        self._take_out(name)

    def tidy(self) -> None:
        """Server: what a crash left between two steps of `close`. A request that is newer than its
        end counts anew."""
        for name in self.waiting():
            queued, done = (_written_ns(self._file(state, name)) for state in ("queue", "done"))
            if queued <= done:
                self._take_out(name)
            elif done >= 0:
                self._file("done", name).unlink(missing_ok=True)

    def _take_out(self, name: str) -> None:
        """A request that could not be read stays beside, for whoever looks for it."""
        file = self._file("queue", name)
        with storing(file):
            try:
                _asked(file)
            except RecordError:
                file.replace(file.with_name(f"{file.name}.damaged"))
            else:
                file.unlink()
            self._forget(name)

    def _forget(self, name: str) -> None:
        """What was said beside a run that was in the queue."""
        self._wish(name).unlink(missing_ok=True)
        self._waits(name).unlink(missing_ok=True)
        self.attempts(name).over()

    # --- looking ----------------------------------------------------------------------------------

    def entries(self, most_done: int | None = None) -> list[QueuedRun]:
        """All runs: those in the queue, then stopped ones, then finished ones, of which the newest
        come first."""
        newest_first = _by_age(self.folder("done"))[::-1]
        done = newest_first[:most_done]
        known = {file.stem for file in done}
        queue = [name for name in self.waiting() if name not in known]
        known.update(queue)
        stopped = [file.stem for file in _by_age(self.folder("stopped")) if file.stem not in known]
        return [
            *(self._queued(name, name == queue[0]) for name in queue),
            *(QueuedRun(name=name, state="stopped") for name in stopped),
            *map(_over, done),
        ]

    def entry(self, name: str) -> QueuedRun | None:
        """The run of that name; None if there is none."""
        return next((entry for entry in self.entries() if entry.name == name), None)

    def _known(self, name: str) -> QueuedRun:
        if not name:
            raise ConfigError("name the run; `distilfleet runs` lists them")
        found = self.entry(name)
        if found is None:
            raise ConfigError(f"there is no run {name}; `distilfleet runs` lists them")
        return found

    def _queued(self, name: str, first: bool) -> QueuedRun:
        waits = self._words(name)
        return QueuedRun(name=name, state=self._in_queue(name, first, waits), waits=waits)

    def _in_queue(self, name: str, first: bool, waits: str) -> State:
        if self.to_stop(name):
            return "stopping"
        if first and waits:
            return "waiting for devices"
        return "under way" if first and (self.record(name) / "run.toml").exists() else "waiting"

    def _words(self, name: str) -> str:
        try:
            return plain(self._waits(name).read_text(errors="replace"))
        except OSError:
            return ""

    # --- files ------------------------------------------------------------------------------------

    def _file(self, state: str, name: str) -> Path:
        if not _is_name(name):
            raise ConfigError(f"{name!r} is no name of a run")
        return self.folder(state) / f"{name}.json"

    def _waits(self, name: str) -> Path:
        return self._file("queue", name).with_suffix(".waits")

    def _wish(self, name: str) -> Path:
        return self._file("queue", name).with_suffix(".stop")

    def _move(self, name: str, start: str, end: str) -> None:
        try:
            self._file(start, name).replace(self._file(end, name))
        except FileNotFoundError:
            return  # somebody else was faster
        for folder in (start, end):
            sync_folder(self.folder(folder))


def plain(words: str) -> str:
    """In one line that a terminal and a page can show, however long and strange it was."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= MOST_ERROR else f"{line[:MOST_ERROR]} ..."


def _asked(file: Path) -> dict[str, Any]:
    """Raises RecordError."""
    return asdict(_read(file, AskedRun))


def _over(file: Path) -> QueuedRun:
    try:
        error = _read(file, Over).error
    except RecordError as fault:
        error = str(fault)
    return QueuedRun(name=file.stem, state="failed" if error else "finished", error=error)


def _read(file: Path, kind: type[T]) -> T:
    """Raises RecordError."""
    try:
        return msgspec.convert(json.loads(file.read_bytes()), kind)
    except OSError as fault:
        reason = fault.strerror
    except (ValueError, RecursionError) as fault:
        reason = plain(str(fault))
    raise RecordError(f"{file} cannot be read: {reason}. Ask for the run anew.")


def _by_age(folder: Path) -> Sequence[Path]:
    return [file for _, _, file in sorted(_aged(folder))]


def _aged(folder: Path) -> Iterator[tuple[int, str, Path]]:
    for file in folder.glob("*.json"):
        written_ns = _written_ns(file)
        if _is_name(file.stem) and written_ns >= 0:
            yield written_ns, file.name, file


def _written_ns(file: Path) -> int:
    """Below 0 for a file that is not there, or was moved since."""
    try:
        return file.lstat().st_mtime_ns
    except FileNotFoundError:
        return -1


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and not name.startswith(".") and name.isprintable()
