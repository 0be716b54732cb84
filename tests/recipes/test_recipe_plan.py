"""The plan in a run's record: what `plan` prints, and what each round's plan expected."""

import json
from dataclasses import replace

import pytest

from cli_runs import told
from distilfleet.cli.words import parsed
from distilfleet.core.types import Assignment, Forecast, Plan
from distilfleet.plan.sample import Sample
from distilfleet.recipes.find import recipe
from distilfleet.service.facts import about_of, taken_for
from distilfleet.training.first_plan import expected

SMALL = [
    *(
        "--context",
        16,
        "--vocabulary",
        300,
        "--devices",
        2,
        "--pretrain-steps",
        3,
        "--steps",
        2,
        "--batch",
        2,
    ),
    *("--teacher", "llama:64x2", "--student", "llama:32x2", "--channels", "good"),
]
HOW = {"cut": 0, "teacher_cut": 0, "bits": 8}
FIRST = {"devices": [{"id": "a", **HOW}, {"id": "b", **HOW}]}


def test_a_run_keeps_the_plan_of_its_first_round(tmp_path, capfd):
    text, path = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(
        "".join(f"{n} and {n + 1} make {2 * n + 1}, said {n % 7} to {n % 5}.\n" for n in range(300))
    )
    words = ["splitkd", "--data", text, *SMALL]
    assert told(capfd, "run", *words, "--rounds", 2, "--out", path).code == 0
    shown = json.loads(told(capfd, "plan", *words, "--json").out)
    kept = json.loads((path / "plan.json").read_text())
    assert kept == {name: value for name, value in shown.items() if name != "plan_s"}
    rounds = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert rounds[0]["planned_s"] == pytest.approx(kept["delay_s"])
    assert rounds[0]["cuts_changed"] == 0
    assert "Where a step goes" in (path / "report.html").read_text()
    assert told(capfd, "run", *words, "--rounds", 2, "--out", tmp_path / "again").code == 0
    assert (tmp_path / "again" / "plan.json").read_bytes() == (path / "plan.json").read_bytes()
    assert json.loads((path / "wall.jsonl").read_text().splitlines()[0]).keys() == {
        "round",
        "plan_s",
    }


def test_a_real_fleet_whose_server_has_no_kind_says_what_it_is_planned_for(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n} and {n + 1} make {2 * n + 1}.\n" for n in range(300)))
    found = recipe("splitkd")
    run = found.build(parsed(found.flags, "run", ["--data", str(text), *map(str, SMALL)]))
    (note,) = taken_for(run, "")
    assert "as if the server were a server-rtx4060ti-16g" in note
    about = about_of({"notes": ["first"], "settings": {}}, "fleet.toml", taken_for(run, ""))
    assert about["notes"] == ["first", note]
    assert taken_for(run, "rpi-5") == ()
    assert taken_for(replace(run, planner=Sample(per_round=1, seed=0)), "") == (), (
        "nothing is planned for it"
    )


def test_other_cuts_than_at_first_are_counted():
    forecast = Forecast(
        objective="sum",
        cost=1,
        lower_bound=1,
        delay_s=2,
        device_energy_j=3,
        server_energy_j=4,
        binds="radio",
    )
    other = {
        "a": Assignment(cut=2, bits=8),
        "b": Assignment(cut=0, bits=8),
        "new": Assignment(cut=1, bits=8),
    }
    plan = Plan(clusters=[tuple(other)], assignments=other, forecast=forecast)
    assert expected(plan, FIRST) == {
        "planned_s": 2,
        "planned_device_energy_j": 3,
        "planned_server_energy_j": 4,
        "cuts_changed": 1,
    }
    assert expected(plan, {}) == expected(Plan(clusters=[]), FIRST) == {}
