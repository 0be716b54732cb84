"""Text sources: documents to windows of ids, owners, a test part, and clear words for whatever is
wrong."""

import json

import numpy as np
import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.data import text, windows
from distilfleet.data.text import Wanted

STORY = "".join(
    f"Line {number} of a story about {'a dog' if number % 3 else 'a cat'}.\n"
    for number in range(400)
)
BYTES = Wanted(context=32, devices=4, tokenizer="bytes")


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(STORY)
    return str(path)


def wanted(**changes):
    return Wanted(**{"context": 32, "devices": 4, "tokenizer": "bytes", **changes})


def folder_of(tmp_path, documents):
    for name, content in documents.items():
        (tmp_path / name).write_text(content)
    return str(tmp_path)


def decoded(source, ids):
    return source.tokenizer.decode(np.asarray(ids).ravel())


# --- streams --------------------------------------------------------------------------------------


def test_a_text_file_becomes_full_windows_in_order(story):
    source = text.load(story, BYTES)
    assert source.train.ids_NT.dtype == np.int32
    assert source.train.ids_NT.shape[1] == 32
    assert (source.train.lengths_N == 32).all()
    assert STORY.startswith(decoded(source, source.train.ids_NT))
    assert source.train.labels_N is None and source.classes == ()


def test_the_end_of_a_text_is_held_out_from_the_start_of_a_line(story):
    source = text.load(story, BYTES)
    held = decoded(source, source.test.ids_NT)
    assert held.startswith("Line ") and held in STORY
    assert source.test.tokens == pytest.approx(0.1 * len(STORY), rel=0.1)
    assert "the last 10 % of the text" in " ".join(source.notes)


def test_every_window_has_one_owner_and_owners_have_runs(story):
    source = text.load(story, BYTES)
    assert np.array_equal(np.concatenate(source.rows), np.arange(len(source.train)))
    assert {len(rows) for rows in source.rows} <= {
        len(source.train) // 4,
        len(source.train) // 4 + 1,
    }
    assert "".join(decoded(source, source.data(device).ids_NT) for device in range(4)) == decoded(
        source, source.train.ids_NT
    )


def test_devices_own_whole_documents_where_there_are_enough(tmp_path):
    where = folder_of(
        tmp_path, {f"{number:02d}.txt": chr(97 + number % 26) * 200 for number in range(40)}
    )
    source = text.load(where, BYTES)
    owners = [set(decoded(source, source.data(device).ids_NT)) for device in range(4)]
    assert sum(map(len, owners)) >= len(set.union(*owners))
    assert all(len(letters) < 15 for letters in owners)
    assert "whole documents" in source.partition
    assert "4 documents" in " ".join(source.notes)


def test_a_separator_goes_before_each_document(tmp_path):
    where = folder_of(tmp_path, {"a.txt": "a" * 50, "b.txt": "b" * 50})
    source = text.load(where, wanted(devices=1, context=8))
    ids = source.train.ids_NT.ravel()
    assert ids[0] == source.tokenizer.separator == 256
    assert (ids == 256).sum() == 2


def test_the_same_seed_gives_the_same_windows(tmp_path):
    where = folder_of(
        tmp_path, {f"{number:02d}.txt": f"document {number} " * 20 for number in range(30)}
    )
    one, two, other = (text.load(where, wanted(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.train.ids_NT, two.train.ids_NT)
    assert not np.array_equal(one.test.ids_NT, other.test.ids_NT)


def test_owners_that_the_file_names_have_their_own_texts(tmp_path):
    path = tmp_path / "said.jsonl"
    lines = [
        {"text": f"{who} says {number} " * 5, "user": who}
        for number in range(30)
        for who in ("ann", "bob")
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    source = text.load(str(path), wanted(group="user", devices=7))
    assert source.owners == ("ann", "bob")
    assert "bob" not in decoded(source, source.data(0).ids_NT)
    assert "ann" not in decoded(source, source.data(1).ids_NT)


def test_a_column_called_group_names_owners_unasked(tmp_path):
    path = tmp_path / "said.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": f"say {n} " * 9, "group": n % 3}) for n in range(60))
    )
    source = text.load(str(path), wanted())
    assert source.owners == ("0", "1", "2") and len(source.rows) == 3
    assert source.partition == "one device per owner, 3 owners"


