"""Long series cut into windows: by owner, never across a gap, labels by majority, with all that is
cut off said."""

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError, UnmatchedError
from distilfleet.data import own, proxy, series, sources
from distilfleet.data.naming import Naming
from distilfleet.data.raw import Part, Sampling
from distilfleet.data.reading import Reading

ONE_HZ = Sampling(window=4, hop=4)


def log(
    path, owners=2, count=60, every_s=0.5, gap_at=None, classes=("rest", "run"), interleaved=False
):
    """A table of steps: time, owner, two sensors and what was done, in stretches of ten."""
    rows = []
    for owner in range(owners):
        for n in range(count):
            at = n * every_s + (30 if gap_at is not None and n >= gap_at else 0)
            rows.append((at, f"o{owner}", 100 * owner + n, -n, classes[n // 10 % len(classes)]))
    rows.sort(key=lambda row: row[0] if interleaved else row[1])
    lines = ["time,owner,ax,ay,activity", *(",".join(map(str, row)) for row in rows), ""]
    path.write_text("\n".join(lines))
    return str(path)


def read(path, window, hop=None, **reading):
    return sources.read(
        path, label="activity", group="owner", reading=Reading(window=window, hop=hop, **reading)
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_rows_become_windows_of_one_owner(tmp_path, interleaved):
    raw = read(log(tmp_path / "a.csv", interleaved=interleaved), "8")
    part = raw.train
    assert part.inputs.shape == (14, 8, 2)
    assert [column.name for column in raw.columns] == ["ax", "ay"]
    assert (np.diff(part.inputs[..., 0], axis=1) == 1).all()
    assert part.groups.tolist() == ["o0"] * 7 + ["o1"] * 7
    assert (part.inputs[:, 0, 0] // 100).astype(int).tolist() == [0] * 7 + [1] * 7
    assert part.labels[:4].tolist() == ["rest", "run", "rest", "rest"]
    assert raw.sampling == Sampling(rate_hz=2.0, window=8, hop=8)
    assert "120 steps cut into 14 windows of 8 steps (4 s), side by side" in raw.notes
    assert "8 steps left over at the ends of recordings and before gaps" in raw.notes


def test_seconds_are_steps_by_the_column_of_times(tmp_path):
    raw = read(log(tmp_path / "a.csv"), "4s", "1s")
    assert raw.sampling == Sampling(rate_hz=2.0, window=8, hop=2)
    assert len(raw.train.inputs) == 2 * (1 + (60 - 8) // 2)


def test_no_window_crosses_a_gap(tmp_path):
    raw = read(log(tmp_path / "a.csv", gap_at=33), "8", "1")
    first = raw.train.inputs[..., 0] % 100
    assert not ((first[:, 0] < 33) & (first[:, -1] >= 33)).any()
    assert "2 gaps between steps, which no window crosses" in raw.notes


def test_rows_without_a_label_leave_a_gap_behind(tmp_path):
    path = tmp_path / "a.csv"
    log(path, owners=1)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:21], lines[21].rpartition(",")[0] + ",", *lines[22:], ""]))
    raw = sources.read(
        str(path), label="activity", reading=Reading(window="8", hop="1", missing="drop")
    )
    assert len(raw.train.inputs) == (20 - 7) + (39 - 7)


def test_a_window_with_a_missing_number_is_left_out_whole(tmp_path):
    x = np.arange(40.0).reshape(20, 2)
    x[5, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.repeat([0, 1], 10))
    raw = sources.read(str(tmp_path / "a.npz"), reading=Reading(window="4", missing="drop"))
    assert raw.train.inputs[:, 0, 0].tolist() == [0, 16, 24, 32]
    assert "1 of 5 samples left out: no number or no label" in raw.notes


def test_the_label_is_that_of_most_steps_and_mixed_windows_are_said():
    classes = np.array([0, 0, 1, 1, 1, 1, series.NO_CLASS, 2] + [series.NO_CLASS] * 4)
    recording = series.Recording(values=np.arange(12.0)[:, None], classes=classes)
    part, notes = series.cut([recording], ONE_HZ, np.array(["a", "b", "c"]), "here")
    assert part.labels.tolist() == ["a", "b"]
    assert any("2 windows have steps of several labels" in note for note in notes)
    assert any("1 windows left out: none of their steps has a label" in note for note in notes)


def test_series_longer_than_a_window_are_cut_too(tmp_path):
    x = np.arange(5 * 3 * 20.0).reshape(5, 3, 20)
    np.savez(tmp_path / "a.npz", x=x, y=[0, 1, 0, 1, 0])
    raw = sources.read(str(tmp_path / "a.npz"), reading=Reading(window="10", channels_axis="first"))
    assert raw.train.inputs.shape == (10, 10, 3)
    assert np.array_equal(raw.train.inputs[1], x[0, :, 10:].T)
    assert raw.train.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]


def test_windows_held_out_share_no_step_with_those_to_train_on(tmp_path):
    raw = read(log(tmp_path / "a.csv", count=200), "8", "2")
    kept, held = series.latest(raw.train, 0.2, "here")
    assert len(held) / len(raw.train.labels) == pytest.approx(0.2, abs=0.03)
    trained = {step for begin, end in raw.train.spans[kept] for step in range(begin, end)}
    assert not any(
        step in trained for begin, end in raw.train.spans[held] for step in range(begin, end)
    )
    source = sources.load(
        str(tmp_path / "a.csv"),
        label="activity",
        group="owner",
        reading=Reading(window="8", hop="2"),
    )
    assert (len(source.train), len(source.test)) == (len(kept), len(held))
    assert any(
        "the last 20 % of windows of each class and owner held out" in note for note in source.notes
    )


def test_a_class_whose_windows_all_overlap_those_held_out_is_refused():
    spans = np.array([[0, 8], [2, 10], [20, 28], [30, 38]])
    part = Part(inputs=np.zeros((4, 8, 1)), labels=np.array([0, 0, 1, 1]), spans=spans)
    with pytest.raises(ConfigError, match="class number 0 share steps with those held out"):
        series.latest(part, 0.2, "here")


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (Reading(window="many"), "--window is many; expected a number of steps such as 128"),
        (Reading(window="2.5"), "expected a number of steps"),
        (Reading(window="0"), "comes to 0 steps"),
        (Reading(window="500"), "no window of 500 steps"),
        (Reading(window="8", hop="0s"), "--hop 0s comes to 0 steps"),
        (Reading(window="8", rate_hz=50.0), "its steps are 2 a second, and --rate-hz says 50"),
        (Reading(window="8", time="clock"), "no time column 'clock'"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_words(tmp_path, reading, words):
    with pytest.raises(ConfigError, match=words):
        sources.read(log(tmp_path / "a.csv"), label="activity", group="owner", reading=reading)


def test_seconds_without_a_rate_are_refused_until_it_is_given(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 2)), y=np.repeat([0, 1], 10))
    with pytest.raises(ConfigError, match="give --rate-hz"):
        sources.read(str(tmp_path / "a.npz"), reading=Reading(window="2s"))
    raw = sources.read(str(tmp_path / "a.npz"), reading=Reading(window="2s", rate_hz=5.0))
    assert raw.train.inputs.shape == (2, 10, 2)


