"""The verbs; those of a real fleet are in `cli.fleet`. Each imports its rooms only when it runs.

Exit codes: 0 done; 1 a fault of ours, with the traceback in a log file, or a run that failed; 2 a
mistake that the message names; 130 and 143 interrupted and resumable.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, Error, StarvedError, did_you_mean
from ..core.plain import plain, print_in_any_encoding
from . import fleet as cli_fleet
from .words import parsed

if TYPE_CHECKING:
    from ..recipes.simulated import SimulatedRun
    from ..record.checkpoint import Checkpoint
    from ..record.run import RunRecord

PURPOSE = (
    "teach a large model with a fleet of small devices, "
    "and give every device a small model in return."
)
COMMANDS = {
    "run RECIPE [--flag value ...] [--out DIR]": "train on a simulated fleet",
    "run --resume DIR [--rounds N]": "go on with an interrupted run, or add rounds",
    "plan RECIPE [--flag value ...] [--json]": "who would cut where, what it costs, "
    "and the proven bound",
    "compare DIR [DIR ...] [--out FILE]": "runs side by side: table and page",
    "audit DIR [--json]": "what a curious server could recover from what travelled",
    "devices [--json]": "the catalogue of devices and servers",
    "calibrate [--kind NAME] [--out FILE]": "measure this board, half a minute: "
    "its own catalogue row",
}
FLEET_COMMANDS = {
    "serve fleet.toml": "the server",
    "enrol create --device NAME": "a one-time token for a device; `enrol deny` shuts it out",
    "agent --token TOKEN --data FILE": "on the device: enrol, then serve jobs until stopped",
    "run RECIPE --fleet fleet.toml": "hand a run to the server and follow it",
    "runs [stop NAME | resume NAME]": "runs of the server; stop one after its round, "
    "or let it go on",
    "backup DIR": "a copy of the server's folder, while it runs",
    "split DATA --devices N --out DIR": "a simulation's partition, one file per device",
}
USAGE = """\
distilfleet: {purpose}

{commands}

A real fleet:
{fleet_commands}

{recipes}
`distilfleet run RECIPE --help` lists a recipe's flags. First try: distilfleet run koala
"""
WIDTH = 120
PAGE = "report.html"
TRAINING_PACKAGES = ("torch", "sklearn", "PIL")
NETWORK_PACKAGES = ("grpc", "cryptography", "blake3", "prometheus_client")
INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with the code that the module docstring lists."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    print_in_any_encoding(sys.stdout)
    sys.exit(_guarded(words))


def _usage() -> str:
    from ..recipes.shipped import SHIPPED

    recipes = f"Recipes: {', '.join(SHIPPED)}, or your own: path/to/file.py:function."
    return USAGE.format(
        purpose=PURPOSE,
        commands=_columns(COMMANDS),
        fleet_commands=_columns(FLEET_COMMANDS),
        recipes=fill(recipes, WIDTH),
    )


def _columns(commands: Mapping[str, str]) -> str:
    """A line for each command, with what it does."""
    return "\n".join(f"  distilfleet {command:<43} {what}" for command, what in commands.items())


def _guarded(words: list[str]) -> int:
    try:
        return _dispatch(words)
    except Error as fault:
        print(plain(f"distilfleet: {fault}"), file=sys.stderr)
        return cli_fleet.FAILED if isinstance(fault, StarvedError) else 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as fault:
        print(plain(f"distilfleet: {_told(fault)}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "distilfleet: stopped at once; `run --resume` goes on from the last checkpoint.",
            file=sys.stderr,
        )
        return INTERRUPTED[signal.SIGINT]
    except Exception as fault:
        if isinstance(fault, ModuleNotFoundError) and fault.name in TRAINING_PACKAGES:
            print(
                f"distilfleet: training needs {fault.name}: pip install 'distilfleet[train]'",
                file=sys.stderr,
            )
            return 2
        if isinstance(fault, ModuleNotFoundError) and fault.name in NETWORK_PACKAGES:
            print(
                f"distilfleet: a real fleet needs {fault.name}: pip install 'distilfleet[net]'",
                file=sys.stderr,
            )
            return 2
        log = Path(f"distilfleet-fault-{os.getpid()}.log").absolute()
        log.write_text(traceback.format_exc())
        print(
            f"distilfleet: a fault of ours: {fault!r}. Please report it with {log}.",
            file=sys.stderr,
        )
        return 1


def _told(fault: OSError) -> str:
    where = f"{fault.filename}: " if fault.filename else ""
    remedy = " Free some space and use --resume." if fault.errno == 28 else ""
    return f"{where}{fault.strerror or fault}.{remedy}"


def _dispatch(words: list[str]) -> int:
    verb, *rest = words or ["--help"]
    verbs: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "plan": _plan,
        "compare": _compare,
        "audit": _audit,
        "devices": _devices,
        "calibrate": _calibrate,
        "serve": cli_fleet.serve,
        "enrol": cli_fleet.enrol,
        "agent": cli_fleet.agent,
        "runs": cli_fleet.runs,
        "backup": cli_fleet.backup,
        "split": cli_fleet.split,
    }
    if verb in ("--help", "-h", "help"):
        print(_usage(), end="")
        return 0
    if verb == "--version":
        from importlib.metadata import version

        print(version("distilfleet"))
        return 0
    if verb not in verbs:
        raise ConfigError(
            f"there is no verb {verb!r}{did_you_mean(verb, verbs)}; there are {', '.join(verbs)}. "
            f"See distilfleet --help."
        )
    return verbs[verb](rest)


# --- run ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, or add rounds to a finished one."""

    resume: Path = Path()
    """The run's directory."""
    rounds: int | None = None
    """Rounds in all, if more than the run was asked for."""


