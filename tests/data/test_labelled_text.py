"""Texts to be classified, from every kind of file that has them, and what is said of each."""

import json

import numpy as np
import pytest

from cli_runs import told
from distilfleet.core.errors import ConfigError, UnmatchedError
from distilfleet.data import own, proxy, sources
from distilfleet.data.labelled_text import packed, unpacked
from distilfleet.data.naming import Naming
from distilfleet.data.reading import Reading
from distilfleet.data.words import Words

SAID = [
    (f"{'turn on the light' if n % 2 else 'play me a song'}, take {n}", "ab"[n % 2])
    for n in range(24)
]
TEXTS = [text for text, _ in SAID]


def table(path, rows=SAID, header="said,label"):
    lines = [f'"{text}",{label}' for text, label in rows]
    path.write_text("\n".join([header, *lines, ""]))
    return str(path)


def entries(path, rows=SAID, text="text"):
    path.write_text("".join(json.dumps({text: t, "label": k}) + "\n" for t, k in rows))
    return str(path)


def folder(path, rows=SAID):
    for number, (text, label) in enumerate(rows):
        (path / label).mkdir(parents=True, exist_ok=True)
        (path / label / f"{number:03}.txt").write_text(text)
    return str(path)


def load(data, **asked):
    reading = Reading(**{name: asked.pop(name) for name in ("text", "missing") if name in asked})
    return sources.load(data, reading=reading, **asked)


def refused(data, *parts, **asked):
    with pytest.raises(ConfigError) as caught:
        load(str(data), **asked)
    for part in parts:
        assert part in str(caught.value)


# --- kinds of files -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [table, entries, folder])
def test_all_kinds_give_the_same_numbers_and_classes(tmp_path, make):
    source = load(make(tmp_path / f"said{'.csv' if make is table else '.jsonl'}"))
    assert source.is_text
    assert source.classes == ("a", "b")
    assert source.train.inputs.dtype == np.int32
    assert len(source.train) + len(source.test) == len(SAID)
    numbers = {row.tobytes() for row in source.scaling.apply(np.array(TEXTS, object))}
    assert {row.tobytes() for part in (source.train, source.test) for row in part.inputs} == numbers
    assert any("hashed words" in note for note in source.notes)


def test_a_list_of_objects_and_a_file_in_the_form_of_clinc150_are_read(tmp_path):
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([{"text": t, "label": k} for t, k in SAID]))
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps({"train": SAID, "test": SAID[:4], "oos_val": []}))
    assert load(str(listed)).classes == ("a", "b")
    source = load(str(parts))
    assert (len(source.train), len(source.test)) == (24, 4)


def test_a_folder_with_parts_is_taken_with_its_test_part(tmp_path):
    folder(tmp_path / "said" / "train")
    folder(tmp_path / "said" / "test", SAID[:6])
    (tmp_path / "said" / "train" / "a" / "notes.pdf").write_text("")
    source = load(str(tmp_path / "said"))
    assert (len(source.train), len(source.test)) == (24, 6)
    assert "1 files that are no text left aside: .pdf" in source.notes


# --- what is a text -------------------------------------------------------------------------------


def test_a_column_of_sentences_that_is_alone_is_the_text_and_this_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "\n".join(
            ["id,remark,label", *(f"{n},{t.replace(',', '')},{k}" for n, (t, k) in enumerate(SAID))]
        )
    )
    source = load(str(path))
    assert "texts from column 'remark' (else: --text; --leave-out does without it)" in source.notes
    assert "not used: 'id'" in source.notes


