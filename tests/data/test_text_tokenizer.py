"""Tokenizers: trained, of models, of bytes; each tells who it is, and gives every text back."""

import json
import struct
import sys
import time
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilfleet.core.errors import ConfigError
from distilfleet.data import tokenizer

TEXTS = [
    f"The {animal} sat on the {place} and said: naïve, 漢字!\n"
    for animal in ("cat", "dog")
    for place in "abc"
] * 4
ODD = "tabs\t, new\nlines, ünïcödé 漢字 🙂 and  spaces "


@pytest.fixture(scope="module")
def trained():
    return tokenizer.train(TEXTS, 270)


def ids_of(made, text):
    (ids,) = made.encode([text])
    return ids


# --- trained --------------------------------------------------------------------------------------


def test_training_gives_as_many_entries_as_wanted(trained):
    assert trained.vocabulary == 270
    assert trained.separator == 0
    assert ids_of(trained, TEXTS[0]).dtype == np.int32
    assert ids_of(trained, TEXTS[0]).max() < 270
    assert len(ids_of(trained, TEXTS[0])) < len(TEXTS[0].encode()) / 1.5


def test_training_twice_gives_the_same(trained):
    assert tokenizer.train(iter(TEXTS), 270).digest == trained.digest
    assert tokenizer.train(TEXTS, 271).digest != trained.digest


@settings(deadline=None)
@given(st.text(max_size=50).filter(lambda text: "<|" not in text))
def test_no_text_is_unknown(text):
    for made in (tokenizer.train(TEXTS, 270), tokenizer.plain_bytes()):
        assert made.decode(ids_of(made, text)) == text


def test_a_stored_tokenizer_is_the_same(trained):
    for made in (trained, tokenizer.plain_bytes()):
        again = tokenizer.restore(made.data)
        assert (again.digest, again.vocabulary, again.separator) == (
            made.digest,
            made.vocabulary,
            made.separator,
        )
        assert np.array_equal(ids_of(again, ODD), ids_of(made, ODD))


def test_bytes_are_bytes():
    made = tokenizer.choose("bytes", [], 0)
    assert ids_of(made, "aé").tolist() == [97, 195, 169]
    assert (made.vocabulary, made.separator, made.padding) == (257, 256, 256)


def test_entries_name_every_id(trained):
    for made in (trained, tokenizer.plain_bytes()):
        assert sorted(made.entries.values()) == list(range(made.vocabulary))


# --- of models ------------------------------------------------------------------------------------


def test_a_folder_of_a_model(tmp_path, trained):
    (tmp_path / "tokenizer.json").write_bytes(trained.data)
    for wanted in (tmp_path, tmp_path / "tokenizer.json"):
        assert tokenizer.choose(str(wanted), [], 0).digest == trained.digest


def test_how_a_tokenizer_pads_or_frames_is_no_part_of_who_it_is(tmp_path, trained):
    parts = json.loads(trained.data)
    parts["truncation"] = {
        "max_length": 3,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Right",
    }
    mark = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    parts["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [mark, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
        },
    }
    made = tokenizer.restore(json.dumps(parts).encode())
    assert made.digest == trained.digest
    assert ids_of(made, ODD).tolist() == ids_of(trained, ODD).tolist()
    assert len(ids_of(made, ODD)) > 3


def gpt2(folder, merges="#version: 0.2\nt h\nth e\n", names=("vocab.json", "merges.txt")):
    alphabet = sorted("abcdefghijklmnopqrstuvwxyzĠ")
    entries = [*alphabet, "th", "the", "<|endoftext|>"]
    (folder / names[0]).write_text(
        json.dumps({entry: number for number, entry in enumerate(entries)})
    )
    (folder / names[1]).write_text(merges)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("vocab.json", "merges.txt"),
        ("encoder.json", "vocab.bpe"),
        ("gpt2_encoder.json", "gpt2_vocab.bpe"),
    ],
)
def test_a_vocabulary_with_merges_beside_it(tmp_path, names):
    made = tokenizer.from_path(gpt2(tmp_path, names=names) / names[0])
    assert made.decode(ids_of(made, "the other")) == "the other"
    assert len(ids_of(made, "the other")) == 1 + len(" o") + len(["the"]) + len("r")
    assert made.separator == 29


def test_merges_of_another_vocabulary_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"line 3 is 'x yz'; expected two entries"):
        tokenizer.from_path(gpt2(tmp_path, "#version: 0.2\nt h\nx yz\n"))


