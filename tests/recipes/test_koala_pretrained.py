"""A run whose large model comes trained: it begins with what that knows, and keeps it."""

import time
from dataclasses import replace

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.nn.frozen import features
from distilfleet.recipes.flags import Common, ProxyData, flatten
from distilfleet.recipes.koala import Flags, koala
from distilfleet.recipes.resume import again
from distilfleet.recipes.simulate import simulate
from distilfleet.recipes.simulated import simulated
from distilfleet.record.history import read
from distilfleet.record.run import create
from distilfleet.training.loop import about, train
from trained_net import pretrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data and a trained net with dropout of 0.1 that knows their classes."""
    place = tmp_path_factory.mktemp("own")
    case = pretrained(place)
    np.savez(
        place / "data.npz",
        x_train=case.train[:300],
        y_train=case.train_labels[:300],
        x_test=case.test,
        y_test=case.labels,
    )
    return place


def flags(folder, large="loaded", rounds=3, **own):
    common = Common(
        data=str(folder / "data.npz"),
        devices=4,
        rounds=rounds,
        seed=1,
        checkpoint_every_s=0.0,
    )
    return Flags(
        common=common,
        proxy=ProxyData(proxy_share=0.2),
        large=f"{folder / 'net.py'}:{large}",
        mixtures=16,
        **own,
    )


def test_it_begins_with_round_0_and_never_falls_below_it_by_a_point(folder, tmp_path):
    run = simulate("koala", flags(folder, rounds=6), tmp_path / "run")
    assert run.start["round"] == 0
    began = run.start["large_accuracy"]
    assert began > 0.85
    assert all(line["large_accuracy"] > began - 0.01 for line in run.rounds)
    assert len(run.rounds) == 6


def test_what_it_knows_is_taught_before_round_1(folder, tmp_path):
    warm = simulate("koala", flags(folder, rounds=1), tmp_path / "warm")
    cold = simulate("koala", flags(folder, rounds=1, warm_passes=0), tmp_path / "cold")
    assert warm.rounds[0]["small_accuracy"] > cold.rounds[0]["small_accuracy"] + 0.03
    assert warm.rounds[0]["server_energy_j"] > cold.rounds[0]["server_energy_j"]


def test_on_the_wire_of_soft_labels_the_first_ones_are_the_large_model_s(folder, tmp_path):
    own = {"wire": "soft-labels", "feature_weight": 0.1}
    warm = simulate("koala", flags(folder, rounds=1, **own), tmp_path / "warm")
    cold = simulate("koala", flags(folder, rounds=1, warm_passes=0, **own), tmp_path / "cold")
    assert warm.rounds[0]["down_bytes"] > cold.rounds[0]["down_bytes"]
    assert warm.rounds[0]["large_accuracy"] > warm.start["large_accuracy"] - 0.01


def test_a_net_that_draws_its_weights_has_no_round_0(folder, tmp_path):
    run = simulate("koala", flags(folder, large="drawn", rounds=1), tmp_path / "run")
    assert run.start == {}
    with pytest.raises(ConfigError, match="--anchor changes nothing here"):
        koala(flags(folder, large="drawn", anchor=0.5))
    said = replace(flags(folder, large="drawn", rounds=1), pretrained="yes", anchor=0.5)
    assert koala(said).method.facts.pretrained


def test_equal_runs_and_a_resumed_one_are_equal_to_the_bit_with_dropout(folder, tmp_path):
    wanted = flags(folder)
    first = simulate("koala", wanted, tmp_path / "first")
    simulate("koala", wanted, tmp_path / "second")
    _stopped(wanted, tmp_path / "third")
    resumed = again(tmp_path / "third", None)
    with_rest = train(
        resumed.run.experiment, resumed.run.fleet, resumed.record, resumed.start, time.monotonic
    )
    assert [line["round"] for line in with_rest] == [2, 3]
    resumed.record.close()
    for other in ("second", "third"):
        for file in ("metrics.jsonl", "models/large/model.safetensors"):
            assert (tmp_path / "first" / file).read_bytes() == (
                tmp_path / other / file
            ).read_bytes(), (other, file)
    assert read(tmp_path / "third").start == first.start


def _stopped(wanted, path):
    """A run that stops after round 1."""
    experiment = koala(wanted)
    run = simulated(experiment, wanted.common)
    asked = about(run.experiment, "koala", flatten(wanted), "2026-12-01T00:00:00Z")
    record = create(path, asked, run.facts)
    steps = train(run.experiment, run.fleet, record, None, time.monotonic)
    assert [next(steps)["round"], next(steps)["round"]] == [0, 1]
    steps.close()
    record.close()


def test_a_head_learns_from_features_that_are_worked_out_once(folder, tmp_path, monkeypatch):
    """To the bit as if they were worked out whenever they are needed, and after a resumption."""
    wanted = replace(flags(folder, train="head", feature_weight=0.0), mixtures=0)
    first = simulate("koala", wanted, tmp_path / "first")
    assert first.rounds[-1]["large_accuracy"] > first.start["large_accuracy"] - 0.01
    _stopped(wanted, tmp_path / "third")
    resumed = again(tmp_path / "third", None)
    run = resumed.run
    for _ in train(run.experiment, run.fleet, resumed.record, resumed.start, time.monotonic):
        pass
    resumed.record.close()
    monkeypatch.setattr(
        "distilfleet.nn.frozen.FeatureStore.of",
        lambda _, module, head, inputs: features(module, head, inputs),
    )
    simulate("koala", wanted, tmp_path / "second")
    for other in ("second", "third"):
        for file in ("metrics.jsonl", "models/large/model.safetensors"):
            own = (tmp_path / other / file).read_bytes()
            assert (tmp_path / "first" / file).read_bytes() == own, (other, file)