def test_an_owner_with_less_than_a_window_keeps_it_padded(tmp_path):
    path = tmp_path / "said.csv"
    rows = ["text,user", *(f"a long sentence to fill windows {number},ann" for number in range(40))]
    path.write_text("\n".join([*rows, *["hi,bob"] * 5]))
    source = text.load(str(path), wanted(group="user"))
    assert source.owners == ("ann", "bob")
    assert (source.data(0).lengths_N == 32).all()
    (length,) = source.data(1).lengths_N
    assert 2 < length < 32
    assert decoded(source, source.data(1).ids_NT[0]) == "hi" * (length // 3)


# --- windows --------------------------------------------------------------------------------------


def test_windows_survive_the_trip_through_a_dataset():
    cut = windows.one_each([np.array([5, 6], np.int32), np.arange(9, dtype=np.int32)], 4, padding=7)
    assert cut.ids_NT.tolist() == [[5, 6, 7, 7], [0, 1, 2, 3]]
    data = cut.dataset()
    assert data.inputs.tolist() == [[5, 6, -1, -1], [0, 1, 2, 3]]
    back = windows.from_dataset(data, padding=7)
    assert np.array_equal(back.ids_NT, cut.ids_NT) and np.array_equal(back.lengths_N, cut.lengths_N)


# --- labelled texts -------------------------------------------------------------------------------


def intents(tmp_path, rows=12):
    path = tmp_path / "intents.csv"
    lines = [
        "text,category",
        *(f"{'turn it on' if n % 2 else 'what time, please'} {n},c{n % 2}" for n in range(rows)),
    ]
    path.write_text("\n".join(line.replace("time, please", "time please") for line in lines))
    return str(path)


def test_a_labelled_text_is_a_padded_window_with_a_class(tmp_path):
    source = text.load(intents(tmp_path, 40), wanted())
    assert source.classes == ("c0", "c1")
    assert source.train.labels_N.dtype == np.int64
    assert len(source.train) + len(source.test) == 40
    first = source.train.ids_NT[0][source.train.mask[0]]
    assert decoded(source, first) == "what time please 0"
    assert source.train.lengths_N[0] == len(first) < 32


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.5}, "--alpha: text is divided in runs"),
        ({"context": 1}, "context of 1 tokens"),
        ({"holdout": 1.0}, "holdout is 1.0; expected a share"),
        ({"devices": 0}, "0 devices"),
        ({"devices": 5000}, "windows of 32 tokens for 5000 devices; expected one each"),
        ({"context": 50_000}, "training tokens; expected at least one window of 50000"),
        ({"label": "intent"}, "--label intent names a column, which this text does not have"),
        ({"tokenizer": None, "vocabulary": 10}, "a vocabulary of 10; expected at least 257"),
        ({"tokenizer": "./nowhere"}, "nowhere: no such file or folder"),
    ],
)
def test_wishes_that_cannot_be_met_are_named(story, changes, message):
    with pytest.raises(ConfigError, match=message):
        text.load(story, wanted(**changes))


def test_a_label_column_makes_classes_of_whole_numbers_by_value(tmp_path):
    path = tmp_path / "rated.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": f"it was {n}", "label": n % 11}) for n in range(44))
    )
    source = text.load(str(path), wanted(holdout=0.25))
    assert source.classes == tuple(map(str, range(11)))
    assert len(source.test) == 11


def test_a_test_part_of_the_file_is_used(tmp_path):
    path = tmp_path / "parts.json"
    parts = {"train": [[f"say {n}", "ab"[n % 2]] for n in range(12)], "test": [["say it", "a"]]}
    path.write_text(json.dumps(parts))
    source = text.load(str(path), wanted())
    assert (len(source.train), len(source.test)) == (12, 1)
    parts["test"] = [["say it", "c"]]
    path.write_text(json.dumps(parts))
    with pytest.raises(
        ConfigError, match="the test part has class 'c', which no training sample has"
    ):
        text.load(str(path), wanted())


