"""The verb `run`: a recipe on a simulated fleet, or on a real one; going on with a run."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, did_you_mean
from . import fleet as cli_fleet
from .usage import usage
from .words import parsed

if TYPE_CHECKING:
    from ..recipes.simulated import SimulatedRun
    from ..record.checkpoint import Checkpoint
    from ..record.run import RunRecord

PAGE = "report.html"
INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, or add rounds to a finished one."""

    resume: Path = Path()
    """The run's directory."""
    rounds: int | None = None
    """Rounds in all, if more than the run was asked for."""


def run(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(usage(), end="")
        return 0
    if words[0].startswith("-"):
        flag = words[0].partition("=")[0]
        if flag != "--resume":
            meant = did_you_mean(flag, ["--resume"])
            raise ConfigError(
                f"name a recipe before its flags{meant}: distilfleet run koala {' '.join(words)}"
            )
        return _resume(parsed(Resume, "distilfleet run", words))
    fleet, rest = _fleet_of(words[1:])
    return _start(words[0], rest) if fleet is None else cli_fleet.run(fleet, words[0], rest)


def _fleet_of(words: list[str]) -> tuple[Path | None, list[str]]:
    """The fleet file that `--fleet FILE` or `--fleet=FILE` names, and the other words. Raises
    ConfigError."""
    places = [at for at, word in enumerate(words) if word.partition("=")[0] == "--fleet"]
    if not places:
        return None, words
    at = places[0]
    after = at + 1 if "=" in words[at] else at + 2
    named = words[at].partition("=")[2] or "".join(words[at + 1 : after])
    if len(places) > 1 or not named or named.startswith("-"):
        raise ConfigError("give --fleet once, with the fleet file behind it: --fleet fleet.toml")
    return Path(named), words[:at] + words[after:]


def _start(name: str, words: list[str]) -> int:
    from ..recipes.find import recipe

    found = recipe(name)
    flags = parsed(found.flags, f"distilfleet run {name}", words)
    from ..recipes import simulate
    from ..recipes.flags import common
    from ..report.live import opening

    started = datetime.now(UTC)
    out = common(flags).out or simulate.default_place(name, started)
    begun = simulate.begin(found, flags, out, started)
    opening(begun.about, begun.run.facts, out)
    return _train(begun.run, begun.record, None)


def _resume(asked: Resume) -> int:
    from ..recipes.resume import again, elsewhere
    from ..record.history import read_about

    resumed = again(asked.resume, asked.rounds)
    if resumed is None:
        if not (asked.resume / PAGE).is_file():
            _pages(asked.resume)
        print(f"{asked.resume} is finished: nothing is left. Add rounds with --rounds.")
        return 0
    after = "from its start" if resumed.start is None else f"after round {resumed.start.round}"
    print(f"Going on with {asked.resume} {after}.")
    for note in elsewhere(read_about(asked.resume)):
        print(note)
    return _train(resumed.run, resumed.record, resumed.start)


def _train(run: "SimulatedRun", record: "RunRecord", start: "Checkpoint | None") -> int:
    from ..report.live import show
    from ..training.loop import train

    stop: list[signal.Signals] = []
    first = 1 if start is None else start.round + 1
    with closing(record), _asked_to_stop(stop):
        steps = train(run.experiment, run.fleet, record, start, time.monotonic)
        show(run.experiment.rounds, first, steps, lambda: bool(stop))
        steps.close()
    finished = _pages(record.path)
    if stop and not finished:
        print(f"Stopped after a finished round. Go on with: distilfleet run --resume {record.path}")
        return INTERRUPTED[stop[0]]
    return 0


@contextmanager
def _asked_to_stop(asked: list[signal.Signals]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the round finish; the second stops at once."""

    def note(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number))
        print("\nFinishing this round; press Ctrl-C again to stop at once.", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in INTERRUPTED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pages(path: Path) -> bool:
    """Write the page, print the final table; whether the run has all its rounds."""
    from ..record.history import read
    from ..report.live import closing
    from ..report.page import write_page

    history = read(path)
    write_page([history], path / PAGE)
    closing(history, path / PAGE)
    return len(history.rounds) >= int(history.about["rounds"])
