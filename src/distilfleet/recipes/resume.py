"""Going on with a run that was interrupted, or adding rounds to a finished one."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import RecordError
from ..record.checkpoint import Checkpoint
from ..record.history import read_about
from ..record.run import RunRecord, reopen, rewrite_about
from ..training.loop import PROCESSOR, versions
from .find import recipe
from .flags import common, unflatten
from .simulated import SimulatedRun, simulated

MUST_EQUAL = ("distilfleet",)
DIGESTS = {"digest": "data", "proxy_digest": "proxy"}
"""What `run.toml` says of the data, and the flag that names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A run that goes on."""

    run: SimulatedRun
    record: RunRecord
    """Open for writing."""
    start: Checkpoint | None
    """Where it goes on; None: it begins anew."""


def again(path: Path, rounds: int | None) -> Resumed | None:
    """An interrupted run, rebuilt and open for writing; None if nothing is left to do.

    Raises RecordError if the directory is damaged, in use, or of another version.
    """
    _check_versions(path, read_about(path))
    if "fleet" in read_about(path)["settings"]:
        raise RecordError(f"{path} is a run of a real fleet: its server goes on with it by itself")
    record, about, checkpoint = reopen(path)
    with ExitStack() as opened:
        opened.callback(record.close)
        wanted = max(about["rounds"], rounds or 0)
        if checkpoint is not None and checkpoint.round >= wanted:
            return None
        found = recipe(about["recipe"])
        flags = unflatten(found.flags, {**about["settings"], "rounds": wanted})
        run = simulated(found.build(flags), common(flags))
        check_data(path, about, run.experiment.about)
        notes = [*about.get("notes", ()), *elsewhere(about)]
        if wanted != about["rounds"] or elsewhere(about):
            rewrite_about(record, {**about, "rounds": wanted, "notes": list(dict.fromkeys(notes))})
        opened.pop_all()
    return Resumed(run=run, record=record, start=checkpoint)


def check_data(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises RecordError if a run is to go on with other data than it began with."""
    before = begun.get("data", {})
    here = now.get("data", {})
    for what, name in DIGESTS.items():
        if what in before and before[what] != here.get(what):
            file = begun["settings"].get(name, before["name"])
            raise RecordError(
                f"{path} trained on {file} as it was when the run began (digest {before[what]}); "
                f"it has changed since (now {here.get(what, 'none')}): put the old one back, or "
                "start a new run"
            )


def elsewhere(about: Mapping[str, Any]) -> list[str]:
    """What to say of a run that began on a processor that computes otherwise."""
    there = about["versions"].get(PROCESSOR)
    here = versions()[PROCESSOR]
    if there in (None, here):
        return []
    return [
        f"Begun on {there}, gone on with on {here}: weights are not equal to the bit to those of "
        "one machine."
    ]


def _check_versions(path: Path, about: Mapping[str, Any]) -> None:
    there = about["versions"]
    here = versions()
    for name in MUST_EQUAL:
        if there.get(name) != here[name]:
            raise RecordError(
                f"{path} was made by {name} {there.get(name)}, this is {here[name]}: going on "
                f"would not give the same weights. Install {name}=={there.get(name)}, or start the "
                "run anew."
            )
