"""distilfleet from Python: what a notebook calls, and what it gets."""

import re

import pytest

import distilfleet
from distilfleet.core.errors import ConfigError, RecordError
from distilfleet.record.history import read

FLAGS = {"devices": 3, "large": "mlp-s", "small": ["mlp-xs"], "mixtures": 0, "local_passes": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "run"
    return distilfleet.train("koala", out=out, progress=False, rounds=2, seed=3, **FLAGS)


def test_a_run_is_recorded_as_the_command_line_records_it(run):
    settings = run.record.about["settings"]
    assert settings["small"] == ["mlp-xs"]
    assert settings["seed"] == 3
    assert read(run.path).rounds == run.record.rounds
    assert (run.path / "report.html").is_file()


def test_rounds_are_a_table_by_round(run):
    table = run.history.to_pandas()
    assert list(table.index) == [1, 2]
    assert table["large_accuracy"].tolist() == [row["large_accuracy"] for row in run.history]
    assert len(run.history[:1]) == 1


def test_going_on_gives_what_one_run_gives(run, tmp_path):
    begun = distilfleet.train(
        "koala", out=tmp_path / "a", progress=False, rounds=1, seed=3, **FLAGS
    )
    whole = distilfleet.resume(begun.path, rounds=2, progress=False)
    assert [row["large_accuracy"] for row in whole.history] == [
        row["large_accuracy"] for row in run.history
    ]
    assert len(distilfleet.resume(begun.path).history) == 2


def test_a_figure_has_a_line_for_each_size_of_model_in_the_colours_of_the_page(run):
    by_round, by_bytes = run.plot().axes
    assert [line.get_linestyle() for line in by_round.lines] == ["-", "--"]
    assert [line.get_color() for line in by_round.lines] == ["#0b67ad", "#d05a00"]
    assert list(by_bytes.lines[0].get_xdata()) == sorted(by_bytes.lines[0].get_xdata())
    twice = distilfleet.plot(run, distilfleet.open_run(run.path)).axes[0]
    assert len(twice.lines) == 4


def test_the_models_of_a_run_predict(run):
    from sklearn.datasets import load_digits

    assert sorted(run.models) == ["large", "small-mlp-xs"]
    assert run.models["large"].predict(load_digits().images[:3]).shape == (3, 10)
    with pytest.raises(KeyError, match="huge"):
        run.models["huge"]


def test_a_notebook_shows_the_final_figures(run):
    shown = run._repr_html_()
    assert "large accuracy" in shown
    assert not re.search(r"<script|<img", shown)


def test_the_bar_says_how_good_the_models_are(tmp_path, capsys):
    distilfleet.train(
        "local", out=tmp_path / "b", rounds=1, devices=2, small=["mlp-xs"], local_passes=1
    )
    assert re.search(r"1/1 .*small accuracy \d", capsys.readouterr().err)


def test_an_unknown_flag_is_named_with_what_was_meant(tmp_path):
    with pytest.raises(ConfigError, match=r"no flag round .did you mean rounds"):
        distilfleet.train("koala", round=3)
    with pytest.raises(ConfigError, match="rounds"):
        distilfleet.train("koala", rounds="many")
    with pytest.raises(RecordError, match="not a run directory"):
        distilfleet.open_run(tmp_path)


def test_what_is_not_there_is_no_attribute():
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(distilfleet, "nonsense")  # noqa: B009
