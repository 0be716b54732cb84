"""Documents: every kind of file that holds text, and what is said about one that does not."""

import json
import sys
import types
from pathlib import Path

import pytest

from distilfleet.core.errors import ConfigError
from distilfleet.data import formats
from distilfleet.data import stdlib_text as library
from distilfleet.data.documents import read
from distilfleet.data.text_files import Names

NONE = Names()


def file(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def seen(corpus):
    return [(one.text, one.label, one.owner) for one in corpus.train]


# --- files ----------------------------------------------------------------------------------------


def test_a_text_file_is_one_document(tmp_path):
    assert seen(read(file(tmp_path, "a.txt", "one\n\ntwo\n"), NONE)) == [("one\n\ntwo", None, None)]


def test_a_mark_parts_documents(tmp_path):
    corpus = read(file(tmp_path, "a.txt", "one\n<|endoftext|>\ntwo\n<|endoftext|>\n"), NONE)
    assert [one.text for one in corpus.train] == ["one", "two"]
    assert corpus.notes == ("3 documents, parted by <|endoftext|>", "1 blank documents dropped")


def test_a_folder_has_a_document_per_file_by_name(tmp_path):
    (tmp_path / "inner").mkdir()
    for name, content in (
        ("b.txt", "bee"),
        ("a.py", "a = 1"),
        ("inner/c.md", "sea"),
        ("d.png", "no text"),
    ):
        file(tmp_path, name, content)
    assert [one.text for one in read(str(tmp_path), NONE).train] == ["a = 1", "bee", "sea"]


def test_lines_of_json(tmp_path):
    path = file(
        tmp_path,
        "a.jsonl",
        '{"text": "one", "label": "x"}\n\n{"text": "two", "label": 3, "more": [1]}\n',
    )
    assert seen(read(path, NONE)) == [("one", "x", None), ("two", "3", None)]


def test_lines_of_json_with_named_columns(tmp_path):
    path = file(tmp_path, "a.jsonl", '{"utterance": "one", "kind": "x", "who": 7}')
    assert seen(read(path, Names(label="kind", group="who"))) == [("one", "x", "7")]


def test_a_list_of_instructions(tmp_path):
    entries = [
        {"instruction": "Add.", "input": "1 1", "output": "2"},
        {"instruction": "Hi", "input": "", "output": "Ho"},
    ]
    path = file(tmp_path, "a.json", json.dumps(entries))
    assert [one.text for one in read(path, NONE).train] == ["Add.\n1 1\n2", "Hi\nHo"]


def test_parts_of_labelled_utterances(tmp_path):
    parts = {
        "train": [["one", "x"]],
        "oos_train": [["two", "oos"]],
        "val": [["no", "x"]],
        "test": [["three", "x"]],
    }
    corpus = read(file(tmp_path, "a.json", json.dumps(parts)), NONE)
    assert seen(corpus) == [("one", "x", None), ("two", "oos", None)]
    assert [one.text for one in corpus.test] == ["three"]


UNLABELLED = {
    "a.csv": "text,label\none,x\ntwo,{}\nthree,y\n",
    "a.jsonl": '{{"text": "one", "label": "x"}}\n{{"text": "two", "label": "{}"}}\n{{"text": '
    '"three", "label": "y"}}\n',
    "a.json": '{{"train": [["one", "x"], ["two", "{}"], ["three", "y"]]}}',
}


@pytest.mark.parametrize("name", UNLABELLED)
@pytest.mark.parametrize("mark", ["", "NA", "nan", "NULL", "?", "n/a", "-", "None"])
def test_a_text_without_a_label_is_no_class_of_its_own(tmp_path, name, mark):
    path = file(tmp_path, name, UNLABELLED[name].format(mark))
    with pytest.raises(ConfigError, match=r"(line [23]|entry 2) has no label.*--missing drop"):
        read(path, NONE)
    dropped = read(path, Names(missing="drop"))
    assert [one.label for one in dropped.train] == ["x", "y"]
    assert dropped.notes[-1] == f"{path}: 1 documents without a label dropped"
    assert [one.label for one in read(path, Names(missing="class")).train] == ["x", mark, "y"]


def test_null_is_a_missing_label(tmp_path):
    path = file(tmp_path, "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n')
    with pytest.raises(ConfigError, match="line 2 has no label"):
        read(path, NONE)


SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\x7f"


@pytest.mark.parametrize("mark", SEPARATORS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_only_a_newline_ends_a_line_of_json(tmp_path, mark, ends):
    written = mark if mark > " " else f"\\u{ord(mark):04x}"
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        ends.join(
            f'{{"text": "one{written}{row}", "label": "a{written}b"}}' for row in range(3)
        ).encode()
    )
    assert seen(read(str(path), NONE)) == [
        (f"one{mark}{row}", f"a{mark}b", None) for row in range(3)
    ]


@pytest.mark.parametrize("mark", SEPARATORS)
def test_marks_inside_other_texts_stay(tmp_path, mark):
    assert seen(read(file(tmp_path, "a.txt", f"one{mark}two"), NONE)) == [
        (f"one{mark}two", None, None)
    ]
    assert seen(read(file(tmp_path, "a.csv", f'text,label\n"one{mark}two",x\n'), NONE)) == [
        (f"one{mark}two", "x", None)
    ]
    content = json.dumps([{"text": f"one{mark}two"}], ensure_ascii=False)
    assert seen(read(file(tmp_path, "a.json", content), NONE)) == [(f"one{mark}two", None, None)]


def test_ends_of_lines_of_every_system_are_one(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert seen(read(str(tmp_path / "a.txt"), NONE)) == [("one\ntwo\nthree", None, None)]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    (tmp_path / ".git").mkdir()
    file(tmp_path, "a.txt", "one")
    file(tmp_path / ".git", "b.txt", "no")
    (tmp_path / "._a.txt").write_bytes(b"\xff\xfe\x00")
    assert [one.text for one in read(str(tmp_path), NONE).train] == ["one"]


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", f'{{"text": {NESTED}}}', "a.jsonl: line 1: maximum recursion depth"),
        (
            "a.jsonl",
            f'{{"text": "a"}}\n{{"text": "b", "more": {NESTED}}}',
            "a.jsonl: line 2: maximum recursion depth",
        ),
        ("a.json", NESTED, "a.json: maximum recursion depth"),
        ("a.json", f'[{{"text": "a", "more": {NESTED}}}]', "a.json: .*maximum recursion depth"),
        ("a.jsonl", '{"text": "a", "label": 1e999}', "line 1: Number out of range"),
        (
            "a.jsonl",
            '{"text": "a", "label": %s}' % ("9" * 5000),
            "line 1: Integer value out of range",
        ),
        ("a.jsonl", '{"text": "a\\ud800"}', "line 1: (JSON is malformed|Input data was truncated)"),
        ("a.jsonl", '{"text": 5}', "line 1: Expected `str`, got `int`"),
        ("a.jsonl", "[1, 2]", "line 1: Expected `object`, got `array`"),
    ],
)
def test_json_that_is_no_text_is_refused_with_its_place(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message):
        read(file(tmp_path, name, content), NONE)


@pytest.mark.parametrize(("ending", "mark"), [(".csv", ","), (".tsv", "\t")])
def test_tables(tmp_path, ending, mark):
    rows = [["Text", "Category", "group"], ["one", "x", "ann"], ["two", "y", "bob"]]
    path = file(tmp_path, f"a{ending}", "\n".join(mark.join(row) for row in rows))
    assert seen(read(path, NONE)) == [("one", "x", "ann"), ("two", "y", "bob")]
    assert read(path, NONE).notes == (
        "text from 'Text', labels from 'Category', owners from 'group'",
    )


# --- the standard library -------------------------------------------------------------------------


def test_the_sample_of_the_standard_library_is_bounded_and_the_same_each_time():
    texts, note = library.sample(100_000)
    assert 50_000 < sum(map(len, texts)) <= 100_000
    assert library.sample(100_000) == (texts, note)
    assert (
        f"{len(texts)} sources of the standard library of Python {sys.version_info.major}." in note
    )


def test_a_larger_sample_has_more_of_the_same():
    small, large = library.sample(100_000)[0], library.sample(400_000)[0]
    assert len(set(small) & set(large)) > len(small) / 2


def test_tests_and_odd_encodings_are_left_out(tmp_path, monkeypatch):
    for name, content in (
        ("b.py", b"b"),
        ("a.py", b"a"),
        ("test_a.py", b"t"),
        ("test/c.py", b"c"),
        ("latin.py", b"\xe9"),
        ("site-packages/d.py", b"d"),
        ("large.py", b"x" * 200_000),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(library.sysconfig, "get_path", lambda name: str(tmp_path))
    assert library.sample()[0] == ["a", "b"]
    monkeypatch.setattr(
        library.sysconfig, "get_path", lambda name: str(tmp_path / "site-packages" / "none")
    )
    with pytest.raises(ConfigError, match="no sources of the standard library here: give --data"):
        read("stdlib", NONE)


# --- hub ------------------------------------------------------------------------------------------


class Split(dict):
    """What `datasets` gives for one split: columns by name, and their features."""

    def __init__(self, columns, **features):
        super().__init__(columns)
        self.features = {name: features.get(name) for name in columns}


def install(monkeypatch, answer):
    def load_dataset(name, configuration):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_a_dataset_of_the_hub(monkeypatch):
    kinds = types.SimpleNamespace(names=["bad", "good"])
    train = Split({"sentence": ["one", "two"], "label": [1, 0]}, label=kinds)
    install(monkeypatch, {"train": train, "validation": Split({"text": ["three"]})})
    corpus = read("hub:someone/reviews:small", NONE)
    assert seen(corpus) == [("one", "good", None), ("two", "bad", None)]
    assert [one.text for one in corpus.test] == ["three"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (FileNotFoundError("no such dataset"), "hub:x: cannot be loaded"),
        ({"test": Split({})}, "no split 'train'; it has test"),
        (
            {"train": Split({"image": []})},
            "no column of text; expected one called text, .* it has image",
        ),
    ],
)
def test_hub_problems_are_named(monkeypatch, answer, message):
    install(monkeypatch, answer)
    with pytest.raises(ConfigError, match=message):
        read("hub:x", NONE)


def test_hub_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'distilfleet\[hub\]'"):
        read("hub:x", NONE)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", " \n\n", "no text; expected at least one document"),
        ("a.png", "x", r"files that end in '.png' are no text; expected .txt, .jsonl"),
        (
            "a.jsonl",
            '{"text": "a"}\nnonsense\n',
            r'line 2: JSON is malformed: .*; expected an object such as {"text"',
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": 3}\n',
            "line 2: Expected `str`, got `int`; expected an object",
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n{"body": "b"}\n',
            "line 2: no 'text' in it; expected an object",
        ),
        ("a.jsonl", '{"text": "a"}\n[1]\n', "line 2: Expected `object`, got `array`"),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b"}\n',
            "line 2 has no label; expected one in every row",
        ),
        ("a.json", '[{"text": "a"}, {"output": "b"}]', "entry 2: no 'text' in it"),
        ("a.json", '{"a": 1}', "expected a list of objects, or an object of parts"),
        ("a.json", '{"test": [["a", "b"]]}', "no part 'train'; it has test"),
        (
            "a.csv",
            "words,label\none,x\n",
            "no column of text; expected one called text, .*, it has words, label",
        ),
        ("a.csv", "text,label\none,x\ntwo\n", "line 3 has 1 fields; expected 2"),
    ],
)
def test_files_that_are_no_text(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message):
        read(file(tmp_path, name, content), NONE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (Names(label="kind"), "no column 'kind' for the labels; it has text, label"),
        (Names(group="who"), "no column 'who' for the owners; it has text, label"),
    ],
)
def test_columns_that_are_not_there(tmp_path, names, message):
    with pytest.raises(ConfigError, match=message):
        read(file(tmp_path, "a.csv", "text,label\none,x\n"), names)


