"""The verb `run`: a recipe on a simulated fleet, or on a real one; going on with a run."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError, did_you_mean
from . import fleet as cli_fleet
from .usage import usage
from .words import parsed

if TYPE_CHECKING:
    from ..recipes.find import Recipe
    from ..recipes.simulated import SimulatedRun
    from ..record.checkpoint import Checkpoint
    from ..record.run import RunRecord

Steps = Iterator[Mapping[str, Any]]
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
    """The verb."""
    if not words or words[0] in ("--help", "-h"):
        print(usage(), end="")
        return 0
    trackers, words = taken("--track", "trackers", words)
    flag = words[0].partition("=")[0] if words else ""
    if flag == "--resume":
        return _resume(words, trackers)
    if flag == "--config":
        return _again(words, trackers)
    if flag.startswith("-"):
        meant = did_you_mean(flag, ["--resume", "--config"])
        raise ConfigError(
            f"name a recipe before its flags{meant}: distilfleet run koala {' '.join(words)}"
        )
    return _run(words[0], words[1:], trackers)


def _run(name: str, words: list[str], trackers: list[str]) -> int:
    """A recipe on a fleet, simulated or real, under one seed or several."""
    fleet, rest = taken("--fleet", "the fleet file", words)
    if fleet and trackers:
        raise ConfigError(
            "a real fleet's record is at its server: distilfleet track fleet-state/runs/NAME --to "
            f"{trackers[0]} follows it there"
        )
    if len(fleet) == 1:
        return cli_fleet.run(Path(fleet[0]), name, rest)
    if fleet:
        raise ConfigError("give --fleet once, with the fleet file behind it: --fleet fleet.toml")
    seeds, rest = taken("--seeds", "seeds", rest)
    return _sweep(name, rest, seeds, trackers) if seeds else _start(name, rest, trackers)


def taken(flag: str, what: str, words: list[str]) -> tuple[list[str], list[str]]:
    """What is behind a flag of no recipe, as in `--flag A B` or `--flag=A`, and the other words.

    Raises ConfigError for a flag that comes twice or without a value.
    """
    places = [at for at, word in enumerate(words) if word.partition("=")[0] == flag]
    if not places:
        return [], words
    at = places[0]
    _, is_joined, joined = words[at].partition("=")
    values = [joined] if is_joined else list(takewhile(_is_value, words[at + 1 :]))
    if len(places) > 1 or not all(values) or not values:
        raise ConfigError(f"give {flag} once, with {what} behind it")
    after = at + 1 + (0 if is_joined else len(values))
    return values, words[:at] + words[after:]


def _is_value(word: str) -> bool:
    return not word.startswith("-")


def _start(
    name: str, words: list[str], trackers: list[str], settings: Mapping[str, Any] | None = None
) -> int:
    """Begin a run. `settings`: those of an earlier one, which the words may change."""
    from ..recipes.find import recipe

    found = recipe(name)
    usual = None if settings is None else _flags_of(found, settings)
    flags = parsed(found.flags, f"distilfleet run {name}", words, usual)
    from ..recipes import simulate
    from ..recipes.flags import common
    from ..report.live import opening

    started = datetime.now(UTC)
    out = common(flags).out or simulate.default_place(name, started)
    begun = simulate.begin(found, flags, out, started)
    opening(begun.about, begun.run.facts, out)
    return _train(begun.run, begun.record, None, trackers)


def _flags_of(found: "Recipe", settings: Mapping[str, Any]) -> Any:
    from ..recipes.flags import unflatten

    return unflatten(found.flags, settings)


def _sweep(name: str, words: list[str], seeds: list[str], trackers: list[str]) -> int:
    from ..recipes.find import recipe
    from . import seeds as cli_seeds

    numbers = cli_seeds.seeds_of(seeds)
    _refuse_beside_seeds(words)
    found = recipe(name)
    flags = parsed(found.flags, f"distilfleet run {name}", words)
    from ..recipes import simulate
    from ..recipes.flags import check, common
    from ..record.run import check_free

    check(flags)
    out = common(flags).out or simulate.default_place(name, datetime.now(UTC))
    check_free(out)
    _, rest = taken("--out", "a directory", words)
    tracked = ["--track", *trackers] if trackers else []
    return cli_seeds.sweep([name, *rest, *tracked], numbers, out, common(flags).threads)


def _refuse_beside_seeds(words: list[str]) -> None:
    if any(word.partition("=")[0] == "--seed" for word in words):
        raise ConfigError("--seeds names them all: leave out --seed")


def _again(words: list[str], trackers: list[str]) -> int:
    """Repeat a recorded run, with whatever flags come behind."""
    from ..record.history import read_about

    (file, *more), rest = taken("--config", "a run.toml", words)
    if more:
        raise ConfigError(f"--config takes one run.toml, not {file} {' '.join(more)}")
    path = Path(file)
    about = read_about(path if path.is_dir() else path.parent)
    if "fleet" in about["settings"]:
        raise ConfigError(
            f"{file} is of a real fleet: run {about['recipe']} --fleet with its flags again"
        )
    return _start(about["recipe"], rest, trackers, {**about["settings"], "rounds": about["rounds"]})


def _resume(words: list[str], trackers: list[str]) -> int:
    from .seeds import go_on, is_sweep

    flags = parsed(Resume, "distilfleet run", words)
    if is_sweep(flags.resume):
        return go_on(flags.resume, taken("--resume", "a directory", words)[1])
    from ..recipes.resume import again, elsewhere
    from ..record.history import read_about

    resumed = again(flags.resume, flags.rounds)
    if resumed is None:
        if not (flags.resume / PAGE).is_file():
            _pages(flags.resume)
        print(f"{flags.resume} is finished: nothing is left. Add rounds with --rounds.")
        return 0
    after = "from its start" if resumed.start is None else f"after round {resumed.start.round}"
    print(f"Going on with {flags.resume} {after}.")
    for note in elsewhere(read_about(flags.resume)):
        print(note)
    return _train(resumed.run, resumed.record, resumed.start, trackers)


def _train(
    run: "SimulatedRun",
    record: "RunRecord",
    start: "Checkpoint | None",
    trackers: list[str],
) -> int:
    from ..report.live import show
    from ..training.loop import train

    stop: list[signal.Signals] = []
    first = 1 if start is None else start.round + 1
    with closing(record), _asked_to_stop(stop), _tracked(record.path, trackers) as following:
        steps = train(run.experiment, run.fleet, record, start, time.monotonic)
        show(run.experiment.rounds, first, following(steps), lambda: bool(stop))
        steps.close()
    finished = _pages(record.path)
    if stop and not finished:
        print(f"Stopped after a finished round. Go on with: distilfleet run --resume {record.path}")
        return INTERRUPTED[stop[0]]
    return 0


@contextmanager
def _tracked(path: Path, names: list[str]) -> Iterator[Callable[[Steps], Steps]]:
    """What passes rounds on to the trackers of these names, and to those that followed before."""
    from ..track.follow import followed, following, told

    trackers = followed(path, names, tuple(told(path)))
    try:
        yield lambda steps: following(steps, trackers)
    finally:
        for tracker in trackers:
            tracker.close()


@contextmanager
def _asked_to_stop(received: list[signal.Signals]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the round finish; the second stops at once."""

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number))
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
