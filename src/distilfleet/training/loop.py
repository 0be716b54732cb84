"""The loop that carries an experiment out, records it and can go on where it stopped."""

import gc
import os
import platform
from collections import ChainMap
from collections.abc import (
    Callable,
    Generator,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from math import isnan
from typing import Any, cast, get_type_hints

import numpy as np

from ..core.disk import Content
from ..core.engine import rounds
from ..core.errors import RecordError, StarvedError
from ..core.pack import pack, unpack
from ..core.prefix import prefixed, under
from ..core.protocols import Fleet, Method
from ..core.tally import Tally
from ..core.types import Discount, Plan
from ..core.unanswered import reasons
from ..deploy.card import CardFacts
from ..deploy.contents import contents
from ..record.captured import read_wire, write_wire
from ..record.checkpoint import Checkpoint, read_checkpoint
from ..record.history import SCHEMA, read_about, read_fleet, read_rounds, read_start
from ..record.run import RunRecord
from .capture import CapturingFleet
from .experiment import Experiment
from .first_plan import expected, first_plan

PROCESSOR = "processor"
"""Among the versions: see `processor`."""
LIMITS = (
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OPENBLAS_CORETYPE",
)
"""Variables that hold libraries below what the processor can do, which the libraries do not say."""
MOST_MISSED = 100
"""Missed jobs, and discounts, that a round's record names; of missed jobs the rest are counted."""


Steps = Generator[dict[str, Any], None, None]
"""Metrics of each round as it is finished."""


def about(
    experiment: Experiment, recipe: str, settings: Mapping[str, Any], started: str
) -> dict[str, Any]:
    """`run.toml` of a run that is about to start."""
    facts = experiment.method.facts
    return {
        "schema": SCHEMA,
        "recipe": recipe,
        "started": started,
        "rounds": experiment.rounds,
        "seed": experiment.seed,
        "disclosure": facts.disclosure,
        "method": {name: value for name, value in asdict(facts).items() if name != "disclosure"},
        **experiment.about,
        "settings": dict(settings),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of the interpreter and the libraries that numbers depend on."""
    packages = {name: version(name) for name in ("distilfleet", "numpy", "torch")}
    return {**packages, "python": platform.python_version(), PROCESSOR: processor()}


def processor() -> str:
    """What picks the code that computes: numbers are equal to the bit where this is, beside
    versions and threads."""
    import torch

    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    numpy = (simd.get("found") or simd["baseline"])[-1]
    limits = "".join(f", {name}={os.environ[name]}" for name in LIMITS if name in os.environ)
    return (
        f"{platform.machine()}, torch {torch.backends.cpu.get_cpu_capability()}, numpy "
        f"{numpy}{limits}"
    )


def train(
    experiment: Experiment,
    fleet: Fleet,
    record: RunRecord,
    start: Checkpoint | None,
    now_s: Callable[[], float],
) -> Steps:
    """Rounds from the checkpoint to the end, each recorded before its metrics are yielded; close to
    stop early.

    Round 0, the quality that pretrained models begin with, comes first where there are some.

    The models are written before the last checkpoint, so that a run with all its checkpoints has
    them.

    Raises StarvedError if no device has answered in any round, before the last one is recorded.

    Args:
        fleet: a simulated or a real one, of the experiment's devices.
        start: None for a new run.
        now_s: a monotonic clock, for wall time and the checkpoint interval.
    """
    method, last = experiment.method, experiment.rounds
    state: Any
    planned = first_plan(experiment.planner, fleet, record, new=start is None, now_s=now_s)
    fleet = _captured(experiment, fleet, record)
    if start is None:
        state, before_s, first = method.init(experiment.seed), 0.0, 1
        _save(fleet, record, state, 0)
    else:
        state, before_s, first = _restore(method, fleet, start), _wall_s(record), start.round + 1
    began_s = kept_s = now_s()
    number = kept = first - 1
    yield from _round_0(experiment, state, record, first)
    # the fleet stays to the end: without this the collector looks through all of it again and again
    gc.freeze()
    try:
        for done in rounds(
            method,
            experiment.planner,
            fleet,
            state,
            range(first, last + 1),
            partial(_reread, method, record),
        ):
            number, state, wall_s = done.round, done.state, before_s + now_s() - began_s
            metrics = method.evaluate(state, fleet.kept(), experiment.test)
            tally = fleet.tally()
            if number == last:
                _check_heard(record, tally)
            if tally.times is not None:
                record.append_times(number, tally.times)
            spent = {
                **_spent(tally),
                **_short(tally, done.plan),
                **_known(expected(done.plan, planned), tally),
            }
            line = {"round": number, **metrics, **spent, **_discounted(done.discounts)}
            record.append_wall(number, wall_s)
            record.append(line)
            if number == last:
                record.models(_folders(experiment, record, state, line))
            if number == last or now_s() - kept_s >= experiment.checkpoint_every_s:
                _save(fleet, record, state, number)
                kept, kept_s = number, now_s()
            yield {**line, "wall_s": wall_s}
    except GeneratorExit:
        if number > kept:
            _save(fleet, record, state, number)
        raise
    finally:
        gc.unfreeze()


def _folders(
    experiment: Experiment, record: RunRecord, state: object, last: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Content]]]:
    """Name and files of each model that the server has, one after the other."""
    about = CardFacts(about=read_about(record.path), fleet=read_fleet(record.path), last=last)
    for name, trained in experiment.method.models(state).items():
        yield name, contents(name, trained, about, experiment.data_spec, experiment.tokenizer)


def _captured(experiment: Experiment, fleet: Fleet, record: RunRecord) -> Fleet:
    """The fleet, whose messages are kept as far as the experiment wants them."""
    if not experiment.keep.most:
        return fleet
    kept_wire = read_wire(record.path)
    return CapturingFleet(
        inner=fleet, keep=experiment.keep, seed=experiment.seed, kept_wire=kept_wire
    )


def _round_0(experiment: Experiment, state: object, record: RunRecord, first: int) -> Steps:
    """What models that know something are worth before any training, unless that is known."""
    method = experiment.method
    if first == 1 and method.facts.pretrained and not read_start(record.path):
        line = {"round": 0, **method.evaluate(state, {}, experiment.test)}
        record.append(line)
        yield line


def _save(fleet: Fleet, record: RunRecord, state: object, number: int) -> None:
    if isinstance(fleet, CapturingFleet):
        write_wire(record.path, fleet.kept_wire)
    arrays, plain = pack(state)
    of_fleet = prefixed("fleet", fleet.snapshot())
    both = ChainMap({}, of_fleet, cast(MutableMapping[str, np.ndarray], arrays))  # nothing is read
    record.checkpoint(Checkpoint(round=number, arrays=both, plain={"state": plain}))


def _reread(method: Method[Any], record: RunRecord) -> Any:
    """The state of the last round on disk, which on a real fleet is the last one that is over."""
    return state_of(method, read_checkpoint(record.path / "checkpoints"))


def state_of(method: Method[Any], start: Checkpoint) -> Any:
    """The server's, as a checkpoint has it. Raises RecordError if that is of another method or
    version."""
    kind = get_type_hints(method.init)["return"]
    try:
        return unpack(start.plain["state"], start.arrays, kind)
    except (KeyError, ValueError) as fault:
        raise _of_another(start, fault) from None


def _restore(method: Method[Any], fleet: Fleet, start: Checkpoint) -> Any:
    state = state_of(method, start)
    of_fleet = under("fleet", start.arrays)
    try:
        fleet.restore(of_fleet)
    except (KeyError, ValueError) as fault:
        raise _of_another(start, fault) from None
    return state


def _of_another(start: Checkpoint, fault: Exception) -> RecordError:
    return RecordError(
        f"the checkpoint of round {start.round} is of another method or version: {fault}"
    )


def _wall_s(record: RunRecord) -> float:
    """Seconds that the run has taken, as far as its record goes."""
    return next(
        (float(line["wall_s"]) for line in reversed(read_rounds(record.path)) if "wall_s" in line),
        0.0,
    )


def _discounted(discounts: Sequence[Discount]) -> dict[str, Any]:
    """Answers that did not count in full; nothing where all did."""
    named = [[one.device, round(one.kept, 4), one.by] for one in discounts[:MOST_MISSED]]
    return {"discounts": named} if named else {}


def _short(tally: Tally, plan: Plan) -> dict[str, int]:
    """Where fewer devices answered than a round wants: how many it wants. Only a simulated fleet
    counts such a one."""
    wanted = min(plan.minimum, len(plan.devices))
    return {"below_minimum": wanted} if len(set(tally.answered)) < wanted else {}


def _known(planned: Mapping[str, Any], tally: Tally) -> dict[str, Any]:
    """Without the joules of a server whose watts nobody knows."""
    unknown = {"planned_server_energy_j"} if isnan(tally.server.energy_j) else set()
    return {name: value for name, value in planned.items() if name not in unknown}


def _check_heard(record: RunRecord, last: Tally) -> None:
    """Raises StarvedError where no round has an answer, this last one neither."""
    before = read_rounds(record.path)
    if last.answered or any(line["devices"] for line in before):
        return
    missed = {one.device: one.reason for one in last.missed}
    raise StarvedError(
        f"no device answered in any of {len(before) + 1} rounds, so nothing was learnt. In the "
        f"last one: {reasons(missed)}"
    )


def _spent(tally: Tally) -> dict[str, Any]:
    """Devices are counted once, however many jobs a round has for each; missed jobs are counted as
    jobs."""
    answered, lost = set(tally.answered), {missed.device for missed in tally.missed}
    return {
        "up_bytes": tally.devices.up_bytes,
        "down_bytes": tally.devices.down_bytes,
        "device_energy_j": tally.devices.energy_j,
        **({} if isnan(tally.server.energy_j) else {"server_energy_j": tally.server.energy_j}),
        "elapsed_s": tally.elapsed_s,
        "devices": len(answered),
        "asked": len(answered | lost),
        "jobs": len(tally.answered) + len(tally.missed),
        "missed": len(tally.missed),
        "missed_jobs": [[missed.device, missed.reason] for missed in tally.missed[:MOST_MISSED]],
        **({} if tally.prediction is None else asdict(tally.prediction)),
    }