def llama2c(path, pieces):
    special = [
        b"<unk>",
        b"\n<s>\n",
        b"\n</s>\n",
        *(f"<0x{number:02X}>".encode() for number in range(256)),
    ]
    entries = [(0.0, piece) for piece in special] + [
        (-float(rank), piece) for rank, piece in enumerate(pieces)
    ]
    path.write_bytes(
        struct.pack("<i", 7)
        + b"".join(struct.pack("<fi", score, len(one)) + one for score, one in entries)
    )
    return path


PIECES = [
    b"he",
    b" t",
    b" the",
    b"at",
    b" c",
    b" ",
    *(bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz"),
    b"ca",
]


def test_a_vocabulary_of_llama2c_merges_the_best_scored_first(tmp_path):
    made = tokenizer.from_path(llama2c(tmp_path / "tok.bin", PIECES))
    names = dict(enumerate(PIECES, 259))
    assert [names[one] for one in ids_of(made, "the cat hat")] == [
        b" the",
        b" c",
        b"at",
        b" ",
        b"h",
        b"at",
    ]
    assert (made.vocabulary, made.separator) == (259 + len(PIECES), 1)


def test_a_character_that_llama2c_has_not_becomes_its_bytes(tmp_path):
    made = tokenizer.from_path(llama2c(tmp_path / "tok.bin", PIECES))
    assert ids_of(made, "é").tolist() == [264, 3 + 0xC3, 3 + 0xA9]
    assert made.decode(ids_of(made, "a é\nthe")) == "a é\nthe"


# --- what is refused ------------------------------------------------------------------------------


def file(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda at: at,
            "no tokenizer in this folder; expected tokenizer.json, or vocab.json and merges.txt",
        ),
        (lambda at: file(at, "x.txt", b""), "no tokenizer; expected tokenizer.json"),
        (
            lambda at: file(at, "tokenizer.json", b"{"),
            "not a tokenizer.json of the tokenizers library",
        ),
        (
            lambda at: file(at, "vocab.json", b'{"a": 0}'),
            "a vocabulary without merges; expected merges.txt",
        ),
        (
            lambda at: file(at, "x.bin", b"\0" * 11),
            "not a vocabulary of llama2.c: entry 0 is unreadable",
        ),
        (lambda at: file(at, "x.bin", b"\0" * 12), "not a vocabulary of llama2.c; expected <unk>"),
    ],
)
def test_files_that_are_no_tokenizer(tmp_path, make, message):
    with pytest.raises(ConfigError, match=message):
        tokenizer.from_path(make(tmp_path))


def install(monkeypatch, answer):
    def download(name, file):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download)
    )


def test_a_tokenizer_of_the_hub(tmp_path, trained, monkeypatch):
    (tmp_path / "tokenizer.json").write_bytes(trained.data)
    install(monkeypatch, str(tmp_path / "tokenizer.json"))
    assert tokenizer.choose("someone/model", [], 0).digest == trained.digest
    install(monkeypatch, OSError("no connection"))
    with pytest.raises(
        ConfigError,
        match=r"'someone/model': no such file, and not to be had from the hub \(no conn",
    ):
        tokenizer.choose("someone/model", [], 0)


def test_without_the_library_bytes_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ConfigError, match=r"pip install 'distilfleet\[train\]', or --tokenizer bytes"
    ):
        tokenizer.choose(None, TEXTS, 270)
    assert tokenizer.choose("bytes", TEXTS, 270).vocabulary == 257


# --- odd ones -------------------------------------------------------------------------------------


def odd(trained, change):
    """The file of a tokenizer, with a change."""
    parts = json.loads(trained.data)
    change(parts)
    return json.dumps(parts).encode()


def added(at):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return lambda parts: parts["added_tokens"].append({"id": at, "content": "<x>", **flags})


