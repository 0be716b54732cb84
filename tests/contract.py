"""What every method must keep, as checks that fail on one that does not.

A check takes a `Case`: how to make the method, on what data, on which fleet. `test_methods.py`
holds every method to all of them; `test_planted.py` holds the checks to methods with a planted
fault.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from distilfleet.core import wire
from distilfleet.core.chance import stream
from distilfleet.core.engine import rounds
from distilfleet.core.errors import UsedUpError
from distilfleet.core.pack import pack, unpack
from distilfleet.core.protocols import DisclosureClass, Method, Worker
from distilfleet.core.tally import Tally
from distilfleet.core.types import (
    Arrays,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Job,
    Load,
    Missed,
    Plan,
    Reply,
    Result,
    TrainedModel,
    Wave,
)
from distilfleet.cost import catalogue
from distilfleet.plan.sample import Sample
from distilfleet.record.checkpoint import read_checkpoint
from distilfleet.record.run import create, reopen
from distilfleet.sim.fleet import SimFleet, World
from distilfleet.training.experiment import Experiment
from distilfleet.training.loop import about, train

CLASSES = 3
KINDS = ("rpi-4b", "rpi-5")
DEVICES = {
    name: replace(catalogue.device(KINDS[i % 2], name), shares_label_counts=i != 1)
    for i, name in enumerate(f"device-{i:02d}" for i in range(4))
}
"""The owner of one keeps its label counts."""
SERVER = catalogue.device("server-rtx4060ti-16g", "server")
SAME = 1e-5
"""How far a cohort may be from its workers, relative to the larger of the number and one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A method under test."""

    make: Callable[[], Any]
    shape: tuple[int, ...] = (8,)
    fleet: Callable[..., Any] = SimFleet
    draw: Callable[[int, tuple[int, ...], str], Dataset] | None = None
    """(count, shape, owner) -> data of this method's kind; None: classes that differ in their
    mean."""

    def samples(self, count: int, owner: str) -> Dataset:
        return (self.draw or samples)(count, self.shape, owner)

    def data(self, device: DeviceId) -> Dataset:
        """Nine samples for the first device, five more for each next one."""
        return self.samples(9 + 5 * list(DEVICES).index(device), device)


def windows(count: int, shape: tuple[int, ...], owner: str) -> Dataset:
    """Token ids that count up, modulo forty, from anywhere; every third window ends early."""
    rng = stream(7, owner)
    (context,) = shape
    inputs = (rng.integers(0, 40, (count, 1)) + np.arange(context)) % 40
    inputs[::3, context // 2 :] = -1
    return Dataset(inputs.astype(np.int32))


def sentences(count: int, shape: tuple[int, ...], owner: str) -> Dataset:
    """Windows with a class each."""
    return Dataset(
        windows(count, shape, owner).inputs, stream(7, owner, "classes").integers(0, CLASSES, count)
    )


def samples(count: int, shape: tuple[int, ...], owner: str) -> Dataset:
    rng = stream(7, owner)
    labels = rng.integers(0, CLASSES, count)
    means = stream(7, "means").normal(size=(CLASSES, *shape))
    return Dataset((means[labels] + rng.normal(size=(count, *shape))).astype(np.float32), labels)


# --- running --------------------------------------------------------------------------------------

Lost = Callable[[int, DeviceId], bool]
"""(number of the wave, device) -> whether it does not answer."""


def nobody(wave: int, device: DeviceId) -> bool:
    return False


@dataclass
class Losing:
    """A fleet whose devices may vanish: a lost one never gets its job."""

    fleet: Any
    lost: Lost
    waves: int = 0
    without: dict[int, tuple[Wave, list[Job]]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fleet, name)

    def start(self, wave: Wave) -> int:
        self.waves += 1
        present = [job for job in wave.jobs if not self.lost(self.waves, job.device)]
        ticket = self.fleet.start(replace(wave, jobs=present))
        self.without[ticket] = wave, present
        return ticket

    def collect(self, ticket: int) -> list[Result]:
        wave, present = self.without.pop(ticket)
        came = dict(zip((job.id for job in present), self.fleet.collect(ticket), strict=True))
        return [
            came.get(job.id) or Missed(job=job.id, device=job.device, reason="offline")
            for job in wave.jobs
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """After one round."""

    state: Any
    kept: Mapping[DeviceId, Arrays]
    metrics: Mapping[str, float]
    tally: Tally
    models: Mapping[str, TrainedModel]

    @property
    def learnt(self) -> dict[str, bytes]:
        """Everything that training changes, to the bit."""
        models = {
            f"{name}/{part}": a
            for name, one in self.models.items()
            for part, a in one.weights.items()
        }
        kept = {
            f"{name}/{part}": a for name, arrays in self.kept.items() for part, a in arrays.items()
        }
        return bits({**models, **kept})


def fleet_of(case: Case, method: Any, seed: int = 0, **world: Any) -> Any:
    surroundings = World(server=SERVER, **{"seed": seed, "cohorts": False, **world})
    return case.fleet(DEVICES, case.data, method, surroundings)


def run(
    case: Case,
    count: int,
    *,
    seed: int = 0,
    lost: Lost = nobody,
    method: Any = None,
    planner: Any = None,
) -> list[Outcome]:
    """`count` rounds with all devices; each leaves the state that it started from as it was, or
    used up, which it then says."""
    method, planner = method or case.make(), planner or Sample(per_round=len(DEVICES), seed=seed)
    fleet = Losing(fleet_of(case, method, seed), lost)
    state = method.init(seed)
    outcomes = []
    for number in range(1, count + 1):
        before = state_bits(state)
        (done,) = rounds(method, planner, fleet, state, range(number, number + 1))
        assert bits_left(state) in (before, None), "a round changed the state that it was given"
        state = done.state
        outcomes.append(observe(case, method, fleet, state))
    return outcomes


def observe(case: Case, method: Any, fleet: Any, state: Any) -> Outcome:
    kept = {
        device: {n: a.copy() for n, a in arrays.items()} for device, arrays in fleet.kept().items()
    }
    metrics = method.evaluate(state, kept, case.samples(12, "test"))
    return Outcome(
        state=apart(state),
        kept=kept,
        metrics=metrics,
        tally=fleet.tally(),
        models={
            name: replace(one, weights=copied(one.weights))
            for name, one in method.models(state).items()
        },
    )


def bits(arrays: Arrays) -> dict[str, bytes]:
    return {
        name: f"{array.dtype}{array.shape}".encode() + array.tobytes()
        for name, array in arrays.items()
    }


def same(one: Arrays, other: Arrays) -> None:
    """The same arrays to the bit; says which are not."""
    here, there = bits(one), bits(other)
    differ = sorted(name for name in here | there if here.get(name) != there.get(name))
    assert not differ, f"{len(differ)} arrays differ, such as {differ[:3]}"


def copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def apart(state: Any) -> Any:
    """The state as a checkpoint has it, which no later round uses up."""
    arrays, plain = pack(state)
    return unpack(plain, copied(arrays), type(state))


def bits_left(state: Any) -> tuple[dict[str, bytes], str] | None:
    """None of a state that is used up."""
    try:
        return state_bits(state)
    except UsedUpError:
        return None


def state_bits(state: Any) -> tuple[dict[str, bytes], str]:
    arrays, plain = pack(state)
    return bits(arrays), repr(plain)


def valid(outcome: Outcome) -> None:
    """The state can be stored and used: finite, and the same again after packing and unpacking."""
    arrays, plain = pack(outcome.state)
    again = unpack(plain, arrays, type(outcome.state))
    assert state_bits(again) == state_bits(outcome.state)
    for array in (
        *arrays.values(),
        *(a for one in outcome.models.values() for a in one.weights.values()),
    ):
        assert np.isfinite(array).all()
    assert all(np.isfinite(value) for value in outcome.metrics.values())


# --- checks ---------------------------------------------------------------------------------------


def check_same_seed(case: Case) -> None:
    """The same seed gives the same bits, in state, on devices and in metrics."""
    for one, other in zip(run(case, 3), run(case, 3), strict=True):
        assert state_bits(one.state) == state_bits(other.state)
        assert one.learnt == other.learnt
        assert one.metrics == other.metrics
        assert one.tally == other.tally


def check_other_seed(case: Case) -> None:
    """Another seed gives other models."""
    one, other = run(case, 1, seed=0)[-1].learnt, run(case, 1, seed=1)[-1].learnt
    assert one, "nothing was learnt"
    assert one != other


def check_learns(case: Case) -> None:
    """Every round changes something that is learnt."""
    first, second = (outcome.learnt for outcome in run(case, 2))
    assert first != second


def check_devices_may_vanish(case: Case) -> None:
    """Any device, or all of them, in the first round or a later one: rounds end with a valid state
    and go on."""
    for lost in losses():
        outcomes = run(case, 3, lost=lost)
        for outcome in outcomes:
            valid(outcome)
        gone = {device for device in DEVICES if lost(3, device)}
        assert not gone & set(outcomes[-1].tally.answered)
        if not gone:
            assert outcomes[-1].learnt != outcomes[-2].learnt, (
                "after a lost round nothing is learnt any more"
            )


def losses() -> Iterable[Lost]:
    for device in DEVICES:
        yield lambda wave, who, device=device: who == device
        yield lambda wave, who, device=device: who != device
    yield lambda wave, who: wave == 1
    yield lambda wave, who: wave == 2
    yield lambda wave, who: wave == 2 and who in list(DEVICES)[:2]
    yield lambda wave, who: True


def check_resume(case: Case, folder: Path) -> None:
    """Interrupt, restore from the files and continue: the same bits as never having stopped."""
    whole, parts = folder / "whole", folder / "parts"
    begin(case, whole, stop_after=4)
    begin(case, parts, stop_after=1)
    go_on(case, parts, stop_after=2)
    go_on(case, parts, stop_after=1)
    one, other = (read_checkpoint(path / "checkpoints") for path in (whole, parts))
    assert one.round == other.round == 4
    same(one.arrays, other.arrays)
    assert one.plain["state"] == other.plain["state"]
    assert timeless(whole) == timeless(parts)


def begin(case: Case, path: Path, stop_after: int) -> None:
    fresh = recorded(case)
    _take(case, fresh, create(path, about(fresh, "none", {}, "now"), {}), None, stop_after)


def go_on(case: Case, path: Path, stop_after: int) -> None:
    record, _, checkpoint = reopen(path)
    _take(case, recorded(case), record, checkpoint, stop_after)


def recorded(case: Case) -> Experiment:
    """An experiment in which devices are sampled."""
    return Experiment(
        method=case.make(),
        devices=DEVICES,
        server=SERVER,
        planner=Sample(per_round=3, seed=0),
        test=case.samples(12, "test"),
        rounds=9,
        seed=0,
        checkpoint_every_s=1e9,
    )


def unreliable(case: Case, experiment: Experiment) -> Any:
    """A fleet of which some devices are offline, so that every random stream counts."""
    return fleet_of(case, experiment.method, offline_share=0.25)


def _take(case: Case, fresh: Experiment, record: Any, start: Any, count: int) -> None:
    try:
        steps = train(fresh, unreliable(case, fresh), record, start, lambda: 0.0)
        for _ in range(count):
            next(steps)
        steps.close()
    finally:
        record.close()


def timeless(path: Path) -> bytes:
    """Metrics, which have no wall time."""
    return (path / "metrics.jsonl").read_bytes()


def check_frames(case: Case) -> None:
    """What a load declares is what travels, to the byte; honest replies are let in; nothing changes
    on the way."""
    watched = Watched(method=case.make(), wrap=ExactWorker)
    run(case, 3, method=watched)
    assert watched.log.waves
    for wave, results in watched.log.waves:
        for job, result in zip(wave.jobs, results, strict=True):
            assert isinstance(result, Reply), f"an honest reply is refused: {result}"
            declared, received, sent = watched.log.handled[job.id]
            same(received.arrays, job.arrays)
            same(result.arrays, sent)
            assert declared.down_bytes == len(wire.encode_job(job))
            assert declared.up_bytes == len(wire.encode_reply(job.id, job.device, sent))
            assert declared.memory_bytes > 0
            assert declared.flops >= 0


def check_job_ids(case: Case) -> None:
    """A late answer can be told from a current one: no job id comes twice in a run, whoever
    answers."""
    for lost in (nobody, lambda wave, device: wave == 2):
        watched = Watched(method=case.make(), wrap=ExactWorker)
        run(case, 4, method=watched, lost=lost)
        ids = [job.id for wave, _ in watched.log.waves for job in wave.jobs]
        assert ids
        assert len(set(ids)) == len(ids)


def check_worker(case: Case) -> None:
    """A worker restored from another's snapshot answers and ends as that one does; its snapshot is
    all it keeps."""
    watched = Watched(method=case.make(), wrap=TwinnedWorker)
    run(case, 3, method=watched)
    assert watched.log.handled


def check_cohort(case: Case) -> None:
    """Where a method trains devices side by side, each gets what it would have got alone."""
    method = case.make()
    if not hasattr(method, "cohort"):
        return
    for after in (0, 2):
        jobs, kept = wave_after(case, method, after)
        together = workers(case, method, jobs, kept)
        alone = workers(case, method, jobs, kept)
        answers = method.cohort(together, jobs)
        for worker, single, answer, job in zip(together, alone, answers, jobs, strict=True):
            close(answer, single.handle(job))
            close(worker.snapshot(), single.snapshot())


def check_metrics(case: Case) -> None:
    """Quality is finite and in range from the first moment on; models can be exported."""
    method = case.make()
    method.evaluate(method.init(0), {}, case.samples(12, "test"))
    for outcome in run(case, 2):
        valid(outcome)
        assert outcome.metrics
        for name, value in outcome.metrics.items():
            assert not name.endswith("_accuracy") or 0 <= value <= 1


def check_facts(case: Case) -> None:
    """The product can speak of the method: every field says something, and a page has its words."""
    facts = case.make().facts
    assert facts.title.strip() and facts.disclosure.strip()
    assert facts.discloses in get_args(DisclosureClass)
    assert all(sentence.endswith(".") for sentence in facts.story) and facts.story
    assert len(facts.disclosure.splitlines()) == 1


# --- watching -------------------------------------------------------------------------------------


@dataclass
class Log:
    waves: list[tuple[Wave, Sequence[Result]]] = field(default_factory=list)
    handled: dict[str, tuple[Load, Job, Arrays]] = field(default_factory=dict)


@dataclass
class Watched:
    """A method that behaves as the one inside and writes down what goes in and out.

    Its workers live on from round to round, as on real devices, even where a fleet would drop them.
    """

    method: Any
    wrap: Callable[..., Any]
    log: Log = field(default_factory=Log)
    alive: dict[DeviceId, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name == "cohort":
            raise AttributeError(name)
        return getattr(self.method, name)

    def round(self, state: Any, plan: Plan, conditions: Conditions) -> Any:
        steps, answer = self.method.round(state, plan, conditions), None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as done:
                return done.value
            answer = yield request
            if isinstance(request, Wave):
                self.log.waves.append((request, answer))

    def worker(self, device: Device, data: Dataset, seed: int) -> Any:
        if device.id not in self.alive:
            self.alive[device.id] = self.wrap(
                lambda: self.method.worker(device, data, seed), self.log
            )
        return self.alive[device.id]


class ExactWorker:
    """Writes down what a worker declares, receives and answers."""

    def __init__(self, make: Callable[[], Worker], log: Log) -> None:
        self.make, self.log, self.inner = make, log, make()
        self.load, self.snapshot, self.restore = (
            self.inner.load,
            self.inner.snapshot,
            self.inner.restore,
        )

    def handle(self, job: Job) -> Arrays:
        declared = self.inner.load(job)
        arrays = self.inner.handle(job)
        self.log.handled[job.id] = (
            declared,
            job,
            {name: array.copy() for name, array in arrays.items()},
        )
        return arrays


class TwinnedWorker(ExactWorker):
    """Lets a new worker, restored from the snapshot, do each job too, and compares."""

    def handle(self, job: Job) -> Arrays:
        twin = self.make()
        twin.restore({name: array.copy() for name, array in self.inner.snapshot().items()})
        assert self.inner.load(job) == twin.load(job)
        arrays = super().handle(job)
        same(twin.handle(job), arrays)
        same(twin.snapshot(), self.inner.snapshot())
        return arrays


def wave_after(
    case: Case, method: Method[Any], count: int
) -> tuple[Sequence[Job], Mapping[DeviceId, Arrays]]:
    """The jobs of the round that follows `count` rounds, and what the devices keep by then."""
    before = run(case, count, method=method)[-1] if count else None
    state = method.init(0) if before is None else before.state
    conditions = Conditions(round=count + 1, devices=DEVICES, ids=tuple(DEVICES))
    wave = next(method.round(state, Plan(clusters=(tuple(DEVICES),)), conditions))
    assert isinstance(wave, Wave)
    return wave.jobs, {} if before is None else before.kept


def workers(
    case: Case, method: Any, jobs: Sequence[Job], kept: Mapping[DeviceId, Arrays]
) -> list[Worker]:
    made = []
    for job in jobs:
        worker = method.worker(DEVICES[job.device], case.data(job.device), 0)
        if job.device in kept:
            worker.restore(kept[job.device])
        made.append(worker)
    return made


def close(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert array.shape == other[name].shape
        np.testing.assert_allclose(array, other[name], rtol=SAME, atol=SAME, err_msg=name)
