"""Attacks on smashed data find what is there to be found, and no more."""

from pathlib import Path

import numpy as np
import pytest

from distilfleet.data import tokenizer
from distilfleet.methods.splitkd import codec
from distilfleet.trust import audit

VOCABULARY, WIDTH = 96, 32


def table(rows, width, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def said(count, vocabulary=VOCABULARY, seed=1):
    return np.random.default_rng(seed).integers(0, vocabulary, count)


def over_the_wire(x_ND, bits):
    return codec.decode(codec.encode(np.ascontiguousarray(x_ND, np.float32), bits))


# --- nearest row ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", codec.BITS)
def test_quantised_embeddings_are_the_tokens(bits):
    rows_VD, ids_N = table(5000, 64), said(700, 5000)
    found = audit.by_nearest_row(over_the_wire(rows_VD[ids_N], bits), rows_VD, ids_N)
    assert (found.tokens, found.recovered, found.share) == (700, 700, 1.0)


def test_parts_make_no_difference(monkeypatch):
    rows_VD, vectors_ND = table(100, 8), table(37, 8, seed=3)
    whole = audit.nearest_rows(vectors_ND, rows_VD)
    monkeypatch.setattr(audit, "ROWS", 7)
    monkeypatch.setattr(audit, "VECTORS", 5)
    assert np.array_equal(audit.nearest_rows(vectors_ND, rows_VD), whole)
    away = np.linalg.norm(vectors_ND[:, np.newaxis] - rows_VD, axis=2)
    assert np.array_equal(whole, away.argmin(axis=1))


def test_a_table_of_half_floats_in_a_file(tmp_path):
    rows_VD, ids_N = table(300, 16).astype(np.float16), said(50, 300)
    np.save(tmp_path / "table.npy", rows_VD)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r", allow_pickle=False)
    assert audit.by_nearest_row(rows_VD[ids_N].astype(np.float32), mapped, ids_N).share == 1


def test_noise_far_longer_than_the_rows_hides_them():
    rows_VD, ids_N = table(1000, 16), said(400, 1000)
    assert (
        audit.by_nearest_row(rows_VD[ids_N] + 30 * table(400, 16, seed=5), rows_VD, ids_N).share
        < 0.05
    )


def test_nothing_said_is_nothing_recovered():
    assert (
        audit.by_nearest_row(np.zeros((0, 4), np.float32), table(5, 4), np.zeros(0, np.int64)).share
        == 0
    )


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 5), np.float32), r"shape \(3, 5\); expected \[N, 4\]"),
        (np.full((3, 4), np.nan, np.float32), "NaN or infinity"),
    ],
)
def test_vectors_that_cannot_be_looked_up(vectors, message):
    with pytest.raises(ValueError, match=message):
        audit.nearest_rows(vectors, table(5, 4))


def test_as_many_ids_as_vectors_are_needed():
    with pytest.raises(ValueError, match="expected as many"):
        audit.by_nearest_row(np.zeros((3, 4), np.float32), table(5, 4), np.zeros(2, np.int64))


def test_recoveries_of_one_attack_add_up():
    one = audit.Recovery(attack="nearest row", tokens=10, recovered=4)
    assert str(one + one) == "a curious server recovers 40.0 % of 20 tokens (nearest row)"
    with pytest.raises(ValueError, match="two attacks"):
        one + audit.Recovery(attack="left to right", tokens=1, recovered=1)


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("bits", codec.BITS)
def test_a_trained_table_gives_a_real_story_away(bits):
    weights, words = SHARED / "weights" / "stories260K.bin", SHARED / "tokenizers" / "tok512.bin"
    story = SHARED / "text" / "tinystories_sample_repaired.txt"
    if not (weights.exists() and words.exists() and story.exists()):
        pytest.skip(
            "real data are not here: weights, tokenizers and text would lie in shared/data beside "
            "the repository"
        )
    rows_VD = np.frombuffer(weights.read_bytes(), "<f4", offset=28, count=512 * 64).reshape(512, 64)
    (ids_N,) = tokenizer.from_path(words).encode([story.read_text(encoding="utf-8")[:20_000]])
    assert audit.by_nearest_row(over_the_wire(rows_VD[ids_N], bits), rows_VD, ids_N).share == 1


# --- left to right --------------------------------------------------------------------------------


def mixing(rows_VD):
    """A causal front without a model: each position has its row and half of what came before."""

    def step(prefix_t, candidates_K):
        past_D = np.zeros(rows_VD.shape[1], np.float32)
        for number in prefix_t:
            past_D = np.tanh(past_D / 2 + rows_VD[number])
        return np.tanh(past_D / 2 + rows_VD[candidates_K])

    return step


def smashed_by(step, ids_T):
    return np.stack([step(ids_T[:at], ids_T[at : at + 1])[0] for at in range(len(ids_T))])


def test_a_causal_front_is_undone(monkeypatch):
    step, ids_T = mixing(table(VOCABULARY, WIDTH)), said(20)
    assert np.array_equal(audit.left_to_right(smashed_by(step, ids_T), step, VOCABULARY), ids_T)
    monkeypatch.setattr(audit, "CANDIDATES", 7)
    assert np.array_equal(audit.left_to_right(smashed_by(step, ids_T), step, VOCABULARY), ids_T)


def test_the_candidates_stay_within_the_vocabulary():
    seen = []

    def step(prefix_t, candidates_K):
        seen.append((len(prefix_t), candidates_K.min(), candidates_K.max()))
        return np.zeros((len(candidates_K), 2), np.float32)

    audit.left_to_right(np.ones((3, 2), np.float32), step, 10)
    assert seen == [(0, 0, 9), (1, 0, 9), (2, 0, 9)]


# --- a real decoder -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return transformers.LlamaForCausalLM(config).eval()


def hidden(llama, ids_BT, cut):
    import torch

    with torch.no_grad():
        states = llama.model(
            torch.as_tensor(ids_BT), use_cache=False, output_hidden_states=True
        ).hidden_states
    return states[cut].numpy()


def stepping(llama, cut):
    def step(prefix_t, candidates_K):
        ids_KT = np.concatenate(
            [np.tile(prefix_t, (len(candidates_K), 1)), candidates_K[:, np.newaxis]], axis=1
        )
        return hidden(llama, ids_KT, cut)[:, -1]

    return step


@pytest.mark.parametrize("bits", codec.BITS)
def test_the_embedding_cut_of_a_decoder_gives_every_token_away(llama, bits):
    ids_T = said(200)
    smashed_TD = over_the_wire(hidden(llama, ids_T[np.newaxis], 0)[0], bits)
    rows_VD = llama.get_input_embeddings().weight.detach().numpy()
    assert audit.by_nearest_row(smashed_TD, rows_VD, ids_T).share == 1


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("bits", codec.BITS)
def test_deeper_cuts_of_a_decoder_give_every_token_away(llama, cut, bits):
    texts = [said(12, seed=seed) for seed in (3, 4)]
    smashed = [over_the_wire(hidden(llama, ids_T[np.newaxis], cut)[0], bits) for ids_T in texts]
    found = audit.by_left_to_right(smashed, stepping(llama, cut), VOCABULARY, texts)
    assert (found.tokens, found.share) == (24, 1)
