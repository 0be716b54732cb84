"""Devices that lie: what each attack makes of an answer, and that the rest of the device is as
before."""

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset, Expected, Job, Load
from distilfleet.cost import catalogue
from distilfleet.trust.attackers import ATTACKS, FLIP, Liar, Poisoned, pick

RNG = np.random.default_rng(0)
SENT = {"w": RNG.normal(size=30).astype(np.float32)}
STEP = RNG.normal(size=30).astype(np.float32)
TABLE = RNG.dirichlet(np.ones(4), size=9)
UPDATES = [attack for attack in ATTACKS if attack != "runner-up"]


class Honest:
    """Answers with one step from what was sent, or with a table."""

    def __init__(self, step=STEP, table=None):
        self.step, self.table, self.kept = step, table, {"kept": np.ones(2)}

    def load(self, job):
        return Load(flops=1.0)

    def handle(self, job):
        if self.table is not None:
            return {"soft": self.table, "samples": np.array(5)}
        return {"w": job.arrays["w"] + self.step, "samples": np.array(5)}

    def snapshot(self):
        return self.kept

    def restore(self, kept):
        self.kept = kept


def job(number=1, arrays=SENT):
    return Job(
        id=f"{number}:train:a", device="a", op="train", arrays=arrays, expected=Expected(arrays={})
    )


def claimed(attack, worker=None, number=1, honest=()):
    told = job(number)
    worker = worker or Honest()
    return Liar(worker=worker, attack=attack, seed=3).lie(told, worker.handle(told), list(honest))


@pytest.mark.parametrize("attack", UPDATES)
def test_an_answer_keeps_its_form_and_comes_again_the_same(attack):
    told = claimed(attack)
    assert {name: (a.dtype, a.shape) for name, a in told.items()} == {
        "w": (np.dtype("f4"), (30,)),
        "samples": (np.dtype("i8"), ()),
    }
    np.testing.assert_array_equal(told["w"], claimed(attack)["w"])
    assert told["samples"] == 5


def test_updates_are_what_the_attacks_make_of_them():
    np.testing.assert_allclose(claimed("sign-flip")["w"], SENT["w"] - FLIP * STEP, rtol=1e-5)
    assert np.isnan(claimed("nan")["w"]).all()
    assert claimed("huge")["w"].min() > 1e29
    assert claimed("wrong-labels")["w"].tobytes() == (SENT["w"] + STEP).tobytes()
    random = [claimed("random", number=n)["w"] - SENT["w"] for n in (1, 2)]
    assert 5 < np.linalg.norm(random[0]) / np.linalg.norm(STEP) < 20
    assert np.abs(random[0] - random[1]).max() > 1


def test_the_stealthy_know_what_honest_devices_say():
    honest = [{"w": SENT["w"] + np.float32(k) * STEP} for k in (1, 2, 3)]
    little = claimed("a-little", honest=honest)["w"] - SENT["w"]
    np.testing.assert_allclose(
        little, 2 * STEP - 1.5 * np.abs(STEP) * np.std([1, 2, 3]), rtol=1e-4, atol=1e-5
    )
    against = claimed("inner-product", honest=honest)["w"] - SENT["w"]
    np.testing.assert_allclose(against, -2 * STEP, rtol=1e-4, atol=1e-5)


def test_an_attack_on_soft_labels_is_none_on_weights():
    with pytest.raises(ConfigError, match="runner-up is an attack on soft labels"):
        claimed("runner-up")


@pytest.mark.parametrize("attack", ATTACKS)
def test_packed_tables_are_bytes_and_others_distributions(attack):
    packed = claimed(attack, Honest(table=np.round(255 * TABLE).astype(np.uint8)))["soft"]
    assert (packed.dtype, packed.shape) == (np.uint8, TABLE.shape)
    plain = claimed(attack, Honest(table=TABLE.astype(np.float32)))["soft"]
    assert (plain.dtype, plain.shape) == (np.float32, TABLE.shape)
    if attack not in ("huge", "nan"):
        np.testing.assert_allclose(plain.sum(axis=1), 1, rtol=1e-5)


def test_tables_are_what_the_attacks_make_of_them():
    worker = Honest(table=TABLE)
    order = np.argsort(-TABLE, axis=1)
    assert (
        np.argsort(-claimed("runner-up", worker)["soft"], axis=1)[:, :2] == order[:, 1::-1]
    ).all()
    assert (claimed("sign-flip", worker)["soft"].argmax(axis=1) == order[:, -1]).all()
    assert (claimed("wrong-labels", worker)["soft"].max(axis=1) > 0.999).all()
    assert not np.isfinite(claimed("nan", worker)["soft"]).any()


class Method:
    """Keeps the data that its workers get."""

    facts = "nothing"

    def __init__(self):
        self.given = {}

    def worker(self, device, data, seed):
        self.given[device.id] = data
        return Honest(STEP * (1 + len(self.given)))

    def evaluate(self, state, kept, test):
        return {"seen": float(len(kept))}


def fleet(attack):
    method, data = Method(), Dataset(np.zeros((3, 2), np.float32), np.array([0, 1, 2]))
    lying = Poisoned(method=method, liars=frozenset("b"), attack=attack, classes=3, seed=0)
    workers = [lying.worker(catalogue.device("rpi-5", name), data, 0) for name in "abc"]
    return method, lying, workers


def test_only_liars_learn_wrong_labels():
    method, _, workers = fleet("wrong-labels")
    assert {name: data.labels.tolist() for name, data in method.given.items()} == {
        "a": [0, 1, 2],
        "b": [1, 2, 0],
        "c": [0, 1, 2],
    }
    assert [isinstance(worker, Liar) for worker in workers] == [False, True, False]


def test_only_liars_lie_and_they_know_the_wave():
    _, lying, workers = fleet("inner-product")
    jobs = [job(n) for n in range(3)]
    said = [answer["w"] - SENT["w"] for answer in lying.cohort(workers, jobs)]
    np.testing.assert_allclose(said, [2 * STEP, -3 * STEP, 4 * STEP], rtol=1e-4, atol=1e-5)
    alone = lying.cohort(workers, jobs)[1]["w"], workers[1].handle(jobs[1])["w"]
    # the mean of the others is what it would say itself
    assert np.abs(alone[0] - alone[1]).max() < 1e-5


def test_what_a_liar_keeps_is_what_its_worker_keeps():
    method, lying, workers = fleet("sign-flip")
    workers[1].restore({"kept": np.zeros(1)})
    assert workers[1].snapshot()["kept"].tolist() == [0.0]
    assert workers[1].load(job()) == Load(flops=1.0)
    assert lying.evaluate(None, {"a": {}, "b": {}, "c": {}}, None) == {"seen": 2.0}
    assert lying.facts == method.facts


def test_liars_are_drawn_by_share_and_seed():
    names = [f"d{i}" for i in range(20)]
    assert len(pick(names, 0.2, 1)) == 4
    assert pick(names, 0.2, 1) == pick(names, 0.2, 1) != pick(names, 0.2, 2)
    assert pick(names, 0.0, 1) == frozenset()