def test_labelled_texts_go_to_devices_in_runs_or_to_their_owners(tmp_path):
    source = text.load(intents(tmp_path, 40), wanted(devices=3))
    assert np.array_equal(np.concatenate(source.rows), np.arange(len(source.train)))
    path = tmp_path / "owned.csv"
    path.write_text(
        "text,label,who\n" + "\n".join(f"say {n},{n % 2},{'ba'[n % 3 > 0]}" for n in range(30))
    )
    source = text.load(str(path), wanted(group="who"))
    assert source.owners == ("a", "b")
    assert sum(map(len, source.rows)) == len(source.train)


def test_fewer_labelled_texts_than_devices(tmp_path):
    with pytest.raises(ConfigError, match="10 windows of 32 tokens for 11 devices"):
        text.load(intents(tmp_path, 12), wanted(devices=11))


# --- identity -------------------------------------------------------------------------------------


def test_a_text_that_changed_has_another_digest(tmp_path, story):
    one, two = text.load(story, BYTES), text.load(story, BYTES)
    assert one.digest == two.digest
    (tmp_path / "other.txt").write_text(STORY.replace("cat", "cow"))
    assert text.load(str(tmp_path / "other.txt"), BYTES).digest != one.digest
    assert text.load(story, wanted(context=33)).digest != one.digest


def test_a_trained_tokenizer_sees_the_training_part_alone(tmp_path):
    path = tmp_path / "split.txt"
    train, test = (
        "".join(f"train {n}\n" for n in range(500)),
        "zebra zebra zebra zebra zebra zebra\n" * 10,
    )
    path.write_text(train + test)
    source = text.load(
        str(path), wanted(tokenizer=None, vocabulary=300, holdout=len(test) / len(train + test))
    )
    assert len(source.tokenizer.encode(["train"])[0]) == 1
    assert len(source.tokenizer.encode(["zebra"])[0]) > 3


def test_the_embedded_text_needs_no_file():
    source = text.load("stdlib", Wanted(tokenizer="bytes"))
    assert len(source.rows) == 8 and min(map(len, source.rows)) > 100
    assert "def " in decoded(source, source.data(3).ids_NT)
    assert not {row.tobytes() for row in source.test.ids_NT} & {
        row.tobytes() for row in source.train.ids_NT[:2000]
    }


# --- what Wanted cannot see -----------------------------------------------------------------------


def test_a_holdout_that_leaves_nothing_to_predict(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("x" * 64)
    with pytest.raises(
        ConfigError, match="the test part has no text to predict; expected some: raise --holdout"
    ):
        text.load(str(path), wanted(holdout=0.001, devices=1))


def test_owners_of_whom_nothing_is_left_are_named_and_are_no_devices(tmp_path):
    long = "a quick fox jumps over a lazy dog and runs away " * 8
    rows = [f'{{"text": "{long}{n}", "group": "{"ab"[n % 2]}"}}' for n in range(30)]
    rare = [f'{{"text": "{long}", "group": "rare{n}"}}' for n in range(9)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*rows, *rare, ""]))
    source = text.load(str(path), wanted(holdout=0.4))
    lost = [f"rare{n}" for n in range(9) if f"rare{n}" not in source.owners]
    assert 0 < len(lost) < 9
    said = (
        f"{len(lost)} owners have no device, for too little of theirs is not held out: "
        f"{', '.join(lost)}"
    )
    assert said in source.notes
    assert all(len(rows) for rows in source.rows)


def test_whole_documents_begin_a_window_each_and_long_ones_go_on():
    documents = [np.arange(1, 4), np.arange(10, 19), np.arange(20, 25), np.array([30])]
    cut = windows.whole([ids.astype(np.int32) for ids in documents], 4, 0)
    assert cut.ids_NT.tolist() == [
        [1, 2, 3, 0],
        [10, 11, 12, 13],
        [14, 15, 16, 17],
        [20, 21, 22, 23],
    ]
    assert cut.lengths_N.tolist() == [3, 4, 4, 4]
    assert windows.whole([], 4, 0).ids_NT.shape == (0, 4)
