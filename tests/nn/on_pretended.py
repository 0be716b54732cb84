"""Two rounds of methods here and on the pretended device, which must end in the same weights."""

from dataclasses import replace

import numpy as np
import pytest
from pretended import NAME, Pretended, registered

from distilfleet.core.engine import rounds
from distilfleet.core.pack import pack
from distilfleet.core.types import Dataset
from distilfleet.cost import catalogue
from distilfleet.methods import koala
from distilfleet.methods.splitkd import server
from distilfleet.methods.splitkd.modules import Loss
from distilfleet.nn.place import Place
from distilfleet.plan.sample import Sample
from distilfleet.sim.fleet import SimFleet, World

THERE = Place(device=NAME)
BOARDS = {"a": "rpi-4b", "b": "rpi-5", "c": "rpi-5"}


def of_koala(place):
    method = koala.tiny()
    smalls = {kind: replace(model, place=place) for kind, model in method.smalls.items()}
    return replace(method, large=replace(method.large, place=place), smalls=smalls)


def of_split(place):
    method = server.tiny()
    models = {name: replace(getattr(method, name), place=place) for name in ("teacher", "student")}
    return replace(method, **models, loss=Loss(teacher_cache="hidden"))


def classes(samples):
    rng = np.random.default_rng(samples)
    return Dataset(rng.normal(size=(samples, 8)).astype(np.float32), rng.integers(0, 3, samples))


def windows(samples):
    rng = np.random.default_rng(samples)
    return Dataset(rng.integers(0, 40, (samples, 8)).astype(np.int32))


def ends(method, data, *, cohorts=False):
    """All that two rounds leave, and what is measured."""
    devices = {name: catalogue.device(kind, name) for name, kind in BOARDS.items()}
    world = World(server=catalogue.device("server-a100-80g", "server"), cohorts=cohorts)
    fleet = SimFleet(devices, lambda device: data(9), method, world)
    sample = Sample(per_round=len(devices), seed=0)
    for done in rounds(method, sample, fleet, method.init(3), range(1, 3)):
        state = done.state
        metrics = method.evaluate(state, fleet.kept(), data(7))
    arrays, _ = pack(state)
    return {name: np.array(array) for name, array in arrays.items()}, dict(metrics)


def same(one, other, atol=0.0):
    assert one[1] == pytest.approx(other[1], rel=atol)
    assert one[0].keys() == other[0].keys()
    for name, array in one[0].items():
        np.testing.assert_allclose(array, other[0][name], rtol=0, atol=atol, err_msg=name)


def check(make, data, atol=0.0, **how):
    here = ends(make(Place()), data, **how)
    with Pretended():
        there = ends(make(THERE), data, **how)
    same(here, there, atol)
    print(make.__name__, *how, len(here[0]), "arrays")


if __name__ == "__main__":
    registered()
    check(of_koala, classes, cohorts=False)
    check(of_koala, classes, cohorts=True)
    check(of_split, windows, atol=1e-4)  # attention goes through other kernels there
