"""Final figures as rows, as text that lines up, and as JSON."""

import json
from pathlib import Path

import pytest
from report_samples import history

from distilfleet.report.compare import body
from distilfleet.report.curves import quality_charts, tones
from distilfleet.report.differences import cautions, differing_settings, groups
from distilfleet.report.figures import names, percent, saved, saved_span, span
from distilfleet.report.live import closing
from distilfleet.report.repeats import ahead, sentences
from distilfleet.report.scale import decade_axis, free_axis, nice_step, reach_axis, round_axis
from distilfleet.report.table import COLUMNS, as_json, best_rows, summary, text_table

RUNS = [history("a"), history("b", recipe="fedavg", small=None, rounds=4, job_bytes=50_000)]


def test_summary_adds_up():
    (row,) = summary([history()])
    assert (row.large_accuracy, row.small_accuracy) == pytest.approx((0.9, 0.8))
    assert (row.up_bytes, row.down_bytes, row.bytes_per_device) == (50_000, 50_000, 20_000)
    assert (row.elapsed_s, row.device_energy_j, row.missed, row.storage_saved) == (
        200,
        125,
        10,
        0.97,
    )
    assert row.large_loss is None


def test_several_runs_make_an_aligned_table():
    lines = text_table(RUNS).split("\n")
    assert lines[0].split("  ")[0] == "run"
    assert len(lines) == 4
    end = lines[0].index("large accuracy") + len("large accuracy")
    assert [line[:end][-6:] for line in lines[1:3]] == ["90.0 %", "90.0 %"]
    assert "4 of 10" in lines[2] and "–" in lines[2]
    assert "loss" not in lines[0]


def test_one_run_makes_an_aligned_list():
    lines = text_table([history()]).split("\n")
    column = lines[0].index("demo")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines)
    assert "data per device  20 kB" in lines


def test_a_run_without_rounds_has_a_list():
    assert "0 of 10" in text_table([history(rounds=0)])


def test_a_terminal_gets_no_control_characters():
    assert "\x1b" not in text_table([history("a\x1b[2J"), history("b")])


def test_json_has_a_schema_and_leaves_out_what_does_not_apply():
    told = json.loads(json.dumps(as_json(RUNS)))
    assert told["schema"] == 1
    first, second = told["runs"]
    assert first["up_bytes"] == 50_000 and first["path"] == "runs/a"
    assert "small_accuracy" not in second and "large_loss" not in first
    assert told["differing_settings"]["recipe"] == {"a": "koala", "b": "fedavg"}
    assert told["cautions"] == ["The number of finished rounds differs (a: 10; b: 4)."]


def test_like_runs_have_nothing_to_be_careful_about():
    assert cautions([history("a"), history("b")]) == []
    assert differing_settings([history("a"), history("b")]) == {}


def test_names_are_distinct():
    twins = [history("x/demo"), history("y/demo"), history("y/demo"), history("z")]
    assert names(twins) == ["runs/x/demo", "runs/y/demo (1)", "runs/y/demo (2)", "z"]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.914, "91.4 %"),
        (1.0, "100.0 %"),
        (0.99999, "99.99 %"),
        (0.0, "0.0 %"),
        (0.0001, "0.01 %"),
        (-0.2, "-20.0 %"),
    ],
)
def test_percent_never_claims_all_or_nothing(share, shown):
    assert percent(share) == shown


def test_span_joins_equal_ends():
    assert span(0.97, 0.97) == "97.0 %"
    assert span(0.9, 0.97) == "90.0–97.0 %"


@pytest.mark.parametrize("width", [1e-9, 0.3, 1, 7, 30, 1e12])
def test_steps_are_few_and_not_too_few(width):
    assert 2 <= width / nice_step(width) <= 5 + 1e-6


@pytest.mark.parametrize("most", [0.0, 1e-6, 4.2, 59, 3600, 1e6, 1e9])
def test_axes_hold_their_ticks(most):
    for axis in (
        reach_axis("x", most, str),
        free_axis("x", [most, 2 * most], str),
        decade_axis("x", 3.0, 4e9, str),
    ):
        assert axis.ticks
        assert all(axis.low - 1e-9 <= tick <= axis.high * (1 + 1e-9) for tick in axis.ticks)


def test_one_round_stands_in_the_middle():
    assert round_axis(3, 3).share(3) == "50%"


def of_seed(name, seed, accuracy, recipe="koala"):
    rows = [
        {
            "round": 1,
            "large_accuracy": accuracy,
            "up_bytes": 100,
            "down_bytes": 100,
            "elapsed_s": 2.0,
        }
    ]
    return history(name, recipe=recipe, seed=seed, rows=rows)


