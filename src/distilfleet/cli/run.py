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
        return _resume(_resume_flags(words))
    recipe, *rest = words
    fleet, flags = _fleet_of(rest)
    if fleet is None:
        return _start(recipe, flags)
    return cli_fleet.run(fleet, recipe, flags)


def _resume_flags(words: list[str]) -> Resume:
    """Raises ConfigError for flags without a recipe."""
    flag = words[0].partition("=")[0]
    if flag != "--resume":
        meant = did_you_mean(flag, ["--resume"])
        raise ConfigError(
            f"name a recipe before its flags{meant}: distilfleet run koala {' '.join(words)}"
        )
    resume: Resume = parsed(Resume, "distilfleet run", words)
    return resume


def _fleet_of(words: list[str]) -> tuple[Path | None, list[str]]:
    """The fleet file that `--fleet FILE` or `--fleet=FILE` names, and the other words. Raises
    ConfigError."""
    flags = [word.partition("=")[0] for word in words]
    if "--fleet" not in flags:
        return None, words
    at = flags.index("--fleet")
    _, joined, file = words[at].partition("=")
    after = at + 1 if joined else at + 2
    file = file or "".join(words[at + 1 : after])
    if flags.count("--fleet") > 1 or not file or file.startswith("-"):
        raise ConfigError("give --fleet once, with the fleet file behind it: --fleet fleet.toml")
    return Path(file), words[:at] + words[after:]


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


def _resume(flags: Resume) -> int:
    from ..recipes.resume import again, elsewhere
    from ..record.history import read_about

    path = flags.resume
    resumed = again(path, flags.rounds)
    if resumed is None:
        if not (path / PAGE).is_file():
            _pages(path)
        print(f"{path} is finished: nothing is left. Add rounds with --rounds.")
        return 0
    after = "from its start" if resumed.start is None else f"after round {resumed.start.round}"
    print(f"Going on with {path} {after}.")
    for note in elsewhere(read_about(path)):
        print(note)
    return _train(resumed.run, resumed.record, resumed.start)


def _train(run: "SimulatedRun", record: "RunRecord", start: "Checkpoint | None") -> int:
    from ..report.live import show
    from ..training.loop import train

    first = 1 if start is None else start.round + 1
    with closing(record), _stop_signals() as received:
        steps = train(run.experiment, run.fleet, record, start, time.monotonic)
        show(run.experiment.rounds, first, steps, lambda: bool(received))
        steps.close()
    finished = _pages(record.path)
    if received and not finished:
        print(f"Stopped after a finished round. Go on with: distilfleet run --resume {record.path}")
        return INTERRUPTED[received[0]]
    return 0


@contextmanager
def _stop_signals() -> Iterator[list[signal.Signals]]:
    """What has come of Ctrl-C and SIGTERM: the first lets the round finish, the second stops at
    once."""
    received: list[signal.Signals] = []

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number))
        print("\nFinishing this round; press Ctrl-C again to stop at once.", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in INTERRUPTED}
    try:
        yield received
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
