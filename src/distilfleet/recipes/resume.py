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
    """The checkpoint that it goes on from; None: it begins anew."""


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
        run = _rebuilt(about, wanted)
        check_data(path, about, run.experiment.about)
        _note_changes(record, about, wanted)
        opened.pop_all()
    return Resumed(run=run, record=record, start=checkpoint)


def _note_changes(record: RunRecord, about: Mapping[str, Any], rounds: int) -> None:
    """Write down that a run is to have more rounds, or goes on on another processor."""
    moved = elsewhere(about)
    if rounds == about["rounds"] and not moved:
        return
    notes = dict.fromkeys([*about.get("notes", ()), *moved])
    rewrite_about(record, {**about, "rounds": rounds, "notes": list(notes)})


def _rebuilt(about: Mapping[str, Any], rounds: int) -> SimulatedRun:
    """The run again, from what its record says was asked for."""
    found = recipe(about["recipe"])
    flags = unflatten(found.flags, {**about["settings"], "rounds": rounds})
    return simulated(found.build(flags), common(flags))


def check_data(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises RecordError if a run is to go on with other data than it began with."""
    before = begun.get("data", {})
    after = now.get("data", {})
    for what, name in DIGESTS.items():
        if what in before and before[what] != after.get(what):
            file = begun["settings"].get(name, before["name"])
            raise RecordError(
                f"{path} trained on {file} as it was when the run began (digest {before[what]}); "
                f"it has changed since (now {after.get(what, 'none')}): put the old one back, or "
                "start a new run"
            )


def elsewhere(about: Mapping[str, Any]) -> list[str]:
    """What to say of a run that began on a processor that computes otherwise."""
    before = about["versions"].get(PROCESSOR)
    now = versions()[PROCESSOR]
    if before in (None, now):
        return []
    return [
        f"Begun on {before}, gone on with on {now}: weights are not equal to the bit to those of "
        "one machine."
    ]


def _check_versions(path: Path, about: Mapping[str, Any]) -> None:
    now = versions()
    for name in MUST_EQUAL:
        before = about["versions"].get(name)
        if before != now[name]:
            raise RecordError(
                f"{path} was made by {name} {before}, this is {now[name]}: going on would not give "
                f"the same weights. Install {name}=={before}, or start the run anew."
            )