def best_of(runs, field="large_accuracy"):
    column = next(column for column in COLUMNS if column.field == field)
    return best_rows(summary(runs), column, groups(runs))


def test_runs_that_differ_by_their_seed_are_repetitions_and_none_is_best():
    runs = [of_seed("a", 1, 0.984), of_seed("b", 2, 0.980), of_seed("c", 3, 0.982)]
    assert best_of(runs) == set()
    assert cautions(runs) == []
    (line,) = sentences(runs)
    assert line == (
        "a, b, c repeat one another under seeds 1, 2, 3: mean large accuracy 98.2 % "
        "(98.0 % to 98.4 %, deviation 0.2 %)."
    )
    (entry,) = as_json(runs)["repetitions"]
    assert entry["seeds"] == ["1", "2", "3"]
    assert entry["large_accuracy"]["mean"] == pytest.approx(0.982)
    assert line in text_table(runs)


def test_two_settings_are_held_against_each_other_seed_by_seed():
    ours = [of_seed("a", 1, 0.90), of_seed("b", 2, 0.80), of_seed("c", 3, 0.70)]
    theirs = [
        of_seed("d", 1, 0.93, "fedavg"),
        of_seed("e", 2, 0.84, "fedavg"),
        of_seed("f", 3, 0.75, "fedavg"),
    ]
    (row,) = as_json([*ours, *theirs])["paired_differences"]
    assert (row["first"], row["second"], row["seeds"]) == (["a", "b", "c"], ["d", "e", "f"], 3)
    assert row["mean"] == pytest.approx(0.04)
    assert row["high"] - row["mean"] == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)
    assert (
        "d against a, 3 seeds in pairs: large accuracy +4.0 points (95 % interval +1.5 points to"
        in text_table([*ours, *theirs])
    )


def test_a_difference_that_may_be_chance_says_so():
    runs = [
        of_seed("a", 1, 0.90),
        of_seed("b", 2, 0.80),
        of_seed("c", 1, 0.91, "fedavg"),
        of_seed("d", 2, 0.79, "fedavg"),
    ]
    assert "may be chance" in text_table(runs)
    assert as_json(runs[:3])["paired_differences"] == []


def test_seeds_of_one_setting_are_one_line_in_a_band():
    runs = [of_seed("a", 1, 0.90), of_seed("b", 2, 0.80), of_seed("c", 1, 0.99, "fedavg")]
    page = body(runs)
    assert page.count('class="band') == len(quality_charts(runs))
    assert "a and 1 more, large model" in page
    assert tones(runs) == [0, 0, 1]


def test_best_is_what_is_better_than_any_other_seed_shows():
    ours = [of_seed("a", 1, 0.98), of_seed("b", 2, 0.97)]
    assert best_of([*ours, of_seed("c", 1, 0.96, "fedavg"), of_seed("d", 2, 0.95, "fedavg")]) == {
        0,
        1,
    }
    assert (
        best_of([*ours, of_seed("c", 1, 0.975, "fedavg"), of_seed("d", 2, 0.95, "fedavg")]) == set()
    )


def test_one_seed_each_calls_nothing_best_and_says_so():
    runs = [of_seed("a", 1, 0.984), of_seed("b", 1, 0.6, "fedavg")]
    assert best_of(runs) == set()
    assert "With one seed each" in text_table(runs)


def test_what_no_seed_changes_has_a_best():
    assert ahead({0: -1.0, 1: -2.0, 2: -1.0}, [[0], [1], [2]]) == {0, 2}
    assert ahead({0: 1.0, 1: 1.0}, [[0], [1]]) == set()


def test_seconds_of_a_simulation_are_called_so():
    assert "simulated time" in text_table([of_seed("a", 1, 0.9)])
    real = {**history().about, "settings": {"fleet": "home"}}
    assert "simulated" not in text_table([history(about=real)])
    assert "time, some simulated" in text_table([history("a"), history("b", about=real)])


@pytest.mark.parametrize(
    ("share", "shown"),
    [(-14.027, "none, 15 times as much"), (-0.5, "none, 1.5 times as much"), (0.0, "0.0 %")],
)
def test_a_model_that_takes_more_saves_nothing_in_words(share, shown):
    assert saved(share) == shown
    assert saved_span(share, share) == shown
    assert "-" not in saved_span(-14.027, 0.5)


def test_a_run_ends_with_what_is_saved_or_taken(capsys):
    row = {"small": "conv-s", "large": "mlp-l", "storage_saved": 0.9, "flops_saved": -14.027}
    closing(history(about={**history().about, "savings": [row]}), Path("page.html"))
    assert (
        "conv-s instead of mlp-l saves 90.00% of storage and takes 15 times the FLOPs."
        in capsys.readouterr().out
    )
