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
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError, Error, StarvedError, did_you_mean
from ..core.plain import plain, print_in_any_encoding
from . import compare as cli_compare
from . import fleet as cli_fleet
from . import predict as cli_predict
from . import run as cli_run
from . import track as cli_track
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
    """The exit code of a verb; whatever it raises is said in a message."""
    try:
        return _dispatch(words)
    except Error as fault:
        _say(str(fault))
        return cli_fleet.FAILED if isinstance(fault, StarvedError) else 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as fault:
        _say(_reason(fault))
        return 2
    except KeyboardInterrupt:
        _say("stopped at once; `run --resume` goes on from the last checkpoint.")
        return cli_run.INTERRUPTED[signal.SIGINT]
    except Exception as fault:
        return _unexpected(fault)


def _say(words: str) -> None:
    print(plain(f"distilfleet: {words}"), file=sys.stderr)


def _reason(fault: OSError) -> str:
    where = f"{fault.filename}: " if fault.filename else ""
    remedy = " Free some space and use --resume." if fault.errno == 28 else ""
    return f"{where}{fault.strerror or fault}.{remedy}"


def _unexpected(fault: Exception) -> int:
    """What to install where a package is missing, else where the traceback is."""
    missing = fault.name if isinstance(fault, ModuleNotFoundError) else None
    if missing in TRAINING_PACKAGES:
        _say(f"training needs {missing}: pip install 'distilfleet[train]'")
        return 2
    if missing in NETWORK_PACKAGES:
        _say(f"a real fleet needs {missing}: pip install 'distilfleet[net]'")
        return 2
    log = Path(f"distilfleet-fault-{os.getpid()}.log").absolute()
    log.write_text(traceback.format_exc())
    _say(f"a fault of ours: {fault!r}. Please report it with {log}.")
    return 1


def _dispatch(words: list[str]) -> int:
    verb, *rest = words or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(usage(), end="")
        return 0
    if verb == "--version":
        from importlib.metadata import version

        print(version("distilfleet"))
        return 0
    return _verb(verb)(rest)


def _verb(name: str) -> Callable[[list[str]], int]:
    """Raises ConfigError for a name that is none of a verb."""
    verbs: dict[str, Callable[[list[str]], int]] = {
        "run": cli_run.run,
        "plan": _plan,
        "compare": cli_compare.compare,
        "predict": cli_predict.predict,
        "audit": _audit,
        "track": cli_track.track,
        "devices": _devices,
        "calibrate": _calibrate,
        "export": _export,
        "serve": cli_fleet.serve,
        "enrol": cli_fleet.enrol,
        "agent": cli_fleet.agent,
        "runs": cli_fleet.runs,
        "backup": cli_fleet.backup,
        "split": cli_fleet.split,
    }
    if name not in verbs:
        meant = did_you_mean(name, verbs)
        raise ConfigError(
            f"there is no verb {name!r}{meant}; there are {', '.join(verbs)}. "
            "See distilfleet --help."
        )
    return verbs[name]


# --- plan -----------------------------------------------------------------------------------------


def _plan(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(usage(), end="")
        return 0
    from ..recipes.find import recipe

    name, *rest = words
    as_json = "--json" in rest
    found = recipe(name)
    of_recipe = [word for word in rest if word != "--json"]
    flags = parsed(found.flags, f"distilfleet plan {name}", of_recipe)
    from ..recipes.plan import first_round
    from ..record.plan import plan_json
    from ..report.plan import print_plan

    result = first_round(found, flags, time.perf_counter)
    if as_json:
        print(json.dumps(plan_json(result)))
    else:
        print_plan(result)
    return 0


# --- audit, devices -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Attack what a run kept of its messages (--keep-wire), and say how many tokens a curious
    server recovers."""

    run: Path
    """Run directory."""
    json: bool = False
    """Print one JSON object instead of text."""


def _audit(words: list[str]) -> int:
    flags = parsed(Audit, "distilfleet audit", words or ["--help"])
    from ..record.captured import write_audit
    from ..record.history import read
    from ..report.audit import audit_json, audit_text
    from ..report.page import write_page
    from .audit import audited

    write_audit(flags.run, audited(read(flags.run)))
    history = read(flags.run)
    write_page([history], flags.run / cli_run.PAGE)
    print(json.dumps(audit_json(history)) if flags.json else audit_text(history))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The catalogue of devices and servers; each number's source is in the package."""

    catalogue: Path | None = None
    """CSV file with kinds of your own boards, as `distilfleet calibrate` writes it."""
    json: bool = False
    """Print one JSON object, with sources."""


def _devices(words: list[str]) -> int:
    flags = parsed(Devices, "distilfleet devices", words)
    from dataclasses import asdict

    from ..cost.catalogue import entries
    from ..report.devices import catalogue_json, print_catalogue

    rows = [asdict(entry) for entry in entries(flags.catalogue).values()]
    if flags.json:
        print(json.dumps(catalogue_json(rows)))
    else:
        print_catalogue(rows)
    return 0


def _calibrate(words: list[str]) -> int:
    from .calibrate_flags import Calibrate

    flags = parsed(Calibrate, "distilfleet calibrate", words)
    from .calibrate import calibrate

    print(calibrate(flags, time.perf_counter, time.sleep, f"{datetime.now(UTC):%Y-%m-%d}"))
    return 0


def _export(words: list[str]) -> int:
    from .export_flags import Export

    asked = parsed(Export, "distilfleet export", words or ["--help"])
    from .export import as_json, exported, said

    verdict = exported(asked)
    print(as_json(verdict) if asked.json else said(verdict, asked.model))
    return 0


if __name__ == "__main__":
    main()
