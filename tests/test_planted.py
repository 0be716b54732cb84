"""The checks of the contract catch what they are there for: small real methods, each with one
fault."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

import contract
from contract import Case
from distilfleet.core.errors import StarvedError
from distilfleet.core.types import Missed, Reply
from distilfleet.methods import fedavg, fedmd, local
from distilfleet.methods.fedavg import FedAvg
from distilfleet.methods.fedavg import State as Averaged
from distilfleet.nn.merge import merge
from distilfleet.sim.fleet import SimFleet


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@dataclass
class Other:
    """A method, or a worker, that is the one inside but for what a subclass says."""

    inner: Any

    def __getattr__(self, name):
        return getattr(self.inner, name)


@dataclass
class WithWorker(Other):
    """A method whose workers are wrapped."""

    wrap: Any = None

    def worker(self, device, data, seed):
        return self.wrap(self.inner.worker(device, data, seed))


def faulty(wrap, inner=fedavg):
    return Case(make=lambda: WithWorker(inner.tiny(), wrap))


# --- workers --------------------------------------------------------------------------------------


class Miscounting(Other):
    def load(self, job):
        true = self.inner.load(job)
        return replace(true, up_bytes=true.up_bytes - 1)


class Forgetful(Other):
    """Leaves the frame's header out of what comes down."""

    def load(self, job):
        return replace(
            self.inner.load(job), down_bytes=sum(array.nbytes for array in job.arrays.values())
        )


class Unseeded(Other):
    def handle(self, job):
        noise = np.random.default_rng().normal(scale=1e-6)
        return {
            n: a + a.dtype.type(noise) if a.dtype.kind == "f" else a
            for n, a in self.inner.handle(job).items()
        }


class Narrowing(Other):
    """Sends half precision where single precision is announced."""

    def handle(self, job):
        return {
            n: a.astype(np.float16) if a.dtype == np.float32 else a
            for n, a in self.inner.handle(job).items()
        }


class Keeping(Other):
    """Counts its jobs, lets the count into its answer and leaves it out of its snapshot."""

    jobs = 0

    def handle(self, job):
        self.jobs += 1
        return {**self.inner.handle(job), "samples": np.array(self.jobs)}


class Amnesiac(Other):
    def snapshot(self):
        return {
            name: array
            for name, array in self.inner.snapshot().items()
            if not name.endswith("bias")
        }


class Coarse(Other):
    """Keeps its model in half precision."""

    def snapshot(self):
        return {
            name: array.astype(np.float16).astype(array.dtype)
            for name, array in self.inner.snapshot().items()
        }


@dataclass
class Rough(WithWorker):
    """Trains devices side by side less exactly than alone."""

    def cohort(self, workers, jobs):
        answers = self.inner.cohort([worker.inner for worker in workers], jobs)
        return [
            {n: narrowed(a) if a.dtype.kind == "f" else a for n, a in one.items()}
            for one in answers
        ]


def narrowed(array):
    return array.astype(np.float16).astype(array.dtype)


# --- rounds ---------------------------------------------------------------------------------------


class Trusting(Other):
    """Takes for granted that every device answers."""

    def round(self, state, plan, conditions):
        requests = self.inner.round(state, plan, conditions)
        results = yield next(requests)
        heard = sum(int(result.arrays["samples"]) for result in results)
        return (yield from finish(requests, results if heard else []))


@dataclass
class Stale(Other):
    """Fills in for a lost device what it answered last time, from the method's own memory."""

    last: dict[str, Reply] = field(default_factory=dict)

    def round(self, state, plan, conditions):
        requests = self.inner.round(state, plan, conditions)
        results = yield next(requests)
        self.last |= {result.device: result for result in results if isinstance(result, Reply)}
        return (
            yield from finish(
                requests, [self.last.get(result.device, result) for result in results]
            )
        )


class Dividing(FedAvg):
    """Averages however few there are."""

    def round(self, state, plan, conditions):
        requests = super().round(state, plan, conditions)
        results = yield next(requests)
        replies = [result for result in results if isinstance(result, Reply)]
        with np.errstate(all="ignore"):
            scale = np.float32(len(replies)) / np.float32(len(replies))
            weights = (
                merge(self.model, state.weights, replies, "mean").weights
                if replies
                else state.weights
            )
            return Averaged(
                round=state.round + 1,
                weights={name: array * scale for name, array in weights.items()},
            )