def test_pictures_are_not_cut(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 8, 8), dtype=np.uint8), y=np.repeat([0, 1], 10))
    with pytest.raises(ConfigError, match="--window cuts series"):
        sources.read(str(tmp_path / "a.npz"), reading=Reading(window="4"))


@pytest.mark.parametrize(
    ("times", "rate_hz"),
    [
        (["2026-05-04T12:00:00", "2026-05-04T12:00:02"], 0.5),
        (["2026-05-04 12:00:00+02:00", "2026-05-04 12:00:00.250+02:00"], 4.0),
        (["1777896000000", "1777896000100"], 10.0),
        (["1777896000000000000", "1777896001000000000"], 1.0),
        (["10 ms", "20 ms"], 100.0),
    ],
)
def test_times_are_read_as_loggers_write_them(tmp_path, times, rate_hz):
    rows = [f"{when},{n},{'ab'[n % 2]}" for n, when in enumerate(times)]
    (tmp_path / "a.csv").write_text("\n".join(["timestamp,x,activity", *rows, ""]))
    assert sources.read(
        str(tmp_path / "a.csv"), label="activity", reading=Reading(window="1")
    ).sampling == Sampling(rate_hz=rate_hz, window=1, hop=1)


def test_a_time_that_is_none_is_named_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_text("time,x,activity\n2026-05-04,1,a\nyesterday,2,b\n")
    with pytest.raises(ConfigError, match="line 3, time column 'time' holds 'yesterday'"):
        sources.read(str(tmp_path / "a.csv"), label="activity", reading=Reading(window="1"))


