"""A plan as table, JSON and figure."""

import json
from dataclasses import replace

import pytest

from distilfleet.core.types import Assignment, Conditions, Forecast, Plan
from distilfleet.cost import catalogue
from distilfleet.report.plan import MOST_SHOWN, Planned, plan_figure, plan_json, print_plan, summary

KINDS = ("rpi-5", "jetson-nano")


def planned(size=2, clusters=1, objective="sum", teacher_cut=0, **changes):
    ids = [f"d{n}" for n in range(size)]
    devices = {device: catalogue.device(KINDS[n % 2], device) for n, device in enumerate(ids)}
    given = Assignment(cut=3, bits=8, teacher_cut=teacher_cut, uplink_share=0.25, delay_s=4.0, energy_j=9.0)
    stages = {"compute": 1.0, "uplink": 2.0, "server": 0.25, "downlink": 0.75}
    row = {f"{stage}_{unit}": value for stage, value in stages.items() for unit in "sj"}
    plan = Plan(
        clusters=[tuple(ids[at::clusters]) for at in range(clusters)],
        assignments=dict.fromkeys(ids, given),
        server_clock_share=0.5,
        forecast=Forecast(
            objective=objective,
            cost=4.5,
            lower_bound=4.455,
            delay_s=4.0,
            device_energy_j=18.0,
            server_energy_j=300.0,
            binds="radio",
        ),
    )
    there = Conditions(round=1, devices=devices, ids=tuple(ids))
    rows = [{"id": device, **row} for device in reversed(ids)]
    return Planned(plan=plan, conditions=there, rows=rows, plan_s=0.012, lines=["binds      radio"], **changes)


def test_the_object_for_programs_has_what_is_documented():
    told = json.loads(json.dumps(plan_json(planned())))
    assert told["schema"] == 1
    assert {"cost", "lower_bound", "gap", "plan_s", "objective", "devices"} <= set(told)
    assert told["gap"] == pytest.approx(0.01)
    assert [entry["kind"] for entry in told["devices"]] == list(KINDS)
    documented = {"id", "kind", "cut", "bits", "uplink_share", "server_share", "delay_s", "energy_j"}
    assert documented <= set(told["devices"][0])
    assert sum(v for k, v in told["devices"][0]["stages"].items() if k.endswith("_s")) == 4.0


def test_a_plan_without_forecast_is_refused():
    one = planned()
    with pytest.raises(ValueError, match="no forecast"):
        plan_json(replace(one, plan=replace(one.plan, forecast=None)))
    assert summary(replace(one, plan=replace(one.plan, forecast=None))) == ["binds      radio"]


def test_the_table_for_people_names_devices_cuts_stages_and_the_proof(capsys):
    print_plan(planned(teacher_cut=2))
    told = capsys.readouterr().out
    for words in ("device", "kind", "cut", "rpi-5", "3 + 2", "25.0%", "0.25 s", "9 J", "binds      radio"):
        assert words in told
    assert "no plan is below 4.46 s: gap 0.01" in told
    assert "server 300 J at 50% of its clock" in told


def test_units_follow_the_objective_and_clusters_are_counted():
    told = "\n".join(summary(planned(size=5, clusters=2, objective="deadline")))
    assert "clusters   2, one after the other: 3, 2" in told
    assert "no plan with these clusters is below 4.46 J" in told


def test_a_large_fleet_is_shortened_for_people_alone(capsys):
    many = planned(size=MOST_SHOWN + 7)
    print_plan(many)
    told = capsys.readouterr().out
    assert "and 7 more devices: --json has them all" in told
    assert len(plan_json(many)["devices"]) == MOST_SHOWN + 7


def test_the_figure_stacks_the_stages_of_each_device():
    figure = plan_figure(planned(size=3))
    assert figure.count("<path") >= 4
    for words in ("compute", "uplink", "server", "downlink", "Where a step goes"):
        assert words in figure
    assert "50 more are not shown" in plan_figure(planned(size=150))
