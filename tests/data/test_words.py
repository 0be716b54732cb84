"""The numbers that stand for texts: the same everywhere, and as their page says."""

import re
import unicodedata
from itertools import pairwise

import numpy as np
import pytest

from distilfleet.core.types import PADDING
from distilfleet.data import words
from distilfleet.data.labelled_text import as_array
from distilfleet.data.words import Words

MASK = (1 << 64) - 1
TEXTS = [
    "Book a flight to Oslo!",
    "book a  FLIGHT",
    "我想订机票",
    "",
    "हिन्दी में",
    "naïve ﬁne Straße",
]


def hashed(characters, kind):
    """One number, by whole numbers of Python."""
    x = sum(ord(one) * pow(words.PRIME, place, 1 << 64) for place, one in enumerate(characters))
    return mixed(x & MASK, kind)


def mixed(x, kind):
    x = (x + kind) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return (x ^ (x >> 31)) >> 33


def plain(text):
    """All numbers of a text, one after the other, without numpy."""
    found = words.WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    sums = [
        sum(ord(one) * pow(words.PRIME, place, 1 << 64) for place, one in enumerate(word)) & MASK
        for word in found
    ]
    pairs = [(one * words.PRIME + other) & MASK for one, other in pairwise(sums)]
    runs = [
        run
        for word in found
        for run in re.findall(r"(?=(...))", f" {word} ", re.S)
        if not (run[0] == run[-1] == " ")
    ]
    return [
        *(hashed(word, words.OF_WORDS) for word in found),
        *(mixed(pair, words.OF_PAIRS) for pair in pairs),
        *(hashed(run, words.OF_RUNS) for run in runs),
    ]


def test_numbers_are_those_of_a_plain_loop():
    made = Words(length=64).apply(as_array(TEXTS))
    assert made.dtype == np.int32
    for row, text in zip(made.tolist(), TEXTS, strict=True):
        numbers = plain(text)
        assert row == [*numbers, *[PADDING] * (64 - len(numbers))]


def test_numbers_are_the_same_on_every_machine():
    row = Words(length=8).apply(as_array(["Book a flight"]))[0]
    assert row[:4].tolist() == [7442091, 358266635, 573279918, 2016650712]


def test_case_spaces_and_compatible_forms_are_one():
    one, other = Words(length=32).apply(as_array(["Café  ﬁne\n", "cafe\u0301 FINE"]))
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("count", [1, words.CHUNK, words.CHUNK + 1])
def test_a_text_has_the_same_numbers_wherever_it_stands(count):
    form = Words(length=16)
    alone = form.apply(as_array(TEXTS[:1]))
    among = form.apply(as_array([*(["other words"] * (count - 1)), TEXTS[0]]))
    assert among[-1].tolist() == alone[0].tolist()


def test_a_long_text_keeps_its_words_and_loses_their_parts():
    text = " ".join(f"word{n}" for n in range(20))
    long, short = (Words(length=length).apply(as_array([text]))[0] for length in (200, 20))
    assert short.tolist() == long[:20].tolist()
    assert (short >= 0).all()


def test_nearly_all_training_texts_are_whole_and_the_longest_do_not_decide():
    texts = as_array([*["turn the light on"] * 199, "word " * 5000])
    form = words.fit(texts)
    assert form.length == 8 * -(-int(words.counts(texts[:1])[0]) // 8)
    assert form.cut(texts) == 1
    assert words.fit(as_array(["word " * 5000] * 4)).length == words.MOST