# --- a proxy dataset, and devices
# -------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    path = log(tmp_path / "run.csv", count=100)
    return sources.load(path, label="activity", group="owner", reading=Reading(window="8", hop="4"))


def test_a_proxy_of_steps_is_cut_as_the_training_data(tmp_path, run):
    rows = [f"{n / 2 + (50 if n > 20 else 0)},{n},{-n}" for n in range(50)]
    (tmp_path / "proxy.csv").write_text("\n".join(["time,ax,ay", *rows, ""]))
    found = proxy.from_path(str(tmp_path / "proxy.csv"), run, Reading(window="8", hop="4"))
    assert found.inputs.shape == (4 + 6, 2, 8)
    np.savez(tmp_path / "proxy.npz", x=np.zeros((50, 2)))
    assert proxy.from_path(str(tmp_path / "proxy.npz"), run).inputs.shape == (11, 2, 8)


def test_a_device_cuts_its_own_table_as_the_run_does_and_goes_by_name(tmp_path, run):
    rows = [f"{'RUN' if n < 30 else 'rest'},{-n},{n},{n / 2}" for n in range(60)]
    (tmp_path / "own.csv").write_text("\n".join(["activity,AY,AX,time", *rows, ""]))
    mine = own.read(str(tmp_path / "own.csv"), Naming(classes={"RUN": "run"}))
    mapped = mine.mapped(run.spec("activity"))
    assert mapped.data.inputs.shape == (14, 2, 8)
    assert mapped.data.labels.tolist() == [1] * 7 + [0] * 7
    ax = mapped.data.inputs[0, 0].astype(float) / run.scaling.factor[0] + run.scaling.offset[0]
    assert np.allclose(ax, np.arange(8), atol=1e-4)
    assert any("60 steps cut into 14 windows" in note for note in mapped.notes)


def test_a_device_that_measures_at_another_rate_declines(tmp_path, run):
    rows = [f"rest,{-n},{n},{n / 50}" for n in range(60)]
    (tmp_path / "own.csv").write_text("\n".join(["activity,ay,ax,time", *rows, ""]))
    with pytest.raises(UnmatchedError, match="rows 50 a second; the run's steps are 2"):
        own.read(str(tmp_path / "own.csv"), Naming()).mapped(run.spec("activity"))


def test_a_device_with_arrays_of_steps_cuts_them_and_declines_windows_of_another_length(
    tmp_path, run
):
    np.savez(tmp_path / "own.npz", x=np.zeros((40, 2)), y=np.repeat(["rest", "run"], 20))
    naming = Naming(order=("ay", "ax"), any_range=True)
    assert own.read(str(tmp_path / "own.npz"), naming).mapped(
        run.spec("activity")
    ).data.inputs.shape == (9, 2, 8)
    np.savez(tmp_path / "long.npz", x=np.zeros((40, 12, 2)), y=np.repeat(["rest", "run"], 20))
    longer = own.read(
        str(tmp_path / "long.npz"), Naming(any_range=True, reading=Reading(window="12"))
    )
    with pytest.raises(UnmatchedError, match=r"shape \[2, 12\]; the run's have \[2, 8\]"):
        longer.mapped(run.spec("activity"))
