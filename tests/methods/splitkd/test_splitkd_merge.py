"""The end of a round: layers and rows are averaged over who held them, by tokens."""

from dataclasses import replace

import numpy as np

from distilfleet.core.types import Reply
from distilfleet.methods.splitkd import server
from distilfleet.methods.splitkd.merge import merged
from distilfleet.nn import split
from distilfleet.nn.resident import copied


def setting():
    method = server.tiny()
    state = method.init(0)
    state = replace(state, student=copied(state.student))
    studio = method._modules()
    studio.begin(state.student, {}, 1e-3, state.student)
    return state, studio, split.parts(studio.student)


def test_a_layer_is_averaged_over_its_holders_by_tokens():
    state, studio, parts = setting()
    name = parts.layers[0][0]
    one = np.ones_like(state.student[name], np.float16)
    reply = Reply(job="end", device="b", arrays={f"student/{name}": one})
    new = merged(studio, state, [reply], {"a": 0, "b": 1}, {"a": 30, "b": 10})
    np.testing.assert_allclose(new[name] - state.student[name], 0.25, atol=1e-6)
    behind = parts.layers[1][0]
    np.testing.assert_array_equal(new[behind], state.student[behind])


def test_a_layer_that_no_server_trained_is_the_devices_own():
    state, studio, parts = setting()
    name = parts.layers[0][0]
    reply = Reply(
        job="end",
        device="b",
        arrays={f"student/{name}": np.ones_like(state.student[name], np.float16)},
    )
    new = merged(studio, state, [reply], {"b": 1}, {"b": 10})
    np.testing.assert_allclose(new[name] - state.student[name], 1.0, atol=1e-6)


def test_rows_are_averaged_by_how_often_they_were_seen():
    state, studio, parts = setting()
    (name,) = parts.embedding
    width = state.student[name].shape[1]
    present = np.zeros(40, np.uint8)
    present[[3, 5]] = 1
    state = replace(state, present=dict.fromkeys("ab", np.packbits(present)))
    replies = [
        Reply(
            job="1",
            device="a",
            arrays={"rows": np.ones((2, width), np.float16), "seen": np.array([1, 4], np.int32)},
        ),
        Reply(
            job="2",
            device="b",
            arrays={"rows": np.zeros((2, width), np.float16), "seen": np.array([3, 0], np.int32)},
        ),
    ]
    learnt = (
        merged(studio, state, replies, {"a": 0, "b": 0}, {"a": 5, "b": 3})[name]
        - state.student[name]
    )
    np.testing.assert_allclose(learnt[3], 0.25, atol=1e-6)
    np.testing.assert_allclose(learnt[5], 1.0, atol=1e-6)
    assert not np.delete(learnt, [3, 5], axis=0).any()