def emptied(parts):
    parts["added_tokens"], parts["model"]["vocab"], parts["model"]["merges"] = [], {}, []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (added(5000), "'<x>' is to have id 5000, which the tokenizers library makes 270"),
        (added(3), "'<x>' is to have id 3, which the tokenizers library makes 270"),
        (added(-1), "not a tokenizer.json"),
        (emptied, "without a vocabulary"),
        (
            lambda parts: parts["model"]["vocab"].update(far=10**9),
            "a token with id 1000000000; expected ids below",
        ),
        (
            lambda parts: parts["model"]["vocab"].update(far=2**70),
            "not a tokenizer.json|a token with id",
        ),
        (lambda parts: parts.update(version="2.0"), "Unknown tokenizer version"),
        (lambda parts: parts["model"].update(type="Magic"), "not a tokenizer.json"),
        (
            lambda parts: parts.update(
                normalizer={"type": "Precompiled", "precompiled_charsmap": "AA"}
            ),
            "not a tokenizer",
        ),
    ],
)
def test_odd_tokenizers_are_refused(trained, change, message):
    with pytest.raises(ConfigError, match=message):
        tokenizer.restore(odd(trained, change), "t.json")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "null", "5", "", '{"model": {"vocab": 3}}']
)
def test_json_that_is_no_tokenizer_is_refused(content):
    with pytest.raises(ConfigError, match=r"not a tokenizer\.json"):
        tokenizer.restore(content.encode(), "t.json")


@pytest.mark.parametrize("kind", ["WordLevel", "WordPiece", "Unigram"])
def test_a_vocabulary_that_knows_no_unknown_is_refused_by_the_text_it_does_not_know(kind):
    import tokenizers

    vocabulary = [("o", -1.0), ("n", -2.0)] if kind == "Unigram" else {"on": 0}
    facts = {} if kind == "Unigram" else {"unk_token": "[UNK]"}
    made = tokenizers.Tokenizer(getattr(tokenizers.models, kind)(vocabulary, **facts))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    restored = tokenizer.restore(made.to_str().encode(), "words")
    assert restored.encode(["on"])[0].tolist() == ([0, 1] if kind == "Unigram" else [0])
    with pytest.raises(ConfigError, match="tokenizer words has no ids for this text"):
        restored.encode(["on off"])


def test_chance_has_no_part_in_ids(trained):
    made = tokenizer.restore(odd(trained, lambda parts: parts["model"].update(dropout=0.9)))
    assert ids_of(made, ODD).tolist() == ids_of(trained, ODD).tolist()


def test_sentencepiece_alone_is_refused_with_what_makes_a_tokenizer_of_it(tmp_path):
    file(tmp_path, "tokenizer.model", b"\n\x0e")
    with pytest.raises(
        ConfigError, match=r"SentencePiece alone; expected tokenizer.json, .*from_pretrained"
    ):
        tokenizer.from_path(tmp_path)


@pytest.mark.parametrize("length", [-8, -1, 1 << 30])
def test_lengths_that_cannot_be_end_the_reading_of_a_llama2c_vocabulary(tmp_path, length):
    path = file(tmp_path, "tok.bin", struct.pack("<ifi", 7, 0.0, length) + b"abc")
    with pytest.raises(ConfigError, match=f"entry 0 has {length} bytes"):
        tokenizer.from_path(path)


def test_merges_that_are_no_text_are_refused(tmp_path):
    gpt2(tmp_path)
    file(tmp_path, "merges.txt", b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"merges.txt: not UTF-8 text"):
        tokenizer.from_path(tmp_path / "vocab.json")


@pytest.mark.parametrize("mark", ["\u2028", "\x85", "\x1c"])
def test_only_a_newline_ends_a_merge(tmp_path, mark):
    entries = ["a", mark, f"a{mark}"]
    file(
        tmp_path,
        "vocab.json",
        json.dumps({entry: number for number, entry in enumerate(entries)}).encode(),
    )
    file(tmp_path, "merges.txt", f"#version: 0.2\na {mark}\n".encode())
    assert tokenizer.from_path(tmp_path).vocabulary == 3


def test_training_on_unbroken_words_takes_time_in_proportion_and_changes_nothing_else():
    rng = np.random.default_rng(0)
    long = "".join(rng.choice(list("abcdefgh"), 40 * tokenizer.LONGEST_WORD))
    assert all(len(piece) <= tokenizer.LONGEST_WORD for piece in tokenizer._pieces(long))
    mixed = f"a word and {long} and\n{long[:5000]} end"
    assert "".join(tokenizer._pieces(mixed)) == mixed
    assert list(tokenizer._pieces("words of a text, as they come")) == [
        "words of a text, as they come"
    ]
    began_s = time.process_time()
    tokenizer.train([long], 300)
    short_s = time.process_time() - began_s
    tokenizer.train([long * 4], 300)
    assert time.process_time() - began_s - short_s < 10 * short_s + 1.0