def test_what_is_not_there_and_what_is_not_utf8(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no such file or folder; expected .txt, .* or a name: stdlib, hub:NAME"
    ):
        read(str(tmp_path / "none.txt"), NONE)
    with pytest.raises(
        ConfigError, match=r"no text in this folder; expected files that end in .txt, .md, .py"
    ):
        read(str(tmp_path), NONE)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read(str(tmp_path / "a.txt"), NONE)


@pytest.mark.parametrize("readers", [formats.SAMPLES, formats.INPUTS, formats.DOCUMENTS])
def test_every_ending_that_a_message_names_can_be_read(readers):
    words = formats.kinds(readers).replace(",", " ").split()
    for ending in (word for word in words if word.startswith(".")):
        assert any(reader.holds(Path(f"a{ending}")) for reader in readers), ending


def test_a_separator_is_refused_for_what_is_no_table(tmp_path):
    file(tmp_path, "a.txt", "some words")
    for data in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(ConfigError, match="--separator is for tables: leave it out"):
            read(str(data), Names(separator="comma"))


# --- what people write ----------------------------------------------------------------------------


def test_keys_of_json_go_in_any_case_and_those_that_are_not_used_are_named(tmp_path):
    entry = json.dumps({"Text": "one", "LABEL": "x", "Group": "ann", "intent": "on", "score": 1})
    corpus = read(file(tmp_path, "a.jsonl", entry), NONE)
    assert seen(corpus) == [("one", "x", "ann")]
    assert corpus.notes == ("not used: 'intent', 'score'",)
    assert seen(read(file(tmp_path, "a.jsonl", entry), Names(label="Intent"))) == [
        ("one", "on", "ann")
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\n\xa0\n"])
def test_lines_of_json_end_in_any_way_of_writing(end, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        end.join(['{"text": "one"}', '{"text": "two"}', ""]).encode()
    )
    assert [one.text for one in read(str(tmp_path / "a.jsonl"), NONE).train] == ["one", "two"]


@pytest.mark.parametrize(
    ("label", "name"), [("true", "true"), ("1.0", "1.0"), ("7", "7"), ('"True"', "True")]
)
def test_labels_of_json_keep_their_spelling(label, name, tmp_path):
    assert seen(read(file(tmp_path, "a.jsonl", f'{{"text": "one", "label": {label}}}'), NONE)) == [
        ("one", name, None)
    ]


def test_a_label_that_is_no_class_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"line 1: 0.5 where a class or owner is expected"):
        read(file(tmp_path, "a.jsonl", '{"text": "one", "label": 0.5}'), NONE)


