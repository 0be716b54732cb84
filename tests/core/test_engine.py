from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from distilfleet.core.engine import Finished, drive, rounds
from distilfleet.core.errors import AgainError, InfeasibleError
from distilfleet.core.protocols import Fleet, Method, MethodFacts, Worker
from distilfleet.core.tally import Tally
from distilfleet.core.types import (
    Arrays,
    Collect,
    Conditions,
    Dataset,
    Device,
    DeviceId,
    Discount,
    Expected,
    Job,
    Link,
    Load,
    Metrics,
    Missed,
    Plan,
    Reply,
    Result,
    Round,
    Start,
    TrainedModel,
    Usage,
    Wave,
    Work,
)
from distilfleet.core.wire import admit, specs

LINK = Link(up_bps=1e6, down_bps=1e6, latency_s=0.01, transmit_w=0.5)


def member(device_id: DeviceId) -> Device:
    return Device(
        id=device_id,
        kind="rpi-4b",
        speed_flops_per_s=1e9,
        memory_bytes=10**9,
        memory_bytes_per_s=1e9,
        idle_w=1.0,
        busy_w=5.0,
        link=LINK,
    )


def doubling(device: DeviceId, value: float, round_number: int = 0) -> Job:
    arrays = {"x": np.array([value])}
    return Job(
        id=f"{round_number}/{device}",
        device=device,
        op="double",
        arrays=arrays,
        expected=Expected(arrays=specs(arrays)),
    )


