"""A plan as table, JSON and figure."""

import json
import re
from dataclasses import replace

import pytest
from report_samples import history

from distilfleet.core.types import Assignment, Conditions, Forecast, Plan
from distilfleet.cost import catalogue
from distilfleet.record.plan import Planned, plan_json
from distilfleet.report.page import write_page
from distilfleet.report.plan import MOST_SHOWN, plan_figure, print_plan, short_j, short_s, summary

KINDS = ("rpi-5", "jetson-nano")


def planned(size=2, clusters=1, objective="sum", teacher_cut=0, **changes):
    ids = [f"d{n}" for n in range(size)]
    devices = {device: catalogue.device(KINDS[n % 2], device) for n, device in enumerate(ids)}
    given = Assignment(
        cut=3, bits=8, teacher_cut=teacher_cut, uplink_share=0.25, delay_s=4.0, energy_j=9.0
    )
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
    return Planned(
        plan=plan, conditions=there, rows=rows, plan_s=0.012, lines=["binds      radio"], **changes
    )


def test_the_object_for_programs_has_what_is_documented():
    told = json.loads(json.dumps(plan_json(planned())))
    assert told["schema"] == 1
    assert {"cost", "lower_bound", "gap", "plan_s", "objective", "devices"} <= set(told)
    assert told["gap"] == pytest.approx(0.01)
    assert [entry["kind"] for entry in told["devices"]] == list(KINDS)
    documented = {
        "id",
        "kind",
        "cut",
        "bits",
        "uplink_share",
        "server_share",
        "delay_s",
        "energy_j",
    }
    assert documented <= set(told["devices"][0])
    assert sum(v for k, v in told["devices"][0]["stages"].items() if k.endswith("_s")) == 4.0


def test_a_plan_without_forecast_is_refused():
    one = planned()
    with pytest.raises(ValueError, match="no forecast"):
        plan_json(replace(one, plan=replace(one.plan, forecast=None)))


def test_the_table_for_people_names_devices_cuts_stages_and_the_proof(capsys):
    print_plan(planned(teacher_cut=2))
    told = capsys.readouterr().out
    for words in (
        "device",
        "kind",
        "cut",
        "rpi-5",
        "3 + 2",
        "25.0%",
        "250 ms",
        "9 J",
        "binds      radio",
    ):
        assert words in told
    assert told.split("\n")[0].split() == [
        "uplink",
        "server",
        "device",
        "uplink",
        "server",
        "down",
        "whole",
        "device",
    ]
    assert "no plan is below 4.46 s: gap 0.01" in told
    assert "server 300 J at 50% of its clock" in told


def test_units_follow_the_objective_and_clusters_are_counted():
    told = "\n".join(summary(plan_json(planned(size=5, clusters=2, objective="deadline"))))
    assert "clusters   2, one after the other: 3, 2" in told
    assert "no plan with these clusters is below 4.46 J" in told


def test_a_large_fleet_is_shortened_for_people_alone(capsys):
    many = planned(size=MOST_SHOWN + 7)
    print_plan(many)
    told = capsys.readouterr().out
    assert "and 7 more devices: --json has them all" in told
    assert len(plan_json(many)["devices"]) == MOST_SHOWN + 7


def test_the_figure_stacks_the_stages_of_each_device():
    figure = plan_figure(plan_json(planned(size=3)))
    assert figure.count("<path") >= 4
    for words in (
        "device computes",
        "device sends",
        "server works",
        "device receives",
        "Where a step goes",
    ):
        assert words in figure
    assert "50 more are not shown" in plan_figure(plan_json(planned(size=150)))


def page(tmp_path, **changes):
    told = json.loads(json.dumps(plan_json(planned())))
    step = {"planned_s": 3.0, "planned_device_energy_j": 18.0, "planned_server_energy_j": 300.0}
    rounds = [{**row, **step, "cuts_changed": int(row["round"] > 7)} for row in history().rounds]
    run = history(recipe="splitkd", rows=rounds)
    about = {**run.about, "settings": {**run.about["settings"], "steps": 4}}
    write_page([replace(run, plan=told, about=about, **changes)], tmp_path / "page.html")
    return re.sub("<[^>]*>", " ", (tmp_path / "page.html").read_text())


def test_a_page_has_the_plan_and_what_came_of_it(tmp_path):
    words = " ".join(page(tmp_path).split())
    for told in (
        "The plan",
        "Proof No plan is below 4.46 s: gap 0.01",
        "Binds Radio",
        "Where a step goes",
        "Delay 3 s 5 s",
        "Energy, server 300 J 75 J",
        "in 3 of 10 another cut or other bits were best for some devices, at most for 1 at once",
        "d1 jetson-nano 3 8 25.0 % 100.0 % 100.0 % 1 s · 1 J 2 s · 2 J 250 ms · 250 mJ 750 ms · "
        "750 mJ 4 s 9 J",
    ):
        assert told in words, told


def test_an_odd_plan_does_not_break_a_page(tmp_path):
    for plan in (
        {"devices": [{}, 3]},
        {"devices": 5, "clusters": [1, 2], "notes": [None, ""]},
        {"cost": "<b>"},
    ):
        write_page([replace(history(), plan=plan)], tmp_path / "page.html")
    assert "The plan" in (tmp_path / "page.html").read_text()
    write_page([history()], tmp_path / "page.html")
    assert "The plan" not in (tmp_path / "page.html").read_text()


def test_short_times_and_energies_are_in_small_units():
    assert [short_s(t) for t in (0.0, 4.92e-5, 0.00742, 0.9, 12.0)] == [
        "0 s",
        "49.2 µs",
        "7.42 ms",
        "900 ms",
        "12 s",
    ]
    assert [short_j(t) for t in (2e-6, 0.0236, 5000.0)] == ["2 µJ", "23.6 mJ", "5 kJ"]
