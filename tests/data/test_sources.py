import gzip
import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image as Pictures

from distilfleet.core.errors import ConfigError
from distilfleet.data import sources

LABELS = np.array([0, 1] * 10)


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def noise(*shape):
    return np.random.default_rng(0).normal(3.0, 2.0, shape)


def assert_ready(source):
    for part in (source.train, source.test):
        assert part.inputs.dtype == np.float32 and part.inputs.flags.c_contiguous
        assert part.labels.dtype == np.int64
        assert len(part.inputs) == len(part.labels)
        assert set(part.labels) <= set(range(len(source.classes)))


# --- names ----------------------------------------------------------------------------------------


def test_digits_are_images_from_0_to_1_with_a_stratified_test_part():
    source = sources.load("digits")
    assert_ready(source)
    assert source.train.shape == (1, 8, 8)
    assert len(source.train) + len(source.test) == 1797
    assert (source.train.inputs.min(), source.train.inputs.max()) == (0.0, 1.0)
    assert source.classes == tuple("0123456789")
    assert source.groups is None
    assert source.notes == ("no test part: 20 % held out, stratified, seed 0",)
    assert np.ptp(np.bincount(source.test.labels)) <= 3


def test_a_folder_called_as_a_dataset_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert any("give ./digits" in note for note in sources.load("digits").notes)


