"""A fifth of the devices lie: the default rule learns all the same, and record and page say who
counted for little."""

import numpy as np
import pytest

from cli_runs import mistaken
from distilfleet.recipes import fedavg, feddf, fedmd, koala
from distilfleet.recipes.flags import Common, Smalls, Training
from distilfleet.recipes.simulate import simulate
from distilfleet.trust import attackers

SMALL = Smalls(small=("mlp-s",))


def train(folder, name, recipe, attack, rounds=3, **flags):
    common = Common(devices=10, alpha=100.0, rounds=rounds, seed=1, poison=attack)
    training = Training(local_passes=3)
    return simulate(name, recipe.Flags(common=common, training=training, **flags), folder / "run")


def named(run):
    """Devices that the record says counted for little, or were refused."""
    return {
        entry[0]
        for line in run.rounds
        for entry in (*line.get("discounts", ()), *line["missed_jobs"])
    }


def test_a_sign_flip_ruins_the_mean_and_not_the_default(tmp_path):
    robust = train(tmp_path / "robust", "fedavg", fedavg, "sign-flip", rounds=4, small="mlp-s")
    plain = train(
        tmp_path / "plain", "fedavg", fedavg, "sign-flip", rounds=4, small="mlp-s", aggregate="mean"
    )
    assert plain.rounds[-1]["small_accuracy"] < 0.5 < 0.75 < robust.rounds[-1]["small_accuracy"]
    assert len(named(robust)) == 2
    assert named(plain) == set()
    page = (tmp_path / "robust" / "run" / "report.html").read_text(encoding="utf-8")
    assert "Answers that counted for little" in page
    assert all(device in page for device in named(robust))
    assert "An experiment: 2 devices lie (sign-flip)" in page
    assert "Answers that counted for little" not in (
        tmp_path / "plain" / "run" / "report.html"
    ).read_text("utf-8")


@pytest.mark.parametrize("attack", ["huge", "nan"])
def test_what_cannot_be_true_is_refused_under_every_rule(attack, tmp_path):
    run = train(tmp_path, "fedavg", fedavg, attack, rounds=1, small="mlp-s", aggregate="mean")
    reasons = {reason for _, reason in run.rounds[0]["missed_jobs"]}
    assert len(run.rounds[0]["missed_jobs"]) == 2
    assert all(reason.startswith("rejected: ") for reason in reasons)


def test_tables_that_are_no_distributions_are_refused(tmp_path):
    run = train(tmp_path, "fedmd", fedmd, "huge", rounds=1, smalls=SMALL)
    assert [reason.partition(" one ")[0] for _, reason in run.rounds[0]["missed_jobs"]] == 2 * [
        "rejected: soft has a row that adds up to"
    ]


def test_certain_liars_do_not_teach_the_large_model(tmp_path):
    wire = {"wire": "soft-labels", "mixtures": 0, "smalls": SMALL, "large": "mlp-l"}
    robust = train(tmp_path / "robust", "koala", koala, "wrong-labels", **wire)
    assert len(named(robust)) == 2
    plain = train(tmp_path / "plain", "koala", koala, "wrong-labels", **wire, aggregate="mean")
    assert robust.rounds[-1]["large_accuracy"] > plain.rounds[-1]["large_accuracy"] + 0.2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_owners_of_one_class_each_teach_both_classes_by_default(seed, tmp_path):
    rng, label = np.random.default_rng(seed), np.arange(200) % 2
    inputs = rng.normal(size=(200, 2)) + label[:, None] * [3.0, -2.0]
    owners = np.char.add("home-", (np.arange(200) % 8).astype(str))
    np.savez(tmp_path / "camps.npz", x=inputs.astype(np.float32), y=label, owner=owners)
    common = Common(data=str(tmp_path / "camps.npz"), label="y", group="owner", rounds=4, seed=seed)
    run = simulate("koala", koala.Flags(common=common), tmp_path / "run")
    assert run.rounds[-1]["small_accuracy"] > 0.85
    assert run.rounds[-1]["large_accuracy"] > 0.85
    assert not any("discounts" in line for line in run.rounds), "nobody is taken for a liar"


def test_many_architectures_are_judged_by_what_they_say(tmp_path):
    mixed = Smalls(mode="heterogeneous", small=("mlp-xs", "mlp-s"))
    run = train(tmp_path, "feddf", feddf, "random", rounds=2, smalls=mixed)
    assert named(run)


def test_updates_out_of_proportion_have_no_say_in_an_ensemble(tmp_path, monkeypatch):
    monkeypatch.setattr(attackers, "LARGE", 300.0)
    run = train(tmp_path, "feddf", feddf, "random", smalls=SMALL, aggregate="mean")
    assert len(named(run)) == 2
    assert run.rounds[-1]["small_accuracy"] > 0.5


@pytest.mark.parametrize("mode", ["homogeneous", "heterogeneous"])
def test_koala_names_liars_that_send_weights(mode, tmp_path):
    smalls = Smalls(mode=mode, small=("mlp-s",))
    run = train(
        tmp_path, "koala", koala, "sign-flip", rounds=1, mixtures=0, smalls=smalls, large="mlp-l"
    )
    lying = run.about["notes"][0].partition("): ")[2].rstrip(".").split(", ")
    assert len(lying) == 2
    assert set(lying) <= named(run)


def test_a_real_fleet_and_text_have_no_such_experiment(capfd, tmp_path):
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        'address = "localhost:1"\nenrol_address = "localhost:2"\n[devices]\na = "rpi-5"\n'
    )
    said = mistaken(capfd, "run", "fedavg", "--poison", "nan", "--fleet", fleet)
    assert "leave it out with --fleet" in said
    said = mistaken(capfd, "run", "fedavg_text", "--poison", "nan", "--out", tmp_path / "run")
    assert "not of text" in said
