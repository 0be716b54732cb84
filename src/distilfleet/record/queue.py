"""What a server was asked for: each run is a file, and the folder that it is in is its state. A crash loses none.

    queue/NAME.json     waiting or under way        queue/NAME.stop   ... and to be stopped after its round
    stopped/NAME.json   until somebody resumes it   done/NAME.json    what came of it
    runs/NAME           its record

The server alone moves a file out of `queue`; whoever may write here may put one in.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..core.disk import sync_folder, write_atomically
from ..core.errors import ConfigError
from ..core.failpoint import reached

State = Literal["under way", "waiting", "stopping", "stopped", "finished", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run."""

    name: str
    state: State
    error: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A server's folder."""

    state: Path

    def folder(self, name: str) -> Path:
        made = self.state / name
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        return made

    def record(self, name: str) -> Path:
        return self.folder("runs") / name

    def ask(self, name: str, asked: Mapping[str, Any]) -> None:
        write_atomically(self._file("queue", name), json.dumps(asked).encode())

    def asked(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file("queue", name).read_bytes())
        return found

    def waiting(self) -> list[str]:
        """Runs in the queue, the one that has waited longest first."""
        return [file.stem for file in _by_age(self.folder("queue"))]

    # --- stop and resume ----------------------------------------------------------------------------------------

    def stop(self, name: str) -> None:
        """Ask for it; the server does it after the round under way. Raises ConfigError if it is not in the queue."""
        if not name or not self._file("queue", name).exists():
            raise ConfigError(f"{name} is {self._known(name).state}: there is nothing to stop")
        self._wish(name).touch()

    def resume(self, name: str) -> None:
        """Into the queue again, behind what waits there. Raises ConfigError if it is neither stopped nor stopping."""
        if self._known(name).state not in ("stopped", "stopping"):
            raise ConfigError(f"{name} is {self._known(name).state}: there is nothing to resume")
        self._wish(name).unlink(missing_ok=True)
        if self._file("stopped", name).exists():
            os.utime(self._file("stopped", name))
            self._move(name, "stopped", "queue")

    def to_stop(self, name: str) -> bool:
        return self._wish(name).exists()

    def set_aside(self, name: str) -> None:
        """Server: a run that was to be stopped is stopped, and stays so until it is resumed."""
        self._move(name, "queue", "stopped")
        self._wish(name).unlink(missing_ok=True)

    def close(self, name: str, error: str) -> None:
        """Server: a run is over."""
        write_atomically(self._file("done", name), json.dumps({"error": error}).encode())
        reached("run.done")
        self._file("queue", name).unlink()
        self._wish(name).unlink(missing_ok=True)

    # --- looking ------------------------------------------------------------------------------------------------

    def entries(self, most_done: int | None = None) -> list[Entry]:
        """All runs: those in the queue, then stopped ones, then finished ones, of which the newest come first."""
        done = _by_age(self.folder("done"))[::-1][:most_done]
        over = {file.stem for file in done}
        queue = [name for name in self.waiting() if name not in over]
        stopped = [file.stem for file in _by_age(self.folder("stopped")) if file.stem not in over]
        first = next(iter(queue), None)
        return [
            *(Entry(name=name, state=self._in_queue(name, name == first)) for name in queue),
            *(Entry(name=name, state="stopped") for name in stopped if name not in queue),
            *(self._over(file) for file in done),
        ]

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries() if entry.name == name), None)

    def _known(self, name: str) -> Entry:
        if not name:
            raise ConfigError("name the run; `distilfleet runs` lists them")
        found = self.entry(name)
        if found is None:
            raise ConfigError(f"there is no run {name}; `distilfleet runs` lists them")
        return found

    def _in_queue(self, name: str, first: bool) -> State:
        if self.to_stop(name):
            return "stopping"
        return "under way" if first and (self.record(name) / "run.toml").exists() else "waiting"

    def _over(self, file: Path) -> Entry:
        error = json.loads(file.read_bytes())["error"]
        return Entry(name=file.stem, state="failed" if error else "finished", error=error)

    # --- files --------------------------------------------------------------------------------------------------

    def _file(self, state: str, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise ConfigError(f"{name!r} is no name of a run")
        return self.folder(state) / f"{name}.json"

    def _wish(self, name: str) -> Path:
        return self._file("queue", name).with_suffix(".stop")

    def _move(self, name: str, start: str, end: str) -> None:
        try:
            self._file(start, name).replace(self._file(end, name))
        except FileNotFoundError:
            return  # somebody else was faster
        for folder in (start, end):
            sync_folder(self.folder(folder))


def _by_age(folder: Path) -> Sequence[Path]:
    aged = []
    for file in folder.glob("*.json"):
        try:
            aged.append((file.stat().st_mtime_ns, file.name, file))
        except FileNotFoundError:
            continue  # moved since
    return [file for _, _, file in sorted(aged)]
