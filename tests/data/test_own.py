"""What a device owns is mapped by name onto what a run means, or declined in words that name the
difference."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from distilfleet.core.errors import ConfigError
from distilfleet.core.types import Dataset
from distilfleet.data import own, prepared, sources
from distilfleet.data.naming import Naming
from distilfleet.data.reading import Reading
from distilfleet.data.spec import DataSpec, read, write

CLASSES = ("run", "sit", "walk")


def rows(classes, count=40, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    at = {"run": 0.0, "sit": 3.0, "walk": -3.0, "jog": 1.0}
    return [
        {
            "temp": f"{20 + at[kind] + rng.normal() + shift:.3f}",
            "load": f"{at[kind] * 2 + rng.normal():.3f}",
            "place": ("hall", "yard")[i % 2],
            "label": kind,
        }
        for i, kind in enumerate(classes[i % len(classes)] for i in range(count))
    ]


def csv(path, cells, columns=("temp", "load", "place", "label"), names=None):
    header = ",".join((names or {}).get(name, name) for name in columns)
    path.write_text(
        "\n".join([header, *(",".join(row[name] for name in columns) for row in cells)]) + "\n"
    )
    return str(path)


@pytest.fixture
def spec(tmp_path):
    """What a run says whose server has all three classes; as it arrives on a device."""
    server = csv(tmp_path / "server.csv", rows(CLASSES, 300))
    return read(write(sources.load(server).spec(None)))


def mapped(path, spec, **naming):
    return own.read(str(path), Naming(**naming)).mapped(spec)


def declined(path, spec, **naming):
    with pytest.raises(ConfigError) as caught:
        mapped(path, spec, **naming)
    return str(caught.value)


# --- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [(("sit", "walk"), [1, 2]), (("walk", "run"), [0, 2]), (("walk",), [2]), (CLASSES, [0, 1, 2])],
)
def test_a_class_has_the_runs_number_whatever_else_the_file_lacks(classes, numbers, spec, tmp_path):
    data = mapped(csv(tmp_path / "own.csv", rows(classes)), spec).data
    assert sorted(set(data.labels.tolist())) == numbers
    assert data.labels.dtype == np.int64
    assert len(data) == 40, "all of the file, no test part"


def test_one_sample_is_enough(spec, tmp_path):
    data = mapped(csv(tmp_path / "own.csv", rows(("walk",), 1)), spec).data
    assert data.labels.tolist() == [2]


@pytest.mark.parametrize(
    ("stored", "kinds", "numbers"),
    [
        ((0, 1, 2), (1, 2), [1, 2]),
        ((10, 20, 30), (20,), [1]),
        ((-1, 0, 1), (1, -1), [0, 2]),
        (("3", "10", "2"), ("10",), [2]),
    ],
)
def test_numbers_of_classes_are_names_too(stored, kinds, numbers, tmp_path):
    server = [{**row, "label": str(stored[i % 3])} for i, row in enumerate(rows(("run",), 60))]
    mine = [
        {**row, "label": str(kinds[i % len(kinds)])} for i, row in enumerate(rows(("run",), 20))
    ]
    spec = sources.load(csv(tmp_path / "server.csv", server)).spec(None)
    data = mapped(csv(tmp_path / "own.csv", mine), spec).data
    assert sorted(set(data.labels.tolist())) == numbers


def test_an_unknown_class_is_named_mapped_or_left_out(spec, tmp_path):
    path = csv(tmp_path / "own.csv", rows(("jog", "walk")))
    said = declined(path, spec)
    assert "'jog' (20 samples)" in said
    assert "run, sit, walk" in said
    assert "--rename-class jog=" in said
    data = mapped(path, spec, classes={"jog": "run"}).data
    assert np.bincount(data.labels).tolist() == [20, 0, 20]
    left = mapped(path, spec, skip_unknown=True)
    assert left.data.labels.tolist() == [2] * 20
    assert any("jog" in note and "left out" in note for note in left.notes)


def test_a_file_of_unknown_classes_alone_has_nothing_to_train_on(spec, tmp_path):
    assert "no sample is left" in declined(
        csv(tmp_path / "own.csv", rows(("jog",))), spec, skip_unknown=True
    )


def test_another_case_is_another_class(spec, tmp_path):
    path = csv(tmp_path / "own.csv", [{**row, "label": "Walk"} for row in rows(("walk",))])
    assert "--rename-class Walk=walk" in declined(path, spec)


def test_no_class_is_proposed_that_is_spelled_quite_otherwise(spec, tmp_path):
    for label, proposed in (
        ("RUN", "RUN=run"),
        ("0", "0=RUN"),
        ("-1", "-1=RUN"),
        ("sitt", "sitt=sit"),
    ):
        path = csv(tmp_path / "own.csv", [{**row, "label": label} for row in rows(("walk",))])
        assert f"--rename-class {proposed}," in declined(path, spec)


def test_an_input_that_is_called_label_is_no_label(tmp_path):
    server = csv(
        tmp_path / "server.csv", rows(CLASSES, 90), names={"label": "kind", "temp": "label"}
    )
    spec = sources.load(server, label="kind").spec("kind")
    own_names = {"label": "art", "temp": "label"}
    assert (
        mapped(csv(tmp_path / "own.csv", rows(("sit",)), names=own_names), spec).data.labels is None
    )


def test_without_a_label_column_there_are_no_labels(spec, tmp_path):
    assert (
        mapped(
            csv(tmp_path / "own.csv", rows(CLASSES), ("temp", "load", "place")), spec
        ).data.labels
        is None
    )


def test_the_label_column_is_the_owners_the_runs_or_the_usual_one(tmp_path):
    server = csv(tmp_path / "server.csv", rows(CLASSES, 90), names={"label": "activity"})
    spec = sources.load(server, label="activity").spec("activity")
    same = csv(tmp_path / "same.csv", rows(("sit",)), names={"label": "activity"})
    mine = csv(tmp_path / "mine.csv", rows(("sit",)), names={"label": "Klasse"})
    assert set(mapped(same, spec).data.labels) == {1}
    assert mapped(mine, spec).data.labels is None
    assert set(mapped(mine, spec, label="Klasse").data.labels) == {1}
    with pytest.raises(
        ConfigError, match=r"no column 'kind' as --label says; columns: temp, load, place, Klasse"
    ):
        own.read(mine, Naming(label="kind"))


# --- columns --------------------------------------------------------------------------------------


def test_columns_go_by_name_in_any_order_and_others_are_left_out(spec, tmp_path):
    cells = [{**row, "battery": "0.5", "when": "2026-01-01"} for row in rows(CLASSES)]
    here = mapped(csv(tmp_path / "a.csv", cells), spec)
    there = mapped(
        csv(tmp_path / "b.csv", cells, ("battery", "label", "place", "load", "when", "temp")), spec
    )
    np.testing.assert_array_equal(here.data.inputs, there.data.inputs)
    assert not here.notes
    assert there.notes == ("columns that are no inputs of the run are left out: battery, when",)


def test_a_missing_column_is_named_and_can_be_mapped(spec, tmp_path):
    path = csv(tmp_path / "own.csv", rows(CLASSES), names={"temp": "temperature", "load": "kW"})
    said = declined(path, spec)
    assert "missing column 'temp', 'load'" in said
    assert "temperature, kW, place, label" in said
    assert "--rename OWN=temp" in said
    data = mapped(path, spec, columns={"temperature": "temp", "kW": "load"}).data
    np.testing.assert_array_equal(
        data.inputs, mapped(csv(tmp_path / "same.csv", rows(CLASSES)), spec).data.inputs
    )


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"tmp": "temp"}, "no column 'tmp' to --rename"),
        ({"load": "temp"}, "leaves two columns 'temp'"),
    ],
)
def test_renaming_what_is_not_there_or_is_there_already_is_refused_at_once(columns, why, tmp_path):
    with pytest.raises(ConfigError, match=why):
        own.read(csv(tmp_path / "own.csv", rows(CLASSES)), Naming(columns=columns))


def test_text_where_a_number_is_meant_is_refused(spec, tmp_path):
    cells = [{**row, "temp": ("warm", "cold")[i % 2]} for i, row in enumerate(rows(CLASSES))]
    said = declined(csv(tmp_path / "own.csv", cells), spec)
    assert "column 'temp' holds text" in said


def test_a_category_means_the_runs_whatever_others_the_file_has(spec, tmp_path):
    """A device that is always in the yard: its own file would make of the column nothing at all."""
    cells = [{**row, "place": "yard"} for row in rows(CLASSES)]
    at_home = mapped(csv(tmp_path / "own.csv", cells), spec).data
    both = mapped(csv(tmp_path / "both.csv", rows(CLASSES)), spec).data
    np.testing.assert_array_equal(np.unique(at_home.inputs[:, 2:], axis=0), both.inputs[1:2, 2:])


def test_an_unknown_category_is_named_mapped_or_left_out(spec, tmp_path):
    cells = [{**row, "place": "attic" if i < 3 else "hall"} for i, row in enumerate(rows(CLASSES))]
    path = csv(tmp_path / "own.csv", cells)
    said = declined(path, spec)
    assert "column 'place' has the value 'attic' (3 samples)" in said
    assert "--rename-value place:attic=" in said
    assert len(mapped(path, spec, values={("place", "attic"): "yard"}).data) == 40
    assert len(mapped(path, spec, skip_unknown=True).data) == 37
    assert "no such column in the run" in declined(path, spec, values={("plaza", "attic"): "yard"})


# --- units ----------------------------------------------------------------------------------------


def test_inputs_are_scaled_as_the_run_scales_not_by_the_device(spec, tmp_path):
    """A device that knows one season must not call its own mean zero."""
    data = mapped(csv(tmp_path / "own.csv", rows(("walk",))), spec).data
    assert data.inputs[:, 0].mean() < -0.8
    assert data.inputs.dtype == np.float32


def test_another_unit_is_refused_converted_or_taken(spec, tmp_path):
    cells = [{**row, "temp": f"{float(row['temp']) * 1.8 + 32 + 273:.4f}"} for row in rows(CLASSES)]
    path = csv(tmp_path / "own.csv", cells)
    said = declined(path, spec)
    assert "temp is about 34" in said
    assert "--units temp=FACTOR,OFFSET" in said
    data = mapped(path, spec, units={"temp": (1 / 1.8, -305 / 1.8)}).data
    wanted = mapped(csv(tmp_path / "same.csv", rows(CLASSES)), spec).data
    np.testing.assert_allclose(data.inputs, wanted.inputs, atol=1e-3)
    assert mapped(path, spec, any_range=True).data.inputs[:, 0].mean() > 10
    assert "--units tmp: no such column in the run" in declined(
        path, spec, units={"tmp": (1.0, 0.0)}
    )


def test_units_of_a_text_column_are_refused(spec, tmp_path):
    path = csv(tmp_path / "own.csv", rows(CLASSES))
    assert "--units place: this column of the run is text" in declined(
        path, spec, units={"place": (2.0, 0.0)}
    )


def test_remedies_of_a_device_name_flags_that_agents_have(spec, tmp_path):
    for cell in ("<5", "ERR", "1,234"):
        said = declined(
            csv(
                tmp_path / "own.csv", [*rows(("run",)), {**rows(("run",))[0], "temp": f'"{cell}"'}]
            ),
            spec,
        )
        assert "line 42, column 'temp'" in said
        assert "--leave-out" not in said


def test_rows_without_a_category_are_counted(spec, tmp_path):
    blank = [
        {**row, "place": "NA" if at % 4 == 0 else row["place"]}
        for at, row in enumerate(rows(("run",)))
    ]
    assert (
        "column 'place': 10 of 40 rows have no value"
        in mapped(csv(tmp_path / "own.csv", blank), spec).notes
    )


def test_a_table_in_a_txt_file_is_one_where_its_label_is_named(spec, tmp_path):
    path = csv(tmp_path / "own.txt", rows(("sit", "walk")))
    assert set(mapped(path, spec, label="label").data.labels) == {1, 2}


def test_what_can_be_said_before_a_run_names_its_classes(tmp_path):
    table = own.read(csv(tmp_path / "own.csv", rows(("walk", "run"), 6)), Naming())
    np.savez(tmp_path / "own.npz", x=np.eye(4), y=np.array(["b", "a", "c", "a"]))
    arrays = own.read(str(tmp_path / "own.npz"), Naming())
    assert (len(table), table.labels.tolist()) == (6, [1, 0, 1, 0, 1, 0])
    assert (len(arrays), arrays.labels.tolist()) == (4, [1, 0, 2, 0])


def test_what_hardly_varies_beside_the_run_is_said(spec, tmp_path):
    cells = [{**row, "temp": f"{20 + 0.001 * i:.4f}"} for i, row in enumerate(rows(CLASSES))]
    assert any(
        "temp varies" in note for note in mapped(csv(tmp_path / "own.csv", cells), spec).notes
    )


def test_a_switch_that_is_always_on_is_no_other_unit(tmp_path):
    server = [{**row, "load": str(int(i == 7))} for i, row in enumerate(rows(CLASSES, 300))]
    spec = sources.load(csv(tmp_path / "server.csv", server)).spec(None)
    data = mapped(
        csv(tmp_path / "own.csv", [{**row, "load": "1"} for row in rows(CLASSES)]), spec
    ).data
    assert data.inputs[:, 1].min() > 10


# --- what a reading says applies here too ---------------------------------------------------------


def test_missing_labels_are_refused_or_left_out(spec, tmp_path):
    cells = [{**row, "label": "" if i < 4 else row["label"]} for i, row in enumerate(rows(CLASSES))]
    path = csv(tmp_path / "own.csv", cells)
    assert "has no label" in declined(path, spec)
    assert len(mapped(path, spec, reading=Reading(missing="drop")).data) == 36


def test_decimal_commas_are_the_same_numbers(spec, tmp_path):
    cells = [{name: cell.replace(".", ",") for name, cell in row.items()} for row in rows(CLASSES)]
    path = tmp_path / "own.csv"
    path.write_text(
        "\n".join(["temp;load;place;label", *(";".join(row.values()) for row in cells)])
    )
    assert "settle it with --decimal comma or point" in declined(path, spec)
    wanted = mapped(csv(tmp_path / "same.csv", rows(CLASSES)), spec).data
    np.testing.assert_array_equal(
        mapped(path, spec, reading=Reading(decimal="comma")).data.inputs, wanted.inputs
    )


# --- parts of `distilfleet split` -----------------------------------------------------------------


def part(path, data, source, whose=prepared.DEVICE, classes=None):
    prepared.write(
        path,
        data,
        **prepared.facts(whose, classes or source.classes, source.scaling, source.columns),
    )
    return str(path)


def test_a_part_is_taken_to_the_bit_and_its_classes_by_name(tmp_path):
    source = sources.load(csv(tmp_path / "server.csv", rows(CLASSES, 90)))
    done = mapped(part(tmp_path / "a.npz", source.train, source), source.spec(None))
    np.testing.assert_array_equal(done.data.inputs, source.train.inputs)
    np.testing.assert_array_equal(done.data.labels, source.train.labels)
    assert done.notes == ()
    turned = mapped(
        part(tmp_path / "b.npz", source.train, source, classes=("walk", "run", "sit")),
        source.spec(None),
    )
    np.testing.assert_array_equal(turned.data.labels, np.array([2, 0, 1])[source.train.labels])


def test_a_part_of_another_split_is_scaled_as_the_run_is(tmp_path):
    here, there = (
        sources.load(csv(tmp_path / f"{seed}.csv", rows(CLASSES, 90, seed))) for seed in (1, 2)
    )
    done = mapped(part(tmp_path / "a.npz", here.train, here), there.spec(None))
    raw = here.train.inputs / here.scaling.factor + here.scaling.offset
    np.testing.assert_allclose(
        done.data.inputs, (raw - there.scaling.offset) * there.scaling.factor, atol=1e-5
    )
    assert done.notes == ("scaled anew: the run's scaling is not that of the split",)


def test_parts_that_are_no_devices_or_of_other_columns_are_refused(tmp_path):
    source = sources.load(csv(tmp_path / "server.csv", rows(CLASSES, 90)))
    for whose in (prepared.SERVER, prepared.PROXY):
        with pytest.raises(ConfigError, match=f"the {whose}'s part; a device's is named after it"):
            own.read(part(tmp_path / "other.npz", source.test, source, whose), Naming())
    other = sources.load(csv(tmp_path / "b.csv", rows(CLASSES, 90), names={"temp": "heat"}))
    said = declined(part(tmp_path / "c.npz", other.train, other), source.spec(None))
    assert "has the columns heat, load, place; the run has temp, load, place" in said


@pytest.mark.parametrize(
    ("label", "why"), [(-1, "prepared_y has -1"), (3, "a label 3, and 3 names of classes")]
)
def test_a_part_with_labels_that_are_no_classes_is_refused(label, why, tmp_path):
    source = sources.load(csv(tmp_path / "server.csv", rows(CLASSES, 90)))
    data = Dataset(source.train.inputs[:2], np.array([1, label]))
    with pytest.raises(ConfigError, match=why):
        own.read(part(tmp_path / "own.npz", data, source), Naming())


def test_a_part_without_samples_is_refused(tmp_path):
    source = sources.load(csv(tmp_path / "server.csv", rows(CLASSES, 90)))
    with pytest.raises(ConfigError, match="no samples"):
        own.read(part(tmp_path / "own.npz", source.train.take(np.zeros(0, int)), source), Naming())


def test_windows_of_another_tokenizer_or_other_classes_are_not_the_runs(tmp_path):
    spec = DataSpec(kind="text", shape=(4,), classes=("off", "on"), tokenizer="t1")
    windows = Dataset(np.arange(8, dtype=np.int32).reshape(2, 4), np.array([0, 1]))
    prepared.write(
        tmp_path / "a.npz", windows, **prepared.text_facts("device", ("on", "off"), "t1")
    )
    assert mapped(tmp_path / "a.npz", spec).data.labels.tolist() == [1, 0]
    prepared.write(
        tmp_path / "b.npz", windows, **prepared.text_facts("device", ("on", "off"), "t2")
    )
    assert "another tokenizer" in declined(tmp_path / "b.npz", spec)
    assert "windows of tokens; the run's samples are rows of a table" in declined(
        tmp_path / "a.npz", DataSpec(kind="table", shape=(4,), offset=(0.0,) * 4, factor=(1.0,) * 4)
    )


# --- arrays ---------------------------------------------------------------------------------------

X = np.random.default_rng(1).normal((0, 5, 0, 0), 1.0, (60, 4))
NAMES = np.array(CLASSES)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def arrays_spec(tmp_path):
    """A run whose server stores numbers of classes, and their names besides."""
    return sources.load(
        npz(tmp_path / "server.npz", x=X, y=np.arange(60) % 3, class_names=NAMES)
    ).spec(None)


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([1, 2], None, {1, 2}),  # as the server stores them
        ([2], NAMES, {2}),  # more names than classes: counted from 0
        ([0, 1], np.array(["walk", "run"]), {2, 0}),  # a numbering of its own, with names
        (["sit", "walk"], None, {1, 2}),
    ],
)
def test_numbered_classes_of_arrays_go_by_their_names(
    labels, names, numbers, arrays_spec, tmp_path
):
    more = {} if names is None else {"class_names": names}
    y = np.array([labels[i % len(labels)] for i in range(60)])
    data = mapped(npz(tmp_path / "own.npz", x=X, y=y, **more), arrays_spec).data
    assert set(data.labels.tolist()) == numbers


def test_a_numbering_that_contradicts_the_runs_is_refused(arrays_spec, tmp_path):
    path = npz(
        tmp_path / "own.npz", x=X, y=np.arange(60) % 2, class_names=np.array(["walk", "sit", "run"])
    )
    assert "label 0 is 'walk' here and 'run' in the run" in declined(path, arrays_spec)


def test_arrays_of_another_shape_or_unit_are_refused(arrays_spec, tmp_path):
    y = np.arange(60) % 3
    assert "samples of shape [3]; the run's have [4]" in declined(
        npz(tmp_path / "a.npz", x=X[:, :3], y=y), arrays_spec
    )
    assert "the run's are rows of a table" in declined(
        npz(tmp_path / "b.npz", x=np.zeros((60, 7, 5, 3, 2)), y=y), arrays_spec
    )
    assert "input 1 is about 497.8" in declined(
        npz(tmp_path / "c.npz", x=X * [1, 100, 1, 1], y=y), arrays_spec
    )


def test_names_for_inputs_that_have_none_are_the_owners_to_give(spec, tmp_path):
    scaling = {"offset": spec.offset[:2], "factor": spec.factor[:2]}
    with_names = replace(spec, shape=(2,), columns=spec.columns[:2], **scaling)
    x = np.array([[float(row["load"]), float(row["temp"])] for row in rows(CLASSES)])
    path = npz(tmp_path / "own.npz", x=x, y=np.array([row["label"] for row in rows(CLASSES)]))
    assert "say with --columns" in declined(path, with_names)
    data = mapped(path, with_names, order=("load", "temp")).data
    wanted = mapped(csv(tmp_path / "own.csv", rows(CLASSES)), with_names).data
    np.testing.assert_array_equal(data.inputs, wanted.inputs)


def test_a_table_for_a_run_without_names_says_its_order(tmp_path):
    spec = sources.load(
        npz(tmp_path / "server.npz", x=X[:, :2] + [20, 0], y=np.arange(60) % 3)
    ).spec(None)
    cells = [
        {**row, "label": str(i % 2), "load": f"{5 + i / 100}"}
        for i, row in enumerate(rows(("run",)))
    ]
    path = csv(tmp_path / "own.csv", cells)
    assert "2 inputs without names" in declined(path, spec)
    data = mapped(path, spec, order=("temp", "load")).data
    assert abs(data.inputs[:, 0].mean()) < 1


def test_series_go_by_the_axes_of_the_run(tmp_path):
    rng = np.random.default_rng(3)
    spec = sources.load(
        npz(tmp_path / "server.npz", x=rng.normal(size=(60, 32, 2)), y=np.arange(60) % 3)
    ).spec(None)
    assert mapped(
        npz(tmp_path / "a.npz", x=rng.normal(size=(9, 32, 2)), y=np.ones(9, int)), spec
    ).data.shape == (2, 32)
    turned = npz(tmp_path / "b.npz", x=rng.normal(size=(9, 2, 32)), y=np.ones(9, int))
    assert "samples of shape [32, 2]; the run's have [2, 32]" in declined(turned, spec)
    assert mapped(turned, spec, reading=Reading(channels_axis="first")).data.shape == (2, 32)


def test_the_test_part_of_a_file_is_left_out_and_said(arrays_spec, tmp_path):
    y = np.arange(60) % 3
    path = npz(tmp_path / "own.npz", x_train=X[:40], y_train=y[:40], x_test=X[40:], y_test=y[40:])
    done = mapped(path, arrays_spec)
    assert len(done.data) == 40
    assert "its test part of 20 samples is left out" in done.notes


# --- pictures -------------------------------------------------------------------------------------


def pictures(folder, kinds, size=(8, 6), colour=True, seed=0):
    rng = np.random.default_rng(seed)
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(
                0, 256, (size[1], size[0], 3) if colour else (size[1], size[0]), np.uint8
            )
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")
    return str(folder)


def test_pictures_of_one_class_or_without_colours_fit_the_run(tmp_path):
    spec = sources.load(pictures(tmp_path / "server", ("cat", "dog"))).spec(None)
    data = mapped(pictures(tmp_path / "own", ("dog",)), spec).data
    assert (data.shape, data.labels.tolist()) == ((3, 6, 8), [1] * 4)
    grey = mapped(pictures(tmp_path / "grey", ("cat",), colour=False), spec).data
    assert grey.shape == (3, 6, 8)
    np.testing.assert_array_equal(grey.inputs[:, 0], grey.inputs[:, 2])


def test_pictures_of_another_size_are_refused_or_fitted(tmp_path):
    spec = sources.load(pictures(tmp_path / "server", ("cat", "dog"), colour=False)).spec(None)
    own_pictures = pictures(tmp_path / "own", ("dog",), size=(16, 12))
    said = declined(own_pictures, spec)
    assert "[3, 12, 16]" in said
    assert "[1, 6, 8]" in said
    assert "--fit-pictures" in said
    assert mapped(own_pictures, spec, fit_pictures=True).data.shape == (1, 6, 8)


@pytest.mark.parametrize(
    ("dtype", "factor"), [(np.float32, 1.0), (np.float64, 1 / 255**2), (np.float32, -1 / 255)]
)
def test_pixels_of_another_range_are_refused(dtype, factor, tmp_path):
    y, x = np.arange(20) % 2, np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    spec = sources.load(npz(tmp_path / "server.npz", x=x, y=y)).spec(None)
    np.testing.assert_allclose(
        mapped(npz(tmp_path / "a.npz", x=(x / 255), y=y), spec).data.inputs[:, 0],
        x / 255,
        atol=1e-6,
    )
    assert "pixels come to" in declined(
        npz(tmp_path / "b.npz", x=(x * factor).astype(dtype), y=y), spec
    )


def test_kinds_of_samples_do_not_mix(spec, tmp_path):
    images = pictures(tmp_path / "own", ("cat", "dog"))
    assert "missing" not in declined(images, spec)
    table = csv(tmp_path / "own.csv", rows(CLASSES))
    assert "is a table; the run's samples are images" in declined(
        table, sources.load(images).spec(None)
    )


def test_a_run_that_does_not_say_takes_no_file_of_names(tmp_path):
    assert "does not say which classes" in declined(
        csv(tmp_path / "own.csv", rows(CLASSES)), read({})
    )


@pytest.mark.parametrize(
    "said", [{"kind": "smell", "shape": [1]}, {"kind": "image", "shape": [3]}, {"shape": "x"}]
)
def test_what_a_run_says_of_its_data_is_checked(said):
    with pytest.raises(ConfigError, match="what the run says of its data"):
        read(said)
