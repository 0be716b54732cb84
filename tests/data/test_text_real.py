"""Real texts, where the folder `shared/data` lies beside the repository."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from distilfleet.data import text, tokenizer
from distilfleet.data.text import Wanted

FOLDER = Path(__file__).parents[3] / "shared" / "data"


def real(name):
    path = FOLDER / name
    if not path.exists():
        pytest.skip(
            f"real data are not here: {name} would lie in shared/data beside the repository"
        )
    return str(path)


def test_shakespeare_is_one_stream():
    source = text.load(real("text/tinyshakespeare.txt"), Wanted(vocabulary=1024))
    assert source.tokenizer.decode(source.train.ids_NT[0]).startswith(
        "First Citizen:\nBefore we proceed"
    )
    assert len(source.rows) == 8 and source.train.tokens > 300_000
    assert len(source.test) / (len(source.train) + len(source.test)) == pytest.approx(0.1, abs=0.01)


def test_stories_in_the_words_of_their_model():
    wanted = Wanted(tokenizer=real("tokenizers/tok512.bin"), context=256)
    source = text.load(real("text/tinystories_sample_repaired.txt"), wanted)
    assert (source.tokenizer.vocabulary, source.tokenizer.separator) == (512, 1)
    assert source.train.ids_NT[0, 0] == 1
    assert source.tokenizer.decode(source.train.ids_NT[0, 1:]).startswith(
        "One day, a little girl named Lily"
    )


def test_the_ids_of_llama2c_are_those_of_its_own_algorithm():
    path = Path(real("tokenizers/tok512.bin"))
    made = tokenizer.from_path(path)
    pieces, scores = tokenizer._llama2c_entries(path)
    known = {piece: number for number, piece in enumerate(pieces)}
    story = Path(real("text/tinystories_sample_repaired.txt")).read_text(encoding="utf-8")
    for paragraph in story.split("\n\n")[:60]:
        assert made.encode([paragraph])[0].tolist() == greedy(
            f" {paragraph}", pieces, scores, known
        )


def greedy(words, pieces, scores, known):
    """As run.c does: of all neighbours that make a piece, merge the best scored, again and
    again."""
    ids = [
        number
        for one in words
        for number in ([known[one]] if one in known else [byte + 3 for byte in one.encode()])
    ]
    while True:
        merges = [(known.get(pieces[a] + pieces[b]), at) for at, (a, b) in enumerate(pairwise(ids))]
        best = max(
            ((scores[merged], -at, merged) for merged, at in merges if merged is not None),
            default=None,
        )
        if best is None:
            return ids
        ids[-best[1] : 2 - best[1]] = [best[2]]


def test_gpt2_from_vocabulary_and_merges():
    made = tokenizer.from_path(Path(real("tokenizers/gpt2_encoder.json")))
    assert made.encode(["Hello, world! It's 漢字."])[0].tolist()[:4] == [15496, 11, 995, 0]
    assert made.decode(made.encode(["It's 漢字\n."])[0]) == "It's 漢字\n."
    assert (made.vocabulary, made.separator) == (50257, 50256)


@pytest.mark.parametrize(
    ("name", "classes", "train"),
    [("intents/banking77_train.csv", 77, 9000), ("intents/clinc150_full.json", 151, 15_100)],
)
def test_what_voice_assistants_hear(name, classes, train):
    source = text.load(real(name), Wanted(context=32, vocabulary=1000))
    assert (len(source.classes), len(source.train)) == (classes, train)
    assert set(source.test.labels_N) == set(range(classes))
    assert source.train.lengths_N.min() >= 2 and np.median(source.train.lengths_N) < 32
    own = [len(set(source.data(device).labels_N)) for device in range(8)]
    assert max(own) < classes


def test_instructions():
    source = text.load(real("text/instruction_1100.json"), Wanted(context=64, vocabulary=1000))
    assert "whole documents" in source.partition
    assert (np.diff([0, *(len(rows) for rows in source.rows)]) != 0).any()


@pytest.mark.parametrize("name", ["text/wikitext2_valid.txt", "text/e2e_valid.txt"])
def test_other_streams(name):
    source = text.load(real(name), Wanted(tokenizer="bytes"))
    assert source.train.tokens > 900_000
