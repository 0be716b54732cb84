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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, Error, StarvedError, did_you_mean
from ..core.plain import plain, print_in_any_encoding
from . import fleet as cli_fleet
from . import run as cli_run
from .usage import usage
from .words import parsed

if TYPE_CHECKING:
    pass

TRAINING_PACKAGES = ("torch", "sklearn", "PIL")
NETWORK_PACKAGES = ("grpc", "cryptography", "blake3", "prometheus_client")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with the code that the module docstring lists."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    print_in_any_encoding(sys.stdout)
    sys.exit(_guarded(words))


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
        return cli_run.INTERRUPTED[signal.SIGINT]
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
        "run": cli_run.run,
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
        print(usage(), end="")
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


# --- plan -----------------------------------------------------------------------------------------


def _plan(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(usage(), end="")
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
    write_page([history], asked.run / cli_run.PAGE)
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