def test_the_seed_chooses_the_test_part():
    first, again, other = (sources.load("digits", seed=seed).test.inputs for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# --- npz ------------------------------------------------------------------------------------------


def test_npz_with_both_parts_in_any_case(tmp_path):
    images = np.arange(20 * 6 * 4).reshape(20, 6, 4).astype(np.uint8)
    path = save(
        tmp_path / "a.npz", X_Train=images, Y_train=LABELS, x_test=images[:4], Y_TEST=LABELS[:4]
    )
    source = sources.load(path)
    assert_ready(source)
    assert source.train.shape == (1, 6, 4)
    assert np.allclose(source.train.inputs[:, 0], images / 255)
    assert (len(source.train), len(source.test)) == (20, 4)
    assert source.notes == (
        "samples of shape [6, 4] are read as image, one channel (else: --sample-kind)",
    )


def test_npz_takes_owners_from_group_train(tmp_path):
    path = save(
        tmp_path / "a.npz",
        x_train=noise(20, 3),
        y_train=LABELS,
        x_test=noise(4, 3),
        y_test=LABELS[:4],
        group_train=np.repeat([1600, 1601], 10),
    )
    assert sorted(set(sources.load(path).groups)) == ["1600", "1601"]


@pytest.mark.parametrize(
    ("inputs", "labels"), [("x", "y"), ("inputs", "labels"), ("data", "target")]
)
def test_npz_without_a_test_part(tmp_path, inputs, labels):
    source = sources.load(
        save(tmp_path / "a.npz", **{inputs: noise(20, 3), labels: LABELS}), holdout=0.3
    )
    assert_ready(source)
    assert (len(source.train), len(source.test)) == (14, 6)


def test_npz_keys_by_flag_leave_the_one_array_that_fits_as_inputs(tmp_path):
    path = save(
        tmp_path / "a.npz",
        X_milli=noise(20, 7, 3),
        activity=np.array(["sit", "run"] * 10),
        who=np.array(["ann", "", "bob", "bob"] * 5),
        recording=np.array([f"{row}.wav" for row in range(20)]),
    )
    source = sources.load(path, label="activity", group="who")
    assert source.train.shape == (3, 7)
    assert source.classes == ("run", "sit")
    assert set(source.groups) == {"ann", "bob", "unknown"}
    assert len(source.groups) == len(source.train)
    assert any("5 samples have a blank group" in note for note in source.notes)
    assert any("owners of training samples own test samples too" in note for note in source.notes)


def test_npz_label_flag_picks_one_of_several_in_both_parts(tmp_path):
    parts = {"x_train": noise(20, 3), "coarse_train": LABELS, "fine_train": LABELS * 2 + 5}
    path = save(
        tmp_path / "a.npz",
        **parts,
        x_test=noise(4, 3),
        coarse_test=LABELS[:4],
        fine_test=LABELS[:4] * 2 + 5,
    )
    assert sources.load(path, label="fine").classes == ("5", "7")
    assert sources.load(path, label="fine_train").classes == ("5", "7")


def test_npz_keys_that_are_spelled_otherwise(tmp_path):
    arrays = {"x": np.eye(8), "y": np.arange(8) % 2}
    for spelled in ("{0}train", "{0}-Train", "train{0}", "TRAIN.{0}", "{0}_train"):
        keys = {(spelled.format(key), key): array for key, array in arrays.items()}
        held = {
            key.replace("rain", "est").replace("RAIN", "EST"): arrays[old][:4] for key, old in keys
        }
        np.savez(tmp_path / "a.npz", **{key: array for (key, _), array in keys.items()}, **held)
        source = sources.load(str(tmp_path / "a.npz"))
        assert (len(source.train), len(source.test)) == (8, 4), spelled


def test_npz_arrays_that_are_not_used_are_named(tmp_path):
    x, y = np.eye(8), np.arange(8) % 2
    np.savez(
        tmp_path / "a.npz",
        x=x,
        y=y,
        x_test=x[:4],
        y_test=y[:4],
        X_val=x[:2],
        subject=y,
        labels=1 - y,
    )
    source = sources.load(str(tmp_path / "a.npz"))
    assert len(source.test) == 4
    assert "not used: X_val [2, 8], subject [8], labels [8]" in source.notes


def test_inputs_that_are_all_the_same_are_said_to_be(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((20, 8, 8), 7, np.uint8), y=np.arange(20) % 2)
    assert any(
        "nothing can be learnt" in note for note in sources.load(str(tmp_path / "a.npz")).notes
    )


def test_labels_of_bytes_that_are_no_utf_8_stay_apart(tmp_path):
    labels = np.array(["gr\u00fcn".encode("latin-1"), "gr\u00e4n".encode("latin-1")])[
        np.arange(8) % 2
    ]
    np.savez(tmp_path / "a.npz", x=np.eye(8), y=labels)
    assert sources.load(str(tmp_path / "a.npz")).classes == ("gr\\xe4n", "gr\\xfcn")


@pytest.mark.parametrize(
    ("lists", "classes"),
    [
        ({"units": ["m", "s"], "classes": ["cat", "dog"]}, ("cat", "dog")),
        ({"feature_names": ["ax", "ay"]}, ("0", "1")),
        ({"names": [b"cat", b"dog"]}, ("cat", "dog")),
        ({"one": ["a", "b"], "two": ["c", "d"]}, ("0", "1")),
    ],
)
def test_npz_lists_of_other_names_are_no_classes(lists, classes, tmp_path):
    named = {key: np.array(names) for key, names in lists.items()}
    np.savez(tmp_path / "a.npz", x=np.eye(8)[:, :2], y=np.arange(8) % 2, **named)
    assert sources.load(str(tmp_path / "a.npz")).classes == classes


def test_npz_class_names_come_from_an_array_with_one_entry_each(tmp_path):
    path = save(
        tmp_path / "a.npz",
        x=noise(20, 3),
        y=LABELS + 1,
        activities=np.array(["walking", "jogging"]),
    )
    source = sources.load(path)
    assert source.classes == ("walking", "jogging")
    assert "class names from key 'activities'" in source.notes


@pytest.mark.parametrize(
    ("shape", "kind", "sample"),
    [
        ((20, 5), np.float64, (5,)),
        ((20,), np.float32, (1,)),
        ((20, 9, 3), np.float16, (3, 9)),
        ((20, 9, 9), np.float32, (1, 9, 9)),
        ((20, 9, 3), np.uint8, (1, 9, 3)),
        ((20, 9, 8, 3), np.uint8, (3, 9, 8)),
        ((20, 3, 9, 8), np.float32, (3, 9, 8)),
        ((20, 9, 8, 1), np.int64, (1, 9, 8)),
    ],
)
def test_array_shapes_decide_what_a_sample_is(tmp_path, shape, kind, sample):
    source = sources.load(save(tmp_path / "a.npz", x=np.abs(noise(*shape)).astype(kind), y=LABELS))
    assert_ready(source)
    assert source.train.shape == sample


def test_series_and_tables_are_standardised_by_the_train_part(tmp_path):
    inputs = noise(20, 9, 3)
    inputs[:, :, 1] = 7.1
    for array in (inputs, inputs[:, 0]):
        source = sources.load(save(tmp_path / "a.npz", x=array, y=LABELS))
        axes = (0, 2) if array.ndim == 3 else 0
        assert np.allclose(source.train.inputs.mean(axis=axes), 0, atol=1e-5)
        assert np.allclose(source.train.inputs.std(axis=axes), [1, 0, 1], atol=1e-5)
        assert not source.test.inputs[:, 1].any()


def test_images_that_are_not_bytes_are_brought_to_0_to_1(tmp_path):
    wide = np.linspace(-5, 15, 20 * 16).reshape(20, 4, 4)
    parts = {"y_train": LABELS, "x_test": wide[:2], "y_test": LABELS[:2]}
    train = sources.load(save(tmp_path / "a.npz", x_train=wide, **parts)).train.inputs
    assert (train.min(), train.max()) == (0.0, 1.0)
    ready = sources.load(save(tmp_path / "a.npz", x_train=wide / 40 + 0.2, **parts)).train.inputs
    assert np.allclose(ready[:, 0], wide / 40 + 0.2)


def test_whole_floats_columns_of_labels_and_bytes_are_labels_too(tmp_path):
    for labels, names in (
        (LABELS.astype(np.float32), ("0", "1")),
        (LABELS[:, np.newaxis], ("0", "1")),
        (LABELS.astype(bool), ("0", "1")),
        (np.array([b"no", b"yes"] * 10), ("no", "yes")),
    ):
        assert sources.load(save(tmp_path / "a.npz", x=noise(20, 3), y=labels)).classes == names


def test_numbers_are_sorted_by_value_and_not_as_text(tmp_path):
    assert sources.load(save(tmp_path / "a.npz", x=noise(20, 3), y=LABELS * 8 + 2)).classes == (
        "2",
        "10",
    )


# --- csv ------------------------------------------------------------------------------------------


def write_table(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_csv_with_numbers_dates_text_and_row_numbers(tmp_path):
    rows = [
        f"{row},2024-01-{row + 1:02d} "
        f"10:00,{row / 2},{'red' if row % 3 else 'blue'},n{row},{row % 2}"
        for row in range(20)
    ]
    source = sources.load(write_table(tmp_path / "a.csv", "id,when,size,colour,remark,label", rows))
    assert_ready(source)
    assert source.train.shape == (3,)
    assert [column.name for column in source.columns] == ["size", "colour"]
    assert source.columns[1].values == ("blue", "red")
    notes = "\n".join(source.notes)
    assert "'id' dropped: it numbers the rows" in notes
    assert "'when' dropped: dates" in notes
    assert "'remark' dropped: text with 20 values in 20 rows" in notes
    assert "'colour' became 2 inputs, one per value: blue, red" in notes


def test_csv_label_and_group_by_flag_in_any_case(tmp_path):
    rows = [f"{row},{'yes' if row % 2 else 'no'},p{row % 4}" for row in range(20)]
    path = write_table(tmp_path / "a.csv", "size,Sick,Person", rows)
    source = sources.load(path, label="sick", group="person")
    assert source.classes == ("no", "yes")
    assert set(source.groups) == {"p0", "p1", "p2", "p3"}
    assert source.train.shape == (1,)


def test_csv_takes_owners_from_a_column_called_group(tmp_path):
    rows = [f"{row},{row % 2},p{row % 4}" for row in range(20)]
    source = sources.load(write_table(tmp_path / "a.csv", "size,label,Group", rows))
    assert set(source.groups) == {"p0", "p1", "p2", "p3"}
    assert source.train.shape == (1,)
    assert "owners from column 'Group'" in source.notes


@pytest.mark.parametrize(
    ("ending", "mark"), [(".tsv", "\t"), (".csv", ";"), (".csv", "\t"), (".csv", ",")]
)
def test_tables_with_other_separators(tmp_path, ending, mark):
    rows = [mark.join((str(row), str(row % 2))) for row in range(20)]
    assert sources.load(
        write_table(tmp_path / f"a{ending}", f"size{mark}label", rows)
    ).train.shape == (1,)


def test_csv_as_r_writes_it_with_row_names(tmp_path):
    rows = [f'"{row}","2015-02-04 17:51:00",{row}.5,{row % 2}' for row in range(20)]
    source = sources.load(write_table(tmp_path / "a.csv", '"date","Light","label"', rows))
    assert source.train.shape == (1,)
    assert source.notes[0].startswith("first field of every row dropped: row names")


def test_csv_with_quotes_blank_lines_and_a_byte_order_mark(tmp_path):
    rows = [f'"{row}","a ""b"", c"' if row % 2 else f"{row},d\n" for row in range(20)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["size,label", *rows]), encoding="utf-8-sig")
    assert sources.load(str(path)).classes == ('a "b", c', "d")


def test_a_txt_table_is_read_when_its_label_is_named(tmp_path):
    path = write_table(tmp_path / "a.txt", "size,sick", [f"{row},{row % 2}" for row in range(20)])
    assert sources.load(path, label="sick").train.shape == (1,)


# --- idx ------------------------------------------------------------------------------------------


def write_idx(path, array, kind=0x08):
    content = (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_family(folder, ending="", prefix=""):
    images = np.arange(20 * 12).reshape(20, 4, 3).astype(np.uint8)
    write_idx(folder / f"{prefix}train-images-idx3-ubyte{ending}", images)
    write_idx(folder / f"{prefix}train-labels-idx1-ubyte{ending}", LABELS.astype(np.uint8))
    write_idx(folder / f"{prefix}t10k-images-idx3-ubyte{ending}", images[:6])
    write_idx(folder / f"{prefix}t10k-labels-idx1-ubyte{ending}", LABELS[:6].astype(np.uint8))
    return images


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_by_folder_and_by_file(tmp_path, ending):
    images = write_family(tmp_path, ending)
    for path in (tmp_path, tmp_path / f"t10k-labels-idx1-ubyte{ending}"):
        source = sources.load(str(path))
        assert_ready(source)
        assert np.allclose(source.train.inputs[:, 0], images / 255)
        assert len(source.test) == 6


def test_idx_files_of_several_sets_in_one_folder(tmp_path):
    write_family(tmp_path, prefix="emnist-letters-")
    write_family(tmp_path, prefix="emnist-digits-")
    with pytest.raises(
        ConfigError, match=r"emnist-digits-, emnist-letters-.*name one of the files"
    ):
        sources.load(str(tmp_path))
    assert len(sources.load(str(tmp_path / "emnist-digits-train-images-idx3-ubyte")).test) == 6


def test_idx_of_big_endian_floats(tmp_path):
    write_family(tmp_path)
    inputs = noise(20, 5).astype(">f4")
    write_idx(tmp_path / "train-images-idx3-ubyte", inputs, kind=0x0D)
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).unlink()
    assert sources.load(str(tmp_path)).train.shape == (5,)


# --- pictures -------------------------------------------------------------------------------------


def draw(folder, count, size=(5, 4), mode="RGB", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        colour = number * 20 if mode == "L" else (number * 20, 0, 255)
        Pictures.new(mode, size, colour).save(folder / f"{number}.png")


def test_pictures_by_class_are_resized_to_the_most_common_size(tmp_path):
    draw(tmp_path / "cat", 4)
    draw(tmp_path / "dog", 3)
    draw(tmp_path / "dog", 2, size=(9, 9), first=3)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    source = sources.load(str(tmp_path))
    assert_ready(source)
    assert source.train.shape == (3, 4, 5)
    assert source.classes == ("cat", "dog")
    assert source.notes[0] == "2 of 9 pictures resized to 5 x 4, the most common size"
    assert (source.train.inputs[:, 2] == 1).all()


def test_grey_pictures_keep_one_channel_and_folders_make_parts(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        draw(tmp_path / part / "0", count, mode="L")
        draw(tmp_path / part / "1", count, mode="L")
    source = sources.load(str(tmp_path))
    assert source.train.shape == (1, 4, 5)
    assert (len(source.train), len(source.test)) == (6, 4)
    assert np.allclose(np.unique(source.train.inputs), [0, 20 / 255, 40 / 255])


# --- folders that are parts, and folders that are classes -----------------------------------------


def laid_out(root, *folders):
    """Pictures in each of these folders, all unlike."""
    for number, folder in enumerate(folders):
        draw(root / folder, 3, first=number)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training", "testing"),
        ("Training", "Validation"),
        ("train_images", "test_images"),
        ("images-train", "images-dev"),
        ("TrainingSet", "TestSet"),
        ("seg_train", "seg_test"),
        ("trn", "valid"),
    ],
)
def test_parts_are_no_classes_whatever_their_case(tmp_path, train, test):
    laid_out(tmp_path, f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog")
    source = sources.load(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert (len(source.train), len(source.test)) == (6, 6)
    assert f"test part from folder {test!r}" in source.notes


def test_of_two_parts_held_out_one_is_used_and_the_other_named(tmp_path):
    laid_out(
        tmp_path,
        *(
            f"{part}/{kind}"
            for part in ("Train", "val", "TEST", "unlabelled")
            for kind in ("a", "b")
        ),
    )
    source = sources.load(str(tmp_path))
    assert "test part from folder 'TEST'" in source.notes
    assert "not used: folder 'val', 'unlabelled'" in source.notes


def test_a_test_part_without_classes_is_not_used_and_named(tmp_path):
    laid_out(tmp_path, "train/cat", "train/dog", "test")
    source = sources.load(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert "not used: folder 'test'" in source.notes


def test_trains_and_tests_may_be_classes(tmp_path):
    laid_out(tmp_path, "bus", "train", "test")
    assert sources.load(str(tmp_path)).classes == ("bus", "test", "train")


def test_nested_folders_belong_to_their_class(tmp_path):
    laid_out(tmp_path, "bus/day", "bus/night", "tram/day/rain", "trainers/old")
    source = sources.load(str(tmp_path))
    assert source.classes == ("bus", "trainers", "tram")
    assert len(source.train) + len(source.test) == 12


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train/day", "bus/day"), "'train' may be a part or a class, with 'bus' beside it"),
        (("cat", "dog", "Validation/cat"), "'Validation' may be a part or a class"),
        (("Train/a", "training/a"), "'Train', 'training' are all called so"),
        (("test/a", "test/b"), "there is 'test' alone"),
        (("Train", "Test"), "'Test', 'Train' are parts without class folders"),
    ],
)
def test_folders_that_may_be_either_are_refused(tmp_path, folders, message):
    laid_out(tmp_path, *folders)
    with pytest.raises(ConfigError, match=message):
        sources.load(str(tmp_path))


def test_what_is_no_picture_is_named_and_what_is_hidden_is_not(tmp_path):
    laid_out(tmp_path, "cat", "dog", ".cache/x")
    for name in ("cat/.DS_Store", "cat/._0.png", "dog/.thumbnails/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"nothing")
    for name in ("cat/a.HEIC", "dog/b.heic", "dog/Thumbs.db"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "fox").mkdir()
    source = sources.load(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert "folders without pictures are no classes: fox" in source.notes
    assert "3 files that are no pictures left aside: .db, .heic" in source.notes


@pytest.mark.parametrize("name", ["[red] & <b>", "ünï ☃", "a'b\"c", "-x", "50 %"])
def test_a_class_may_have_any_name_that_can_be_printed(tmp_path, name):
    laid_out(tmp_path, name, "other")
    assert set(sources.load(str(tmp_path)).classes) == {name, "other"}


def test_a_class_is_one_whichever_system_spelled_it(tmp_path):
    laid_out(tmp_path, "train/cafe\u0301", "train/tea", "test/caf\u00e9", "test/tea")
    assert sources.load(str(tmp_path)).classes == ("caf\u00e9", "tea")


def test_a_class_whose_name_cannot_be_printed_is_refused(tmp_path):
    laid_out(tmp_path, "cat", "caf\udce9")
    with pytest.raises(ConfigError, match="name cannot be printed"):
        sources.load(str(tmp_path))


# --- modes and depths of pictures -----------------------------------------------------------------


def stroke(number):
    """Upright or lying, white on black."""
    pixels = np.zeros((16, 16), np.uint8)
    pixels[(slice(3, 13), slice(6, 10)) if number else (slice(6, 10), slice(3, 13))] = 255
    return pixels


def ink(colour, mode):
    """A stroke in one colour on nothing at all."""

    def made(number):
        pixels = np.full((16, 16, len(mode)), colour, np.uint8)
        pixels[..., -1] = stroke(number)
        return Pictures.fromarray(pixels, mode)

    return made


def palette(number):
    picture = Pictures.fromarray((stroke(number) > 0).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 0, 0, 0])
    picture.info["transparency"] = 0
    return picture


def numbers(scale, dtype, least=0):
    return lambda number: Pictures.fromarray((least + stroke(number) / 255 * scale).astype(dtype))


def strokes(root, ending, made):
    for number in range(2):
        (root / f"c{number}").mkdir(parents=True)
        for copy in range(5):
            made(number).save(root / f"c{number}" / f"{copy}.{ending}")
    return root


MODES = {
    "black ink": ("png", ink(0, "RGBA")),
    "white ink": ("png", ink(255, "RGBA")),
    "grey ink": ("webp", ink(128, "RGBA")),
    "grey with alpha": ("png", ink(0, "LA")),
    "white with alpha": ("tif", ink(255, "LA")),
    "palette": ("gif", palette),
    "palette in png": ("png", palette),
    "1 bit": ("png", lambda number: Pictures.fromarray(stroke(number)).convert("1")),
    "print colours": (
        "jpg",
        lambda number: Pictures.fromarray(np.stack([stroke(number)] * 3, -1)).convert("CMYK"),
    ),
    "grey": ("bmp", lambda number: Pictures.fromarray(stroke(number))),
    "portable": ("pgm", lambda number: Pictures.fromarray(stroke(number))),
    "16 bits": ("png", numbers(65535, np.uint16)),
    "12 bits of 16": ("png", numbers(4095, np.uint16)),
    "8 bits of 16": ("tif", numbers(250, np.uint16)),
    "a thermal camera": ("tif", numbers(900, np.uint16, least=29500)),
    "32 bits": ("tif", numbers(200, np.int32)),
    "32 bits below nothing": ("tif", numbers(2000, np.int32, least=-1000)),
    "float to 1": ("tif", numbers(0.9, np.float32)),
    "float to 40": ("tif", numbers(40, np.float32)),
    "tiny floats": ("tif", numbers(1e-3, np.float32, least=270)),
}


@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_every_mode_show_what_they_show(tmp_path, mode):
    source = sources.load(str(strokes(tmp_path / "p", *MODES[mode])))
    inputs = source.train.inputs
    assert inputs.shape[2:] == (16, 16)
    assert inputs.min() >= 0
    assert inputs.max() <= 1
    assert inputs.std() > 0.1
    ends = [np.round(np.abs(one[:, 8, 8] - one[:, 0, 0]).min(), 1) for one in inputs]
    assert min(ends) >= 0.4


def test_pictures_of_more_than_8_bits_share_one_scale_which_is_said(tmp_path):
    for name, value in (("a", 0), ("a", 1), ("b", 32768), ("b", 65535)):
        (tmp_path / name).mkdir(exist_ok=True)
        Pictures.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / name / f"{value}.png")
        Pictures.fromarray(np.full((4, 4), value, np.uint16)).save(
            tmp_path / name / f"{value}-again.png"
        )
    source = sources.load(str(tmp_path), holdout=0.3)
    every = np.concatenate([source.train.inputs, source.test.inputs])
    assert np.allclose(np.unique(every), [0, 1 / 65535, 32768 / 65535, 1], atol=1e-7)
    assert "more than 8 bits: 0 to 65535 seen" in source.notes[0]


def test_dark_ink_goes_on_light_and_light_on_dark_with_one_rule_for_the_folder(tmp_path):
    notes = []
    for level in (0, 255):
        root = strokes(tmp_path / str(level), "png", ink(level, "RGBA"))
        notes += [note for note in sources.load(str(root)).notes if "transparent" in note]
    assert notes == [
        "transparent pictures laid on grey level 255 of 255",
        "transparent pictures laid on grey level 0 of 255",
    ]


def test_black_and_white_ink_are_both_seen(tmp_path):
    for number, level in enumerate((0, 255)):
        (tmp_path / f"c{number}").mkdir()
        for copy in range(4):
            ink(level, "RGBA")(copy % 2).save(tmp_path / f"c{number}" / f"{copy}.png")
    inputs = sources.load(str(tmp_path)).train.inputs
    assert all(one.std() > 0.1 for one in inputs)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_pictures_stand_as_their_camera_was_held(tmp_path, orientation, ending):
    from PIL import ImageOps

    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = 255
    undo = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    exif = Pictures.Exif()
    exif[0x0112] = undo[orientation]
    stored = Pictures.fromarray(upright)
    stored.info["exif"] = exif.tobytes()
    stored.getexif()[0x0112] = undo[orientation]
    stored = ImageOps.exif_transpose(stored)
    exif[0x0112] = orientation
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for copy in range(2):
            stored.save(tmp_path / name / f"{copy}.{ending}", exif=exif)
    source = sources.load(str(tmp_path))
    assert source.train.shape == (3, 16, 24)
    shown = source.train.inputs[0, 0]
    assert shown[2:6, 2:10].min() > 0.8
    assert max(shown[10:, 2:].max(), shown[:, 14:].max()) < 0.2


def test_of_several_frames_the_first_is_used_and_that_is_said(tmp_path):
    for ending in ("gif", "png", "tif", "webp"):
        for name in ("a", "b"):
            (tmp_path / ending / name).mkdir(parents=True)
            for copy in range(2):
                frames = [Pictures.new("L", (4, 4), level) for level in (0, 200)]
                frames[0].save(
                    tmp_path / ending / name / f"{copy}.{ending}",
                    save_all=True,
                    append_images=frames[1:],
                )
        source = sources.load(str(tmp_path / ending))
        assert source.train.inputs.max() == 0
        assert "of 4 of 4 pictures, which have several frames, the first is used" in source.notes


def test_grey_beside_colour_is_read_as_colour(tmp_path):
    draw(tmp_path / "a", 3)
    draw(tmp_path / "b", 3, mode="L")
    assert sources.load(str(tmp_path)).train.shape == (3, 4, 5)


def test_bytes_beside_deeper_pictures_are_refused(tmp_path):
    draw(tmp_path / "a", 3, mode="L")
    (tmp_path / "b").mkdir()
    Pictures.fromarray(np.full((4, 5), 300, np.uint16)).save(tmp_path / "b" / "deep.png")
    with pytest.raises(ConfigError, match=r"b/deep.png: mode I;16, where others have 8 bits"):
        sources.load(str(tmp_path))


def test_a_picture_of_no_finite_numbers_is_named(tmp_path):
    root = strokes(tmp_path / "p", "tif", numbers(1, np.float32))
    Pictures.fromarray(np.full((16, 16), np.nan, np.float32)).save(root / "c1" / "3.tif")
    with pytest.raises(ConfigError, match=r"c1/3.tif: a pixel is no finite number"):
        sources.load(str(root))


@pytest.mark.parametrize(
    ("ending", "form"), [("png", "JPEG"), ("jpg", "PNG"), ("gif", "BMP"), ("tif", "WEBP")]
)
def test_a_picture_that_is_not_of_its_endings_format_is_refused(tmp_path, ending, form):
    draw(tmp_path / "a", 3)
    draw(tmp_path / "b", 3)
    Pictures.new("RGB", (5, 4)).save(tmp_path / "b" / f"odd.{ending}", format=form)
    with pytest.raises(ConfigError, match=rf"b/odd.{ending}: its content is {form}"):
        sources.load(str(tmp_path))


def test_a_picture_too_large_to_be_one_is_refused(tmp_path):
    draw(tmp_path / "a", 2)
    draw(tmp_path / "b", 2)
    Pictures.new("1", (20_000, 10_000)).save(tmp_path / "b" / "bomb.png")
    with pytest.raises(
        ConfigError,
        match=r"b/bomb.png: .*20000 x 10000 pixels; expected at most|b/bomb.png: .*exceeds limit",
    ):
        sources.load(str(tmp_path))


# --- hub ------------------------------------------------------------------------------------------


class Split(dict):
    """What `datasets` gives for one split: columns by name, and their features."""

    def __init__(self, features, columns):
        super().__init__(columns)
        self.features = features


class Image:
    pass


def feature(**facts):
    return types.SimpleNamespace(**facts)


def install(monkeypatch, answer):
    def load_dataset(name, configuration):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_hub_pictures_with_named_classes(monkeypatch):
    features = {"image": Image(), "label": feature(dtype="int64", names=["cat", "dog"])}
    pictures = [Pictures.new("L", (4, 4), 10 * number) for number in range(6)]
    train = Split(features, {"image": pictures, "label": [0, 1] * 3})
    install(
        monkeypatch,
        {"train": train, "test": Split(features, {"image": pictures[:2], "label": [0, 1]})},
    )
    source = sources.load("hub:someone/pets")
    assert_ready(source)
    assert source.train.shape == (1, 4, 4)
    assert source.classes == ("cat", "dog")
    assert len(source.test) == 2


def test_hub_columns_of_numbers_make_a_table(monkeypatch):
    features = {name: feature(dtype="float32") for name in ("a", "b")} | {
        "y": feature(dtype="string"),
        "who": feature(dtype="string"),
    }
    columns = {"a": list(range(8)), "b": [1.5] * 8, "y": ["n", "p"] * 4, "who": ["ann"] * 8}
    install(monkeypatch, {"train": Split(features, columns)})
    source = sources.load("hub:t", group="who")
    assert source.train.shape == (2,)
    assert set(source.groups) == {"ann"}


def test_hub_problems_are_named(monkeypatch):
    text = Split(
        {"text": feature(dtype="string"), "label": feature(dtype="int64")},
        {"text": ["a"], "label": [0]},
    )
    for answer, message in (
        (FileNotFoundError("no such dataset"), "hub:x: cannot be loaded"),
        ({"validation": text}, "no split 'train'; it has validation"),
        ({"train": text}, "no column of pictures, sound or numbers; it has text, label"),
        ({"train": Split({"text": feature(dtype="string")}, {})}, "no column for the labels"),
    ):
        install(monkeypatch, answer)
        with pytest.raises(ConfigError, match=message):
            sources.load("hub:x")


def test_hub_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'distilfleet\[hub\]'"):
        sources.load("hub:mnist")


class List:
    """As in `datasets` 4 and later: what is in it, and how many of these; -1 says that nobody
    knows."""

    def __init__(self, inner, length=-1):
        self.feature, self.length = inner, length


NUMBER, LABEL = feature(dtype="float32"), feature(dtype="int64", names=["rest", "run"])


def windows(monkeypatch, features, columns, **more):
    """A dataset of eight rows, loaded."""
    train = Split({**features, "label": LABEL}, {**columns, "label": [0, 1] * 4})
    install(monkeypatch, {"train": train, **more})
    return sources.load("hub:w")


def test_lists_of_numbers_of_the_hub_are_series_and_what_is_left_out_is_named(monkeypatch):
    columns = {
        "heart_rate": list(range(8)),
        "wave": [[row + step for step in range(5)] for row in range(8)],
        "who": ["a"] * 8,
    }
    features = {"heart_rate": NUMBER, "wave": List(NUMBER), "who": feature(dtype="string")}
    source = windows(monkeypatch, features, columns)
    assert source.train.shape == (1, 5)
    assert source.scaling.kind == "series"
    assert "columns not used: heart_rate, who" in source.notes


def test_lists_of_one_length_are_channels(monkeypatch):
    axes = {axis: [[float(row * step) for step in range(6)] for row in range(8)] for axis in "xyz"}
    assert windows(monkeypatch, dict.fromkeys("xyz", List(NUMBER, 6)), axes).train.shape == (3, 6)


def test_lists_of_lists_are_steps_of_channels(monkeypatch):
    rows = [np.random.default_rng(row).normal(size=(6, 2)).tolist() for row in range(8)]
    assert windows(monkeypatch, {"x": List(List(NUMBER, 2), 6)}, {"x": rows}).train.shape == (2, 6)


@pytest.mark.parametrize(
    ("features", "columns", "message"),
    [
        (
            {"x": List(NUMBER)},
            {"x": [[1.0] * (1 + row % 2) for row in range(8)]},
            "lists in x are of 1 to 2 numbers",
        ),
        (
            {"x": List(NUMBER)},
            {"x": [[1.0], None] * 4},
            "row 1 .* has no numbers in x|lists in x are unlike",
        ),
        ({"x": List(NUMBER)}, {"x": [[1.0], [None]] * 4}, "row 1 .* has no numbers in x"),
        (
            dict.fromkeys("xy", List(NUMBER)),
            {"x": [[1.0]] * 8, "y": [[1.0, 2.0]] * 8},
            r"columns x \[1\], y \[2\] make no",
        ),
        (
            {"x": type("Video", (), {"dtype": "dict"})()},
            {"x": [{}] * 8},
            "no column of pictures, sound or numbers; .* x is video",
        ),
    ],
)
def test_lists_of_the_hub_that_are_no_series_are_refused(monkeypatch, features, columns, message):
    with pytest.raises(ConfigError, match=message):
        windows(monkeypatch, features, columns)


class Undecodable(Split):
    def __getitem__(self, name):
        if name == "x":
            raise ImportError("to decode this,\ninstall something")
        return super().__getitem__(name)


def test_what_a_column_or_a_dataset_raises_ends_in_plain_words(monkeypatch):
    install(monkeypatch, {"train": Undecodable({"x": NUMBER, "label": LABEL}, {"label": [0, 1]})})
    with pytest.raises(
        ConfigError, match=r"hub:x: column x cannot be read .to decode this, install something"
    ):
        sources.load("hub:x")
    error = type("DatasetGenerationError", (Exception,), {})(
        "An error occurred while generating the dataset"
    )
    error.__cause__ = TypeError("Couldn't cast array of type string to int64")
    install(monkeypatch, error)
    with pytest.raises(
        ConfigError, match=r"hub:x: cannot be loaded .An error occurred .*Couldn't cast"
    ):
        sources.load("hub:x")


def test_a_test_part_that_keeps_its_labels_is_not_used_and_named(monkeypatch):
    part = {
        name: Split({"x": NUMBER, "label": LABEL}, {"x": [1.0, 2.0], "label": at})
        for name, at in (("test", [-1, -1]), ("validation", [0, 1]))
    }
    source = windows(monkeypatch, {"x": NUMBER}, {"x": list(range(8))}, **part)
    assert len(source.test) == 2
    assert "split test not used: it has no labels" in source.notes


def test_a_sample_without_a_label_is_none_of_the_last_class(monkeypatch):
    train = Split(
        {"x": NUMBER, "label": LABEL}, {"x": list(range(8)), "label": [0, 1, -1, 0, 1, 0, 1, 0]}
    )
    install(monkeypatch, {"train": train})
    with pytest.raises(ConfigError, match="no label"):
        sources.load("hub:x")


def test_a_dataset_of_the_library_itself(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    numbers = datasets.List(datasets.Value("float32"))
    features = datasets.Features(
        {
            "bpm": datasets.Value("float32"),
            "wave": numbers,
            "label": datasets.ClassLabel(names=["rest", "run"]),
        }
    )
    rows = {
        "bpm": [60.0 + row for row in range(8)],
        "wave": [[float(row), 1, 2, 3] for row in range(8)],
        "label": [0, 1] * 4,
    }
    made = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration: made)
    source = sources.load("hub:w")
    assert source.train.shape == (1, 4)
    assert source.classes == ("rest", "run")
    assert "columns not used: bpm" in source.notes
