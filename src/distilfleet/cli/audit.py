"""What a curious server could have recovered from what a run kept of its messages."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..core import wire
from ..core.errors import ConfigError, RecordError
from ..core.protocols import SMASHED
from ..core.types import Expected
from ..methods.splitkd.device import SplitWorker
from ..methods.splitkd.leakage import Finding, Observation, findings
from ..methods.splitkd.server import SplitKD
from ..recipes.find import recipe
from ..recipes.flags import unflatten
from ..recipes.simulated import about_of
from ..record.captured import AUDIT_SCHEMA, Exchange, read_wire
from ..record.checkpoint import read_checkpoint
from ..record.history import History
from ..training.experiment import Experiment, Simulation
from ..training.loop import state_of
from ..trust.audit import Recovery

Row = tuple[str, int, str]
"""Source, cut and attack: what is added up."""


def audited(history: History) -> dict[str, Any]:
    """The attacks on a run, scored against the data that its settings give again; plain data for
    `audit.json`.

    Raises ConfigError if the run sent smashed data and kept none of them, RecordError if its data
    are other ones now.
    """
    kept = read_wire(history.path)
    facts: dict[str, Any] = {
        "schema": AUDIT_SCHEMA,
        "disclosure": str(history.about["disclosure"]),
        "rounds": len(history.rounds),
        "exchanges": len(kept),
    }
    if _discloses(history) not in SMASHED:
        return {**facts, "applies": False, "travelled": _travelled(kept)}
    return {**facts, "applies": True, **_attacks(history, kept)}


def _attacks(history: History, kept: Mapping[str, Exchange]) -> dict[str, Any]:
    """What each attack recovered, and the best of them."""
    if not kept:
        raise ConfigError(
            f"{history.path} kept nothing of what travelled, so there is nothing to attack. Run it "
            "with --keep-wire 8."
        )
    rows = [_row(*entry) for entry in _added(_found(history, kept)).items()]
    best = max(rows, key=lambda row: row["share"])
    return {"recovered_share": best["share"], "tokens": best["tokens"], "attacks": rows}


def _discloses(history: History) -> str:
    """The kind of thing that left devices; what an older record does not say, its method built
    again does."""
    said = history.about.get("method")
    return str(said["discloses"] if said else _again(history).method.facts.discloses)


def _again(history: History) -> Experiment:
    found = recipe(history.about["recipe"])
    return found.build(unflatten(found.flags, {**history.about["settings"]}))


def _travelled(kept: Mapping[str, Exchange]) -> list[str]:
    """Kinds of array in the replies that were kept."""
    counts: Counter[str] = Counter()
    for exchange in kept.values():
        arrays = wire.decode_reply(exchange.reply).arrays.values()
        counts.update(f"{array.dtype}{list(array.shape)}" for array in arrays)
    return [f"{count} x {kind}" for kind, count in counts.most_common(5)]


def _found(history: History, kept: Mapping[str, Exchange]) -> Iterator[Finding]:
    experiment = _again(history)
    method = experiment.method
    assert isinstance(method, SplitKD), "no other method sends smashed data"
    simulation = _unchanged(history, experiment)
    state = state_of(method, read_checkpoint(history.path / "checkpoints"))
    torch.set_num_threads(1)
    for exchange in kept.values():
        seen = _observation(exchange)
        device = experiment.devices[seen.job.device]
        worker = method.worker(device, simulation.data(device.id), experiment.seed)
        assert isinstance(worker, SplitWorker)
        yield from findings(method, state, worker, seen)


def _unchanged(history: History, experiment: Experiment) -> Simulation:
    """The data of the run, divided as then. Raises RecordError if they are other ones now."""
    assert experiment.simulation is not None
    simulation = experiment.simulation()
    of_run = history.about["data"]
    if about_of(experiment, simulation)["data"] != of_run:
        raise RecordError(
            f"{of_run['name']} has changed since the run: restore it, for it says what is true"
        )
    return simulation


def _observation(exchange: Exchange) -> Observation:
    """What the server saw of an exchange."""
    nothing = Expected(arrays={})
    return Observation(
        begin=wire.decode_job(exchange.before, nothing),
        job=wire.decode_job(exchange.job, nothing),
        reply=wire.decode_reply(exchange.reply),
        learnt=wire.decode_reply(exchange.after).arrays if exchange.after else {},
    )


def _added(found: Iterator[Finding]) -> dict[Row, Recovery]:
    sums: dict[Row, Recovery] = {}
    for one in found:
        row = one.source, one.cut, one.recovery.attack
        sums[row] = sums[row] + one.recovery if row in sums else one.recovery
    return dict(sorted(sums.items()))


def _row(row: Row, sum_: Recovery) -> dict[str, Any]:
    source, cut, attack = row
    return {
        "source": source,
        "cut": cut,
        "attack": attack,
        "tokens": sum_.tokens,
        "recovered": sum_.recovered,
        "share": sum_.share,
    }
