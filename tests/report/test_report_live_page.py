"""The live page says what is there in words, lets nothing hostile through, and changes only where
there is news."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from report_samples import history
from test_report_page import HOSTILE, Walker

from distilfleet.core.fleet_status import DeviceStatus, FleetStatus
from distilfleet.record.queue import QueuedRun
from distilfleet.report.live_page import MOST_DEVICES, View, document, paint
from distilfleet.report.page import sections
from distilfleet.report.table import summary

RUN = history("demo", rounds=3, asked=8, misses=True)


def seen(name: str, doing: str = "idle", **facts) -> DeviceStatus:
    usual = {
        "kind": "rpi-4b",
        "fence": 1,
        "silent_s": 4.0,
        "up_bytes": 1500,
        "down_bytes": 0,
        "up_bps": 0,
        "down_bps": 0,
    }
    return DeviceStatus(id=name, doing=doing, **{**usual, **facts})


def moment(*devices: DeviceStatus, **facts) -> FleetStatus:
    usual = {
        "run": "demo",
        "round": 4,
        "jobs": 5,
        "answered": 2,
        "missed": 1,
        "since_s": 12.2,
        "refused": {},
        "late": 0,
    }
    room = {"uploading_bytes": 0, "room_bytes": 1 << 20, "uploads_waiting": 0}
    return FleetStatus(devices=devices or (seen("pi-1"),), **{**usual, **room, **facts})


def view(state: str = "under way", at: FleetStatus | None = None, run=RUN, **facts) -> View:
    entry = QueuedRun(name=run.path.name, state=state)
    usual = {
        "entries": [entry],
        "shown": entry,
        "run": run,
        "rows": {entry.name: summary([run])[0]},
        "proof": "p" * 9,
    }
    return replace(View(moment=at or moment(), **usual), **facts)


def told(view: View) -> str:
    walker = Walker()
    walker.feed(document(paint(view, {} if view.run is None else sections(view.run))))
    walker.close()
    assert walker.open == []
    return walker.words


def test_says_how_far_the_run_and_its_round_are():
    words = told(view())
    assert "Under way: 3 of 8 rounds finished" in words
    assert "Round 4: 2 of 5 answers are in, 1 missed. Asked 12 s ago." in words
    assert "Round 4: the server computes." in told(view(at=moment(jobs=0)))
    assert "Round 4 is being prepared." in told(view(at=moment(round=3)))
    assert "Round 4 is being prepared." in told(view(at=moment(run="another")))


@pytest.mark.parametrize(
    "state, words, button",
    [
        ("under way", "Under way", "Stop after this round"),
        ("stopping", "Stopping after this round", "Go on after all"),
        ("stopped", "Stopped: 3 of 8", "Go on"),
        ("waiting", "Waiting for its turn", "Stop"),
        ("finished", "Interrupted: 3 of 8", None),
        ("failed", "Failed", None),
    ],
)
def test_offers_what_may_be_done(state, words, button):
    source = document(paint(view(state), sections(RUN)))
    assert words in told(view(state))
    assert (f'<button type="submit">{button}' in source) == (button is not None)
    assert ("<form" in source) == (button is not None)


def test_tells_of_each_device():
    devices = (
        seen("pi-1", "working", up_bps=8e6, battery_share=0.5),
        seen("pi-2", "uploading"),
        seen("pi-0", "idle", up_bps=16e6),
        seen("pi-3", "away", silent_s=135.0),
        seen("pi-4", "away", fence=0, silent_s=None, up_bytes=0),
    )
    words = told(view(at=moment(*devices, uploads_waiting=3)))
    assert (
        "3 of 5 devices are here: 1 idle, 1 at work, 1 uploading. 3 uploads wait for room." in words
    )
    for part in ("50.0 %", "1.5 kB · 1 MB/s", "2 min 00 s ago", "never", "just now"):
        assert part in words
    assert "2 MB/s" not in words, "a rate is that of a busy device"
    assert "Battery" not in told(view())


def test_finds_devices_of_a_large_fleet():
    at = moment(*(seen(f"pi-{i:03d}", "away" if i > 250 else "idle") for i in range(300)))
    assert "The first 200 are shown." in told(view(at=at)) and "pi-299" not in told(view(at=at))
    words = told(view(at=at, find="away rpi-4b"))
    assert "49 fit “away rpi-4b”." in words and "pi-299" in words and "pi-000" not in words
    assert 'name="find"' in paint(view(at=at), {}).slots["find"]
    assert paint(view(), {}).slots["find"] == ""


def test_a_row_changes_only_when_there_is_news():
    at = [moment(seen("pi-1", silent_s=s)) for s in (0.1, 14.0, 21.0, 29.0, 31.0)]
    slots = [paint(view(at=one), {}).slots["roster"] for one in at]
    assert [slots.index(one) for one in slots] == [0, 0, 2, 2, 4]


def test_tells_why_sessions_were_refused():
    words = told(
        view(at=moment(refused={"denied": 3, "handshake: expired": 1, "no hello": 2}, late=4))
    )
    for part in (
        "denied 3 A device that the fleet file does not name",
        "handshake: expired 1 No session",
        "4 answers",
    ):
        assert part in words
    assert "Sessions refused" not in told(view())


def test_many_devices_are_cut_and_scroll():
    many = [seen(f"pi-{i}") for i in range(MOST_DEVICES + 50)]
    source = document(paint(view(at=moment(*many)), {}))
    assert f"The first {MOST_DEVICES} are shown." in source
    assert Counter(re.findall(r">pi-\d+<", source)).total() == MOST_DEVICES
    assert 'class="scroll tall"' in source


def test_an_empty_server_says_what_to_do():
    nothing = {"entries": [], "shown": None, "run": None, "rows": {}}
    words = told(replace(view(), **nothing))
    assert "No run yet" in words and "distilfleet run koala --fleet" in words
    waiting = {**nothing, "entries": [QueuedRun(name="koala-1", state="waiting")]}
    assert "koala-1 is about to begin" in told(replace(view(), **waiting))


def test_lets_nothing_hostile_through():
    run = history("demo", rounds=2, misses=True, word=HOSTILE)
    at = moment(seen(HOSTILE, kind=HOSTILE), refused={HOSTILE: 1})
    entry = QueuedRun(name=HOSTILE, state="failed", error=HOSTILE)
    source = document(
        paint(view(at=at, run=run, entries=[entry], shown=entry, rows={}), sections(run))
    )
    assert "<script>alert" not in source
    assert "<img" not in source


def test_a_live_page_says_whose_answers_counted_for_little():
    rows = [{**row, "discounts": [["device-01", 0.1, "norm"]]} for row in RUN.rounds]
    assert "Answers that counted for little" not in told(view())
    assert "device-01 Its update was out of all proportion" in told(
        view(run=replace(RUN, rounds=rows))
    )


def test_a_failed_run_stands_out():
    entry = QueuedRun(name="demo", state="failed", error="no device can train this")
    page = document(paint(view(entries=[entry], shown=entry), {}))
    assert 'class="badge failed"' in page
    assert 'class="callout failed"' in page
    assert 'class="badge failed"' not in document(paint(view(), {}))
