"""At a run's end each device of a real fleet has the model that is its own and predicts with it."""

import json
import time

import numpy as np
import pytest
from fleets import KINDS, Processes
from patience import HANGS_S

import distilfleet
from cli_runs import told
from distilfleet.core.disk import previous
from distilfleet.recipes.flags import Common
from distilfleet.recipes.koala import Flags
from distilfleet.record.history import read_about
from distilfleet.service import client


def flags(**more):
    common = Common(rounds=2, devices=len(KINDS), device_kinds=KINDS, **more)
    return Flags(common=common, mixtures=16, reverse_passes=1)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    processes = Processes(tmp_path_factory.mktemp("fleet"), forked=True)
    processes.start_server()
    end_s = time.monotonic() + HANGS_S
    while not (processes.folder / "fleet-state" / "authority" / "identity.sqlite").exists():
        assert time.monotonic() < end_s
        time.sleep(0.05)
    for number in range(len(KINDS)):
        processes.start_agent(number, new=True)
    yield processes
    processes.stop()


def carried_out(fleet, asked):
    run = client.submit(fleet.here, "koala", asked)
    assert len(list(client.follow(fleet.here, run))) >= 2
    return fleet.here.queue.record(run)


@pytest.mark.net
@pytest.mark.slow
def test_with_weights_on_the_wire_it_is_the_taught_one(fleet, capfd):
    folder = carried_out(fleet, flags(keep_every=1))
    server_side = distilfleet.load(folder / "models" / "small-conv-s")
    pixels = np.random.default_rng(0).integers(0, 17, (20, 8, 8)).astype(np.float64)
    for number in range(len(KINDS)):
        own = fleet.folder / f"device-{number}" / "model"
        loaded = distilfleet.load(own)
        assert np.array_equal(loaded.predict(pixels), server_side.predict(pixels))
        card = (own / "README.md").read_text()
        assert "2 rounds" in card
        assert "accuracy on held-out data" in card
        assert "1 round" in (previous(own) / "README.md").read_text(), "and the one before"
    assert read_about(folder)["kept"].startswith("2 of 2 devices keep their own model of round 2")
    assert "kept: the model of round 2, in " in (fleet.folder / "agent.log").read_text()
    np.savez(fleet.folder / "x.npz", x=pixels)
    out = fleet.folder / "p.jsonl"
    state = fleet.folder / "device-1"
    said = told(capfd, "predict", state / "model", fleet.folder / "x.npz", "--out", out)
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    best = server_side.predict(pixels).argmax(1)
    assert [row["class"] for row in rows] == [str(k) for k in best]


@pytest.mark.net
@pytest.mark.slow
def test_with_soft_labels_each_has_its_own(fleet):
    asked = flags()
    folder = carried_out(fleet, Flags(common=asked.common, mixtures=16, wire="soft-labels"))
    assert "2 of 2 devices keep" in read_about(folder)["kept"]
    pixels = np.random.default_rng(0).integers(0, 17, (20, 8, 8)).astype(np.float64)
    first, second = (
        distilfleet.load(fleet.folder / f"device-{number}" / "model").predict(pixels)
        for number in range(2)
    )
    assert not np.array_equal(first, second)
