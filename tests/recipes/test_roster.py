"""A run that goes on by another fleet file says who is gone, new or of another kind, and has the
new roster."""

import json
from contextlib import closing

import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.record.history import SCHEMA, read_about, read_fleet
from distilfleet.record.run import create
from distilfleet.service.roster import changed, follow_fleet_file

MODELS = {"large": "mlp-l", "small": ["mlp-xs"]}
ABOUT = {
    "schema": SCHEMA,
    "recipe": "koala",
    "rounds": 9,
    "seed": 0,
    "settings": {},
    "versions": {},
    "models": MODELS,
}


def facts(**kinds):
    return {"total": len(kinds), "devices": kinds}


@pytest.fixture
def record(tmp_path):
    with closing(create(tmp_path / "run", ABOUT, facts(a="rpi-4b", b="rpi-5"))) as record:
        yield record


def test_the_same_devices_are_no_news(record):
    assert follow_fleet_file(record, facts(a="rpi-4b", b="rpi-5"), MODELS, 3) == ""
    assert "notes" not in read_about(record.path)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"a": "rpi-4b"}, "gone: b."),
        ({"a": "rpi-4b", "b": "rpi-5", "c": "rpi-3b-plus"}, "new: c (rpi-3b-plus)."),
        ({"a": "rpi-5", "b": "rpi-5"}, "of another kind: a (a rpi-5, was a rpi-4b)."),
        ({"b": "rpi-5", "a": "rpi-4b"}, "the devices are in another order."),
        (
            {"c": "rpi-5", "b": "rpi-4b"},
            "gone: a; new: c (rpi-5); of another kind: b (a rpi-4b, was a rpi-5).",
        ),
    ],
)
def test_others_are_named_in_the_record_whose_roster_is_then_the_new_one(record, kinds, words):
    told = follow_fleet_file(record, facts(**kinds), MODELS, 3)
    assert told == f"From round 4 on by another fleet file: {words}"
    assert read_about(record.path)["notes"] == [told]
    assert list(read_fleet(record.path)["devices"].items()) == list(kinds.items())


def test_a_run_that_would_train_other_models_does_not_go_on(record):
    with pytest.raises(
        ConfigError, match=r"gone: b\. So the run would train other models \(mlp-l, mlp-s\) than"
    ):
        follow_fleet_file(record, facts(a="rpi-4b"), {**MODELS, "small": ["mlp-s"]}, 3)
    assert read_fleet(record.path)["total"] == 2


def test_a_record_of_before_shows_its_devices_alone(record):
    (record.path / "fleet.json").write_text(
        json.dumps({"total": 2, "shown": [{"id": "a", "kind": "rpi-4b"}]})
    )
    assert "new: b (rpi-5)" in follow_fleet_file(record, facts(a="rpi-4b", b="rpi-5"), MODELS, 3)


def test_of_many_the_first_are_named():
    assert changed({}, {f"pi-{i}": "rpi-5" for i in range(30)}).endswith(
        "pi-9 (rpi-5) and 20 more."
    )