@dataclass
class DoublingFleet:
    """Doubles what it is sent, latest job first; devices in `offline` do not answer."""

    ids: Sequence[DeviceId] = ("a", "b", "c")
    offline: frozenset[DeviceId] = frozenset()
    calls: list[str] = field(default_factory=list)
    worked: Load = field(default_factory=Load)
    adopted: list[Plan] = field(default_factory=list)
    _waves: dict[int, Wave] = field(default_factory=dict)

    def roster(self) -> Mapping[DeviceId, Device]:
        return {device_id: member(device_id) for device_id in self.ids}

    def conditions(self, number: int) -> Conditions:
        return Conditions(round=number, devices=self.roster(), ids=tuple(self.ids))

    def adopt(self, plan: Plan) -> None:
        self.adopted.append(plan)

    def start(self, wave: Wave) -> int:
        ticket = len(self.calls)
        self._waves[ticket] = wave
        self.calls.append("start")
        return ticket

    def collect(self, ticket: int) -> list[Result]:
        self.calls.append("collect")
        jobs = self._waves.pop(ticket).jobs
        finished = {job.id: self._outcome(job) for job in reversed(jobs)}
        return [finished[job.id] for job in jobs]

    def work(self, load: Load) -> None:
        self.calls.append("work")
        self.worked += load

    def tally(self) -> Tally:
        return Tally(devices=Usage(), server=Usage(), elapsed_s=0.0, answered=(), missed=())

    def kept(self) -> Mapping[DeviceId, Arrays]:
        return {}

    def snapshot(self) -> Arrays:
        return {}

    def restore(self, kept: Arrays) -> None: ...

    def _outcome(self, job: Job) -> Result:
        if job.device in self.offline:
            return Missed(job=job.id, device=job.device, reason="offline")
        return admit(Reply(job=job.id, device=job.device, arrays={"x": 2 * job.arrays["x"]}), job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summing:
    """Adds up what the devices of the plan answer."""

    @property
    def facts(self) -> MethodFacts:
        return MethodFacts(
            title="Sum", story=("They add up.",), discloses="weights", disclosure="a number"
        )

    def init(self, seed: int) -> float:
        return float(seed)

    def round(self, state: float, plan: Plan, conditions: Conditions) -> Round[float]:
        jobs = [doubling(device, state, conditions.round) for device in plan.devices]
        results = yield Wave(jobs=jobs)
        yield Work(Load(flops=len(jobs)))
        return state + sum(
            float(result.arrays["x"][0]) for result in results if isinstance(result, Reply)
        )

    def worker(self, device: Device, data: Dataset, seed: int) -> Worker:
        raise NotImplementedError

    def evaluate(self, state: float, kept: Mapping[DeviceId, Arrays], test: Dataset) -> Metrics:
        return {}

    def models(self, state: float) -> Mapping[str, TrainedModel]:
        return {}


@dataclass(frozen=True, slots=True)
class Everyone:
    def plan(self, conditions: Conditions) -> Plan:
        return Plan(clusters=[list(conditions.devices)])


@dataclass(frozen=True, slots=True)
class Nobody:
    def plan(self, conditions: Conditions) -> Plan:
        raise InfeasibleError("no device fits")


def values(results: list[Result]) -> list[float | None]:
    return [
        float(result.arrays["x"][0]) if isinstance(result, Reply) else None for result in results
    ]


def test_the_test_fleet_is_a_fleet_and_the_test_method_a_method():
    fleet: Fleet = DoublingFleet()
    method: Method[float] = Summing()
    assert fleet.roster() and method.facts.title


def test_a_wave_answers_in_the_order_of_its_jobs():
    def steps():
        return (yield Wave(jobs=[doubling("b", 2.0), doubling("a", 1.0), doubling("c", 3.0)]))

    results = drive(steps(), DoublingFleet(offline=frozenset("a")))
    assert values(results) == [4.0, None, 6.0]
    assert [result.device for result in results] == ["b", "a", "c"]


def test_a_round_goes_on_between_start_and_collect():
    def steps():
        first = yield Start(Wave(jobs=[doubling("a", 1.0)]))
        second = yield Start(Wave(jobs=[doubling("b", 2.0)]))
        assert (yield Work(Load(flops=5.0))) is None
        later = yield Collect(second)
        earlier = yield Collect(first)
        return values(earlier) + values(later)

    fleet = DoublingFleet()
    assert drive(steps(), fleet) == [2.0, 4.0]
    assert fleet.calls == ["start", "start", "work", "collect", "collect"]


def test_declared_work_reaches_the_fleet():
    def steps():
        yield Work(Load(flops=3.0, memory_bytes=10))
        yield Work(Load(flops=4.0, memory_bytes=5))

    fleet = DoublingFleet()
    drive(steps(), fleet)
    assert fleet.worked == Load(flops=7.0, memory_bytes=10)


def test_a_round_may_ask_for_nothing():
    def steps():
        return "unchanged"
        yield

    fleet = DoublingFleet()
    assert drive(steps(), fleet) == "unchanged"
    assert fleet.calls == []


@pytest.mark.parametrize(
    "nonsense", [None, 3, "Wave", [Wave(jobs=[])], Load()], ids=lambda value: type(value).__name__
)
def test_a_round_that_yields_nonsense_is_told_what_it_yielded(nonsense):
    def steps():
        yield nonsense

    with pytest.raises(
        TypeError, match=f"Wave, Start, Collect, Work or Discount, not {type(nonsense).__name__}"
    ):
        drive(steps(), DoublingFleet())


def test_a_fault_inside_a_round_is_not_hidden():
    def steps():
        yield Work(Load())
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        drive(steps(), DoublingFleet())


def test_rounds_chain_the_state():
    finished = list(rounds(Summing(), Everyone(), DoublingFleet(), 1.0, range(1, 4)))
    assert [one.round for one in finished] == [1, 2, 3]
    assert [one.state for one in finished] == [7.0, 49.0, 343.0]
    assert all(one.plan.devices == ["a", "b", "c"] for one in finished)


def test_the_fleet_adopts_each_plan_before_its_round():
    fleet = DoublingFleet()
    finished = list(rounds(Summing(), Everyone(), fleet, 1.0, range(1, 4)))
    assert fleet.adopted == [one.plan for one in finished]


def test_a_round_is_finished_before_it_is_handed_out_and_no_further_one_begins():
    fleet = DoublingFleet()
    running = rounds(Summing(), Everyone(), fleet, 1.0, range(100))
    assert fleet.calls == []
    assert next(running) == Finished(round=0, plan=Plan(clusters=[["a", "b", "c"]]), state=7.0)
    assert fleet.calls == ["start", "collect", "work"]


def test_discounts_are_told_with_their_round_and_no_fleet_sees_them():
    class Doubting(Summing):
        def round(self, state, plan, conditions):
            yield Discount(device="b", kept=0.1, by="multi-krum")
            return (yield from super().round(state, plan, conditions))

    fleet = DoublingFleet()
    first, second = rounds(Doubting(), Everyone(), fleet, 1.0, range(2))
    assert first.discounts == second.discounts == (Discount(device="b", kept=0.1, by="multi-krum"),)
    assert fleet.calls == 2 * ["start", "collect", "work"]
    assert first.state == 7.0


def test_a_round_that_is_begun_again_starts_from_the_state_on_disk():
    class Away(DoublingFleet):
        def collect(self, ticket):
            results = super().collect(ticket)
            if len(self.calls) == 5:  # in its second round, once
                raise AgainError("others can have it")
            return results

    kept = [1.0]
    finished = []
    for one in rounds(Summing(), Everyone(), Away(), 1.0, range(1, 4), lambda: kept[-1]):
        finished.append(one.state)
        kept.append(one.state)
    assert finished == [7.0, 49.0, 343.0]
    lost = list(rounds(Summing(), Everyone(), Away(), 1.0, range(1, 3), lambda: 100.0))
    assert [one.state for one in lost] == [7.0, 700.0]


def test_resuming_at_a_later_round_equals_never_having_stopped():
    whole = list(rounds(Summing(), Everyone(), DoublingFleet(), 1.0, range(4)))
    half = list(rounds(Summing(), Everyone(), DoublingFleet(), 1.0, range(2)))
    rest = list(rounds(Summing(), Everyone(), DoublingFleet(), half[-1].state, range(2, 4)))
    assert half + rest == whole


def test_a_round_that_all_devices_miss_still_ends():
    (only,) = rounds(Summing(), Everyone(), DoublingFleet(offline=frozenset("abc")), 5.0, range(1))
    assert only.state == 5.0


def test_an_infeasible_plan_ends_the_run():
    with pytest.raises(InfeasibleError, match="no device fits"):
        next(rounds(Summing(), Nobody(), DoublingFleet(), 1.0, range(1)))