def _run(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_usage(), end="")
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


# --- plan -----------------------------------------------------------------------------------------


def _plan(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_usage(), end="")
        return 0
    from ..recipes.find import recipe

    name = words[0]
    rest = [word for word in words[1:] if word != "--json"]
    found = recipe(name)
    flags = parsed(found.flags, f"distilfleet plan {name}", rest)
    from ..recipes.plan import first_round
    from ..record.plan import plan_json
    from ..report.plan import print_plan

    result = first_round(found, flags, time.perf_counter)
    if "--json" in words:
        print(json.dumps(plan_json(result)))
    else:
        print_plan(result)
    return 0


# --- compare, devices -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Runs side by side: a table, and a page with the curves of all of them."""

    runs: tuple[Path, ...]
    """Run directories."""
    out: Path | None = None
    """The page. Default: compare.html beside the first run, with a number if that is there
    already."""
    json: bool = False
    """Print one JSON object instead of a table."""


def _compare(words: list[str]) -> int:
    asked = parsed(Compare, "distilfleet compare", words or ["--help"])
    if not asked.runs:
        raise ConfigError("name at least one run directory: distilfleet compare DIR [DIR ...]")
    from ..record.history import read
    from ..report.page import write_page
    from ..report.table import as_json, text_table

    runs = [read(path) for path in asked.runs]
    out = asked.out or _free(asked.runs[0].parent / "compare.html")
    if out.exists():
        raise ConfigError(f"{out} is there already; name another --out")
    write_page(runs, out)
    print(json.dumps(as_json(runs)) if asked.json else f"{text_table(runs)}\n\nPage: {out}")
    return 0


def _free(page: Path) -> Path:
    """The page's place, with a number where others are there already."""
    numbered = (page.with_name(f"{page.stem}-{number}{page.suffix}") for number in count(2))
    return next(place for place in chain([page], numbered) if not place.exists())


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Attack what a run kept of its messages (--keep-wire), and say how many tokens a curious
    server recovers."""

    run: Path
    """Run directory."""
    json: bool = False
    """Print one JSON object instead of text."""


def _audit(words: list[str]) -> int:
    asked = parsed(Audit, "distilfleet audit", words or ["--help"])
    from ..record.captured import write_audit
    from ..record.history import read
    from ..report.audit import audit_json, audit_text
    from ..report.page import write_page
    from .audit import audited

    write_audit(asked.run, audited(read(asked.run)))
    history = read(asked.run)
    write_page([history], asked.run / PAGE)
    print(json.dumps(audit_json(history)) if asked.json else audit_text(history))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The catalogue of devices and servers; each number's source is in the package."""

    catalogue: Path | None = None
    """CSV file with kinds of your own boards, as `distilfleet calibrate` writes it."""
    json: bool = False
    """Print one JSON object, with sources."""


def _devices(words: list[str]) -> int:
    asked = parsed(Devices, "distilfleet devices", words)
    from dataclasses import asdict

    from ..cost.catalogue import entries
    from ..report.devices import catalogue_json, print_catalogue

    rows = [asdict(entry) for entry in entries(asked.catalogue).values()]
    if asked.json:
        print(json.dumps(catalogue_json(rows)))
    else:
        print_catalogue(rows)
    return 0


def _calibrate(words: list[str]) -> int:
    from .calibrate_flags import Calibrate

    asked = parsed(Calibrate, "distilfleet calibrate", words)
    from .calibrate import calibrate

    print(calibrate(asked, time.perf_counter, time.sleep, f"{datetime.now(UTC):%Y-%m-%d}"))
    return 0


if __name__ == "__main__":
    main()