@pytest.mark.parametrize("blank", ["null", '""', '"NA"', '"?"'])
def test_texts_without_an_owner_belong_to_one(blank, tmp_path):
    lines = f'{{"text": "one", "group": "ann"}}\n{{"text": "two", "group": {blank}}}\n'
    corpus = read(file(tmp_path, "a.jsonl", lines), NONE)
    assert [one.owner for one in corpus.train] == ["ann", "unknown"]
    assert "1 documents have a blank group and belong to 'unknown'" in corpus.notes


def test_text_may_be_utf_16_with_its_mark(tmp_path):
    for name, content in (("a.txt", "caf\xe9"), ("a.jsonl", '{"text": "caf\xe9"}')):
        (tmp_path / name).write_bytes(content.encode("utf-16"))
        assert [one.text for one in read(str(tmp_path / name), NONE).train] == ["caf\xe9"]


def test_parts_in_any_case_and_what_is_no_part(tmp_path):
    parts = {"Train": [["one", "x"], ["two", None]], "val": [["no", "x"]]}
    path = file(tmp_path, "a.json", json.dumps(parts))
    with pytest.raises(ConfigError, match=r"part 'Train', entry 2 has no label"):
        read(path, NONE)
    corpus = read(path, Names(missing="drop"))
    assert seen(corpus) == [("one", "x", None)]
    assert corpus.notes[:2] == ("parts Train", "not used: 'val'")


def test_columns_of_a_table_of_text_that_are_not_used_are_named(tmp_path):
    corpus = read(
        file(tmp_path, "a.csv", "text;category;label;id\none, two;c;x;1\nNA;c;y;2\n"), NONE
    )
    assert seen(corpus) == [("one, two", "x", None), ("NA", "y", None)]
    assert "not used: 'category', 'id'" in corpus.notes
    assert "fields parted by ';'" in corpus.notes
    assert "1 documents are but a mark such as 'NA': taken as text" in corpus.notes
