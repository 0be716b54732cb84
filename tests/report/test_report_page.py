"""The page stands alone, is well-formed, says the figures, and lets nothing hostile through."""

import base64
import hashlib
import re
import shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from report_samples import facts_of, history

from distilfleet.core.protocols import DisclosureClass
from distilfleet.core.types import Dataset
from distilfleet.methods.splitkd import server
from distilfleet.report.details import MEANING, command
from distilfleet.report.html import Html, tag
from distilfleet.report.page import write_page

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
VOID = {"meta", "input", "br"}


class Walker(HTMLParser):
    """Collects tags and text; fails on anything that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, name: str, attributes: Any) -> None:
        self.tags.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: Any) -> None:
        self.tags.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self.open and self.open.pop() == name, f"</{name}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(f" {piece} " for piece in self.text).split())


def page(tmp_path: Path, *runs: Any) -> tuple[str, Walker]:
    file = tmp_path / "page.html"
    write_page(runs, file)
    source = file.read_text(encoding="utf-8")
    walker = Walker()
    walker.feed(source)
    walker.close()
    assert walker.open == []
    return source, walker


PAGES = {
    "one run": lambda: [history()],
    "three runs": lambda: [
        history("a"),
        history("b", recipe="fedavg", small=None),
        history("c", rounds=7),
    ],
    "no round": lambda: [history(rounds=0)],
    "one round": lambda: [history(rounds=1, asked=1)],
    "no round among several": lambda: [history("a", rounds=0), history("b")],
    "no round at all": lambda: [history("a", rounds=0), history("b", rounds=0)],
    "language": lambda: [history(quality="loss"), history("b", quality="loss")],
    "many classes": lambda: [history(classes=100)],
    "unlike qualities": lambda: [history("a"), history("b", quality="loss")],
}


@pytest.mark.parametrize("runs", PAGES.values(), ids=PAGES)
def test_stands_alone_and_is_well_formed(tmp_path, runs):
    source, walker = page(tmp_path, *runs())
    for name, attributes in walker.tags:
        assert name not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "href", "srcset", "action"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes)
    assert not re.search(r"https?:|url\(|@import", source)


def test_only_its_own_script_may_run(tmp_path):
    source, walker = page(tmp_path, history())
    scripts = re.findall(r"<script>(.*?)</script>", source, re.S)
    policy = next(a["content"] for n, a in walker.tags if n == "meta" and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy


def test_says_the_figures(tmp_path):
    _, walker = page(tmp_path, history())
    for words in (
        "KOALA on digits",
        "Large model, accuracy 90.0 %",
        "Small models, accuracy 80.0 %",
        "300 kB",
        "memory quota",
        "reverse distillation",
        "Finished: 10 of 10 rounds",
        "modelled",
        "weights hold NaN",
        "Counterfactual: memory",
        "Weights and sample counts.",
        "97.0 %",
        "1 MFLOP",
        "Read this first",
        "--small conv-xs conv-s",
    ):
        assert words in walker.words, words


def test_every_chart_has_a_text_alternative(tmp_path):
    _, walker = page(tmp_path, history())
    labels = [a["aria-label"] for n, a in walker.tags if n == "svg" and "aria-label" in a]
    assert len(labels) == 7
    assert "Large model: from 45.0 % at round 1 to 90.0 % at round 10" in (labels[0] or "")


def test_an_interrupted_run_says_so(tmp_path):
    assert "Interrupted: 4 of 10 rounds finished" in page(tmp_path, history(rounds=4))[1].words
    nothing = page(tmp_path, history(rounds=0))[1].words
    assert "No round finished, of 10 asked for" in nothing
    assert "nothing to draw" in nothing


def test_hostile_words_stay_words(tmp_path):
    bad = history(HOSTILE.replace("/", "|"), word=HOSTILE)
    for runs in ([bad], [bad, history("b")]):
        source, walker = page(tmp_path, *runs)
        assert source.count("<script>") == 1
        assert [n for n, _ in walker.tags if n in {"script", "img"}] == ["script"]
        assert "alert(1)" in walker.words


def test_characters_that_html_cannot_hold(tmp_path):
    _, walker = page(tmp_path, history(word="a\x00b\x1b[31m\u202e\ud800"))
    assert not re.search("[\x00-\x08\x1b\u202e]", walker.words)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), None, "12", True, [1], -1])
def test_odd_values_do_not_break_a_page(tmp_path, odd):
    run = history()
    rounds = [
        {**row, "large_accuracy": odd, "elapsed_s": odd, "up_bytes": odd, "extra": odd}
        for row in run.rounds[:3]
    ]
    page(tmp_path, history(rows=[*rounds, *run.rounds[3:]]))
    page(tmp_path, history(rows=rounds), run)


def test_an_empty_record_renders(tmp_path):
    for rows in ([], [{"round": 1}], [{}]):
        run = history(about={}, fleet={}, rows=rows)
        page(tmp_path, run)
        page(tmp_path, run, history())


def test_comparison_says_what_differs(tmp_path):
    _, walker = page(
        tmp_path, history("a"), history("b", recipe="fedavg", seed=8, small=None, job_bytes=9)
    )
    for words in (
        "2 runs compared",
        "Not like with like",
        "The seed differs (a: 7; b: 8).",
        "What it took to reach 90 %",
        "(best)",
        "Settings that differ",
        "all runs: counterfactual: memory",
    ):
        assert words in walker.words, words


def test_far_apart_amounts_get_a_logarithmic_axis(tmp_path):
    _, near = page(tmp_path, history("a"), history("b"))
    _, far = page(tmp_path, history("a"), history("b", job_bytes=4_000_000))
    assert "logarithmic" not in near.words
    assert "bytes so far, logarithmic" in far.words


def test_a_large_fleet_stays_a_small_file(tmp_path):
    source, _ = page(tmp_path, history(devices=200, rounds=200, asked=200, misses=True))
    assert len(source.encode()) < 400_000


def test_no_run_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        write_page([], tmp_path / "page.html")


def test_markup_escapes_text_but_not_markup():
    assert (
        tag("p", "<&>", Html("<b>x</b>"), class_='"')
        == '<p class="&quot;">&lt;&amp;&gt;<b>x</b></p>'
    )


def test_the_command_repeats_the_run():
    run = history()
    more = {"wire_kind": "two words; $x", "proxy": None, "rounds": 5, "out": "runs/demo", "who": []}
    told = {**run.about["settings"], **more}
    shell = command(history(about={**run.about, "settings": told, "threads": 2}))
    words = shlex.split(shell.replace("\\\n", " "))
    assert words[:5] == ["distilfleet", "run", "koala", "--devices", "5"]
    assert words[5:13] == [
        "--small",
        "conv-xs",
        "conv-s",
        "--label",
        "",
        "--alpha",
        "0.5",
        "--no-lora",
    ]
    assert words[13:] == [
        "--wire-kind",
        "two words; $x",
        "--rounds",
        "10",
        "--seed",
        "7",
        "--threads",
        "2",
    ]


def test_a_harmless_note_stays_quiet(tmp_path):
    run = history(about={**history().about, "notes": ["no test part: 20 % held out"]})
    _, walker = page(tmp_path, run)
    assert "Note No test part" in walker.words
    assert "Read this first" not in walker.words


def test_devices_and_their_jobs_are_told_apart(tmp_path):
    rows = [{**row, "asked": 5, "jobs": 500, "missed": 3} for row in history().rounds]
    words = page(tmp_path, history(rows=rows))[1].words
    assert "0.6 % 30 of 5,000" in words
    assert "Missed jobs in each round" in words
    assert "Missed jobs in each round" not in page(tmp_path, history())[1].words


def test_what_a_method_says_of_itself_is_on_the_page(tmp_path):
    run = history(recipe="scaffold")
    settings = {**run.about["settings"], "per_round": 3}
    words = page(tmp_path, replace(run, about={**run.about, "settings": settings}))[1].words
    for told in (
        "SCAFFOLD on digits",
        "In each round 3 of them trained the same small model",
        "mean gradient of a device’s steps",
    ):
        assert told in words


def test_label_counts_are_explained_where_they_leave(tmp_path):
    run, counts = history(), "how often each class occurs on each device"
    assert counts not in page(tmp_path, run)[1].words
    method = {**run.about["method"], "label_counts": True}
    assert counts in page(tmp_path, replace(run, about={**run.about, "method": method}))[1].words


def test_every_class_of_disclosure_is_explained():
    assert set(MEANING) == set(get_args(DisclosureClass))


def test_a_record_from_before_methods_spoke_for_themselves_still_shows(tmp_path):
    older = {name: value for name, value in history().about.items() if name != "method"}
    words = page(tmp_path, history(about=older), history("b"))[1].words
    assert "koala on digits" in words and "the server combined the answers" in words


def text_run(name="text", recipe="splitkd", classes=(), **changes):
    run = history(name, recipe=recipe, quality="accuracy" if classes else "loss", **changes)
    facts = {"tokenizer": "24ec1d04", "classes": list(classes), "shape": [64], "pretraining": 900}
    taught = replace(server.tiny(), pretraining_data=Dataset(np.zeros((900, 8), np.int32))).facts
    method = taught if recipe == "splitkd" else facts_of(recipe)
    own = {"disclosure": "recoverable: smashed data", "method": asdict(method)}
    about = {**run.about, "data": {**run.about["data"], **facts}, **own}
    rounds = [{**row, "large_loss": 0.25} if "large_loss" in row else row for row in run.rounds]
    falling = [
        {**row, "small_loss": 1 - 0.05 * row["round"]} if "small_loss" in row else row
        for row in rounds
    ]
    return replace(run, about=about, rounds=falling)


def test_a_split_run_has_a_student_a_teacher_and_windows(tmp_path):
    source, walker = page(tmp_path, text_run())
    for words in (
        "Disclosure: recoverable: smashed data.",
        "Student, loss, nats per token 0.500 best 0.500 in round 10",
        "Teacher, loss, nats per token 0.250 stays as it was before round 1",
        "teacher, 0.250",
        "training windows of 64 tokens of digits",
        "the teacher’s predictions and the true tokens",
        "on 900 windows of its own",
        "What it runs Windows",
    ):
        assert words in walker.words, words
    assert 'data-name="Student"' in source and 'data-name="Teacher"' not in source
    assert "memory quota" in walker.words and "front of conv-s" in walker.words


def test_what_a_device_runs_is_what_was_planned(tmp_path):
    plan = {
        "devices": [
            {"id": "device-00", "cut": 0},
            {"id": "device-01", "cut": 1},
            {"id": "device-02", "cut": 2},
        ]
    }
    words = page(tmp_path, replace(text_run(), plan=plan))[1].words
    for told in (
        "embedding of conv-s",
        "embedding and 1 layer of conv-s",
        "embedding and 2 layers of conv-s",
    ):
        assert told in words


def test_texts_with_classes_have_an_accuracy(tmp_path):
    words = page(tmp_path, text_run(classes=["light", "music"]))[1].words
    for told in (
        "Student, accuracy 80.0 %",
        "teacher, 90.0 %",
        "guessing, 50.0 %",
        "1,200 training texts of digits",
    ):
        assert told in words


def test_text_runs_side_by_side_have_one_teacher_and_a_loss_to_reach(tmp_path):
    source, walker = page(tmp_path, text_run("a"), text_run("b", recipe="central_kd"))
    for words in (
        "What it took to reach 0.5 nats per token",
        "teacher, 0.250",
        "a: recoverable: smashed data. b: recoverable: smashed data. Split KD protects against "
        "outsiders",
        "its one student",
    ):
        assert words in walker.words, words
    assert 'data-name="a, student"' in source and "teacher" not in "".join(
        re.findall('data-name="[^"]*"', source)
    )
    assert "0.250 (best)" not in walker.words
    other = text_run("b", recipe="koala_text")
    source, walker = page(tmp_path, text_run("a"), other)
    assert 'data-name="b, large model"' in source and 'data-name="b, small models, mean"' in source
    strange = replace(
        other, about={**other.about, "data": {**other.about["data"], "tokenizer": "another one"}}
    )
    assert (
        "The tokenizer, so that a nat per token is not the same"
        in page(tmp_path, text_run("a"), strange)[1].words
    )


def test_an_older_record_of_a_split_run_still_says_who_can_read_the_data(tmp_path):
    run = history(recipe="splitkd")
    older = replace(
        run, about={name: value for name, value in run.about.items() if name != "method"}
    )
    assert "Who can read the data" not in page(tmp_path, older)[1].words
    assert "Who can read the data" in page(tmp_path, replace(older, plan={"devices": []}))[1].words


def test_what_a_pretrained_model_began_with_is_said_and_drawn(tmp_path):
    run = replace(history(), start={"round": 0, "large_accuracy": 0.915, "small_accuracy": 0.1})
    text, walker = page(tmp_path, run)
    assert "began at 91.5 %" in walker.words
    assert "Every round in numbers (11)" in walker.words
    assert "round 0" in text
    assert "round 0" not in page(tmp_path, history())[0]