def test_beside_numbers_sentences_are_dropped_and_the_note_says_how_to_learn_from_them(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{n / 7:.2f},{t.replace(',', '')},{k}" for n, (t, k) in enumerate(SAID)]
    path.write_text("\n".join(["size,remark,label", *rows]))
    source = load(str(path))
    assert not source.is_text
    assert any("--text" in note for note in source.notes)
    assert load(str(path), text="remark").is_text


def test_beside_numbers_a_column_that_is_called_text_is_the_text(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{n / 7:.2f},{t.replace(',', '')},{k}" for n, (t, k) in enumerate(SAID)]
    path.write_text("\n".join(["size,Text,label", *rows]))
    source = load(str(path))
    assert source.is_text
    assert "not used: 'size'" in source.notes


def test_two_columns_of_sentences_have_to_be_told_apart(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{t.replace(',', '')},{t.replace(',', '')} please,{k}" for t, k in SAID]
    path.write_text("\n".join(["asked,answered,label", *rows]))
    refused(path, "'asked', 'answered'", "--text")
    assert load(str(path), text="answered").columns[0].name == "answered"


def test_owners_are_taken_by_name_and_columns_like_owners_are_said(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{t.replace(',', '')},{k},u{n % 3}" for n, (t, k) in enumerate(SAID)]
    path.write_text("\n".join(["text,label,user", *rows]))
    assert any("'user'" in note and "--group" in note for note in load(str(path)).notes)
    assert load(str(path), group="user").owners == {"u0", "u1", "u2"}


# --- what is wrong --------------------------------------------------------------------------------


def test_a_blank_text_is_refused_with_its_line_or_dropped_and_said(tmp_path):
    rows = [*SAID[:5], ("  ", "a"), *SAID[5:]]
    refused(table(tmp_path / "a.csv", rows, "text,label"), "line 7", "'text'", "--missing drop")
    refused(entries(tmp_path / "a.jsonl", rows), "line 6", "no text", "--missing drop")
    source = load(entries(tmp_path / "a.jsonl", rows), missing="drop")
    assert any(note.startswith("1 of 25 left out: no text") for note in source.notes)
    folder(tmp_path / "said")
    (tmp_path / "said" / "a" / "blank.txt").write_text("\n")
    refused(tmp_path / "said", "blank.txt", "no text")


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ({"text": "sentence"}, ("line 1", "no 'sentence' in it")),
        ({"label": "intent"}, ("texts without labels", "'intent'")),
        ({"group": "who"}, ("'who'", "--group")),
    ],
)
def test_keys_that_no_entry_has_are_named(tmp_path, asked, parts):
    refused(entries(tmp_path / "a.jsonl"), *parts, **asked)


def test_a_text_column_that_is_the_label_is_refused(tmp_path):
    refused(table(tmp_path / "a.csv"), "--text label", text="label")


# --- a test part of its own -----------------------------------------------------------------------


def test_a_test_file_of_another_kind_is_tested_on_with_classes_by_name(tmp_path):
    data = table(tmp_path / "a.csv")
    test = entries(tmp_path / "b.jsonl", [*SAID[:3], ("a song again", "a")], text="said")
    source = load(data, test=test)
    assert (len(source.train), len(source.test)) == (24, 4)
    assert source.test.labels.tolist() == [0, 1, 0, 0]
    assert f"test part from {test}" in source.notes


def test_a_test_file_of_numbers_has_its_columns_by_name(tmp_path):
    (tmp_path / "a.csv").write_text(
        "\n".join(["x,y,label", *(f"{n},{-n},{n % 2}" for n in range(20))])
    )
    (tmp_path / "b.csv").write_text(
        "\n".join(["label,y,x", *(f"{n % 2},{-n},{n}" for n in range(4))])
    )
    source = load(str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv"))
    assert np.allclose(source.test.inputs, source.train.inputs[:4])


def test_numbers_of_named_classes_are_matched_by_their_names(tmp_path):
    x = np.arange(12.0).reshape(6, 2)
    np.savez(tmp_path / "a.npz", x=x, y=[0, 1, 0, 1, 0, 1], class_names=["cat", "dog"])
    np.savez(tmp_path / "b.npz", x=x[:4], y=[0, 1, 1, 1], class_names=["dog", "cat"])
    source = load(str(tmp_path / "a.npz"), test=str(tmp_path / "b.npz"))
    assert source.test.labels.tolist() == [1, 0, 0, 0]


def test_a_test_file_that_does_not_match_is_refused_with_the_reason(tmp_path):
    data = table(tmp_path / "a.csv")
    other = table(tmp_path / "b.csv", [("play it", "c"), ("stop it", "a")])
    refused(data, "'c'", "test part", test=other)
    numbers = tmp_path / "n.csv"
    numbers.write_text("\n".join(["x,label", *(f"{n},{'ab'[n % 2]}" for n in range(9))]))
    refused(numbers, "texts", "numbers", test=entries(tmp_path / "c.jsonl"))
    both = tmp_path / "both.json"
    both.write_text(json.dumps({"train": SAID, "test": SAID[:4]}))
    refused(both, "a test part already", test=data)


# --- proxies, devices, parts ----------------------------------------------------------------------


def test_a_proxy_of_lines_entries_rows_or_files_is_taken_without_labels(tmp_path):
    source = load(table(tmp_path / "a.csv"))
    (tmp_path / "p.txt").write_text("play a song\n\nturn it off\n")
    wanted = source.scaling.apply(np.array(["play a song", "turn it off"], object))
    made = [tmp_path / "p.txt"]
    rows = [("play a song", "a"), ("turn it off", "b")]
    made += [table(tmp_path / "p.csv", rows), entries(tmp_path / "p.jsonl", rows)]
    (tmp_path / "folder").mkdir()
    for number, (text, _) in enumerate(rows):
        (tmp_path / "folder" / f"{number}.txt").write_text(text)
    for path in [*made, tmp_path / "folder"]:
        held = proxy.from_path(str(path), source)
        assert held.labels is None
        assert np.array_equal(held.inputs, wanted)
    with pytest.raises(ConfigError, match="hold no texts"):
        (tmp_path / "p.png").write_text("")
        proxy.from_path(str(tmp_path / "p.png"), source)


def test_the_large_model_has_its_own_inputs_in_every_part(tmp_path):
    def lengths(texts):
        return np.array([[len(text), -1] for text in texts], np.int32)

    source = load(table(tmp_path / "a.csv")).for_large(lengths)
    private, _, held_out = proxy.hold_out(source.train, None, 0.25, np.random.default_rng(0))
    for part in (source.train, source.test, private, held_out):
        assert part.for_large.inputs.shape == (len(part), 2)
        assert (part.for_large.inputs[:, 0] > 0).all()
    (tmp_path / "p.txt").write_text("four\nsix...\n")
    made = proxy.from_path(str(tmp_path / "p.txt"), source)
    assert made.for_large.inputs[:, 0].tolist() == [4, 6]


@pytest.mark.parametrize("make", [table, entries, folder])
def test_a_device_maps_its_own_texts_onto_the_runs(tmp_path, make):
    spec = load(table(tmp_path / "run.csv")).spec(None)
    mine = [("SONG please, turn it up", "b"), ("the light", "a")]
    named = {} if make is folder else {"text": "said"}
    path = make(
        tmp_path / f"mine{'.csv' if make is table else '.jsonl'}",
        mine,
        **({"text": "said"} if make is entries else {}),
    )
    mapped = own.read(path, Naming(reading=Reading(**named))).mapped(spec)
    expected = Words(length=spec.shape[0]).apply(np.array([text for text, _ in mine], object))
    order = np.argsort(mapped.data.labels)[::-1]
    assert np.array_equal(mapped.data.inputs[order], expected)
    assert mapped.data.labels[order].tolist() == [1, 0]


def test_a_split_of_texts_is_written_through_the_command_line(tmp_path, capfd):
    data, test = table(tmp_path / "a.csv"), table(tmp_path / "b.csv", SAID[:5])
    out = tmp_path / "parts"
    words = ["--text", "said", "--test", test, "--devices", "2", "--out", out]
    said = told(capfd, "split", data, *words)
    assert said.code == 0, said.err
    spec = load(data).spec(None)
    parts = [own.read(str(out / f"device-{n}.npz"), Naming()).mapped(spec).data for n in (0, 1)]
    assert sum(map(len, parts)) + len(np.load(out / "proxy.npz")["prepared_x"]) == len(SAID)
    assert len(sources.load(str(out / "server.npz")).test) == 5


def test_a_device_is_told_what_does_not_match(tmp_path):
    spec = load(table(tmp_path / "run.csv")).spec(None)
    other = table(tmp_path / "b.csv", [("play it", "c"), ("stop it", "a")])
    with pytest.raises(UnmatchedError, match=r"'c'.*--rename-class"):
        own.read(other, Naming()).mapped(spec)
    renamed = own.read(other, Naming(classes={"c": "b"})).mapped(spec)
    assert renamed.data.labels.tolist() == [1, 0]
    (tmp_path / "c.csv").write_text("words,label\nplay it,a\nstop it,b\n")
    with pytest.raises(UnmatchedError, match=r"no column 'said'.*--text"):
        own.read(str(tmp_path / "c.csv"), Naming()).mapped(spec)
    (tmp_path / "n.csv").write_text(
        "\n".join(["x,label", *(f"{n},{'ab'[n % 2]}" for n in range(9))])
    )
    numbers = load(str(tmp_path / "n.csv")).spec(None)
    with pytest.raises(UnmatchedError, match="texts; the run's samples are rows of a table"):
        own.read(entries(tmp_path / "d.jsonl"), Naming()).mapped(numbers)


def test_texts_are_packed_into_plain_numbers_and_back():
    texts = np.array(["", "naïve", "我", "a\nb"], object)
    assert unpacked(*packed(texts)).tolist() == texts.tolist()
