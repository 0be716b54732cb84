"""Measured beside predicted on a real fleet's page, and a round in time."""

from dataclasses import asdict, replace

import pytest
from report_samples import facts_of, history

from distilfleet.record.history import read
from distilfleet.record.run import create
from distilfleet.report.overlap import both, lasting_s, overlap_block, union
from distilfleet.report.page import write_page
from distilfleet.report.prediction import Pair, by_kind, prediction_section, ratio


def kind_of(measured, predicted, metered=0):
    pair = {name: [measured, predicted] for name in ("down_s", "busy_s", "up_s")}
    return {"jobs": 4, "metered": metered, **pair, "busy_j": [2 * measured, 2 * predicted]}


def rows(metered=0):
    kinds = {"rpi-4b": kind_of(1.0, 2.0, metered), "rpi-5": kind_of(3.0, 2.0, metered)}
    return [
        {
            "round": n,
            "large_accuracy": 0.5,
            "round_s": [4.0, 8.0],
            "server_s": [0.5, 0.1],
            "kinds": kinds,
        }
        for n in (1, 2)
    ]


TIMES = {
    "round": 2,
    "jobs": [
        {
            "device": "a",
            "sent_s": 0.0,
            "received_s": 1.0,
            "begun_s": 1.0,
            "done_s": 3.0,
            "offered_s": 3.0,
            "uploaded_s": 4.0,
        },
        {"device": "b", "sent_s": 0.0, "offered_s": 3.5, "uploaded_s": 5.0},
    ],
    "server_s": [[2.0, 4.5], [5.0, 8.0]],
}


def test_sums_and_ratios_by_kind():
    kinds = by_kind(history(rows=rows()))
    assert kinds["rpi-4b"].jobs == 8
    assert kinds["rpi-4b"].stages["busy_s"] == (2.0, 4.0)
    assert kinds["rpi-5"].stages["busy_j"] == (12.0, 8.0)
    assert (ratio(Pair(1.0, 2.0)), ratio(Pair(1.0, 0.0))) == ("0.5", "–")


def test_the_page_says_both_and_the_ratio(tmp_path):
    write_page([replace(history(rows=rows()), times=TIMES)], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Measured, then predicted. In all 8 s measured, 16 s predicted: ratio 0.5." in page
    assert "Work</span></th><td>250 ms</td><td>500 ms</td><td>0.5</td>" in page
    assert "No board had a power meter" in page
    assert "Round 2 in time" in page
    for metered, words in (
        (4, "Measured by the boards’ power meters."),
        (1, "By power meters for 4 of 16 jobs"),
    ):
        write_page([history(rows=rows(metered))], tmp_path / "page.html")
        assert words in (tmp_path / "page.html").read_text()


def test_a_simulated_run_has_neither():
    assert prediction_section(history()) is None
    assert overlap_block(history()) is None


@pytest.mark.parametrize(
    "odd", [{"round_s": "x"}, {"round_s": [1, None]}, {"kinds": []}, {"kinds": {"pi": 3}}]
)
def test_odd_records_do_not_break_the_page(odd, tmp_path):
    odd_rows = [{**row, **odd} for row in rows()]
    odd_times = {
        "round": None,
        "jobs": [{"device": 3, "sent_s": "x"}, 7],
        "server_s": [[1], "x", [2, "y"]],
    }
    write_page([replace(history(rows=odd_rows), times=odd_times)], tmp_path / "page.html")


def test_what_goes_on_at_the_same_time_is_said():
    said = overlap_block(replace(history(), times=TIMES))
    assert (
        "Of 8 s, at least one device computed for 2 s, something was on its way for 3 s, and the "
        "server" in said
    )
    assert (
        "computed for 5.5 s. At the same time: devices and server for 1 s, links and server for "
        "1.5 s" in said
    )
    assert 'd="M0 0h125v1h-125zM375 0h125v1h-125z"' in said


def test_spans_join_and_cross():
    assert union([(3, 4), (0, 1), (0.5, 2)]) == [(0, 2), (3, 4)]
    assert both([(0, 2), (3, 6)], [(1, 4), (5, 7)]) == [(1, 2), (3, 4), (5, 6)]
    assert lasting_s([(0, 2), (3, 4)]) == 3


def test_a_record_gives_the_last_round_in_time(tmp_path):
    create(tmp_path / "run", {"schema": 1, "recipe": "koala", "rounds": 1}, {}).close()
    assert read(tmp_path / "run").times == {}
    (tmp_path / "run" / "times.jsonl").write_text('{"round":1}\n{"round":2}\n{"rou')
    assert read(tmp_path / "run").times == {"round": 2}


def test_a_real_fleet_has_data_of_its_own(tmp_path):
    run = history()
    about = {**run.about, "settings": {**run.about["settings"], "fleet": "fleet.toml"}}
    write_page([replace(run, about=about)], tmp_path / "page.html")
    assert (
        "5 devices of a real fleet had data of their own and kept them."
        in (tmp_path / "page.html").read_text()
    )
    pooled = {**about, "recipe": "central", "method": asdict(facts_of("central"))}
    write_page([replace(run, about=pooled)], tmp_path / "page.html")
    assert (
        "had data of their own and sent them to the server, once."
        in (tmp_path / "page.html").read_text()
    )