class Repeating(Other):
    """Gives its jobs the same names in every round."""

    def round(self, state, plan, conditions):
        requests = self.inner.round(state, plan, conditions)
        wave = next(requests)
        named = [replace(job, id=f"1{job.id[1:]}") for job in wave.jobs]
        return (yield from finish(requests, (yield replace(wave, jobs=named))))


class Scribbling(Other):
    """Changes the state that it was given."""

    def round(self, state, plan, conditions):
        for array in state.weights.values():
            array += 1
        return (yield from self.inner.round(state, plan, conditions))


class Overrating(Other):
    def evaluate(self, state, kept, test):
        return {"small_accuracy": 100 * self.inner.evaluate(state, kept, test)["small_accuracy"]}


class Boasting(Other):
    """Says that a kind of thing leaves devices which nobody knows."""

    @property
    def facts(self):
        return replace(self.inner.facts, discloses="nothing at all")


class Stuck(Other):
    """Throws away what the devices send."""

    def round(self, state, plan, conditions):
        requests = self.inner.round(state, plan, conditions)
        results = yield next(requests)
        gone = [Missed(job=result.job, device=result.device, reason="lost") for result in results]
        return (yield from finish(requests, gone))


def finish(requests, answer):
    """The rest of a round whose last request got this answer."""
    while True:
        try:
            request = requests.send(answer)
        except StopIteration as done:
            return done.value
        answer = yield request


class NarrowLink(SimFleet):
    """Sends replies in half precision and widens them again."""

    def collect(self, ticket):
        return [
            replace(
                result,
                arrays={
                    n: narrowed(a) if a.dtype.kind == "f" else a for n, a in result.arrays.items()
                },
            )
            for result in super().collect(ticket)
        ]


# --- caught ---------------------------------------------------------------------------------------


def other(wrap, inner=fedavg):
    return Case(make=lambda: wrap(inner.tiny()))


PLANTED = {
    "a byte too few": (contract.check_frames, faulty(Miscounting)),
    "a header forgotten": (contract.check_frames, faulty(Forgetful)),
    "half precision for single": (contract.check_frames, faulty(Narrowing)),
    "bits lost on the link": (contract.check_frames, Case(make=fedavg.tiny, fleet=NarrowLink)),
    "an unseeded draw": (contract.check_same_seed, faulty(Unseeded)),
    "an unseeded draw, seen in one worker": (contract.check_worker, faulty(Unseeded)),
    "memory outside the snapshot": (contract.check_worker, faulty(Keeping)),
    "part of the snapshot missing": (contract.check_resume, faulty(Amnesiac, fedmd)),
    "a snapshot that loses bits": (contract.check_resume, faulty(Coarse, local)),
    "a snapshot that loses bits, seen in one worker": (
        contract.check_worker,
        faulty(Coarse, local),
    ),
    "a cohort that loses bits": (
        contract.check_cohort,
        Case(make=lambda: Rough(fedavg.tiny(), Other)),
    ),
    "every device taken for granted": (contract.check_devices_may_vanish, other(Trusting)),
    "a lost device's old answer": (contract.check_resume, Case(make=lambda: Stale(fedavg.tiny()))),
    "an average of nothing": (contract.check_devices_may_vanish, Case(make=lambda: dividing())),
    "answers thrown away": (contract.check_learns, other(Stuck)),
    "job ids that come again": (contract.check_job_ids, other(Repeating)),
    "a state changed in place": (contract.check_learns, other(Scribbling)),
    "a metric out of range": (contract.check_metrics, other(Overrating)),
    "an unknown kind of disclosure": (contract.check_facts, other(Boasting)),
}


def dividing():
    plain = fedavg.tiny()
    return Dividing(model=plain.model, local=plain.local)


@pytest.mark.parametrize(("check", "case"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_caught(check, case, tmp_path):
    words = (case, tmp_path) if check is contract.check_resume else (case,)
    with pytest.raises((AssertionError, AttributeError, KeyError, StarvedError)):
        check(*words)


def test_a_method_that_is_only_wrapped_is_not_caught(tmp_path):
    case = Case(make=lambda: WithWorker(Other(fedmd.tiny()), Other))
    for check in {check for check, _ in PLANTED.values()} - {
        contract.check_cohort,
        contract.check_resume,
    }:
        check(case)
    contract.check_resume(case, tmp_path)


def test_another_seed_that_changes_nothing_is_caught():
    @dataclass
    class Stubborn(Other):
        def init(self, seed):
            return self.inner.init(0)

        def worker(self, device, data, seed):
            return self.inner.worker(device, data, 0)

    with pytest.raises(AssertionError):
        contract.check_other_seed(other(Stubborn))
