import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilfleet.core.errors import WireError
from distilfleet.core.types import ArraySpec, Expected, Job, Missed, Reply
from distilfleet.core.wire import (
    DTYPES,
    MOST_ARRAYS,
    admit,
    body_bytes,
    decode_body,
    decode_job,
    decode_reply,
    encode_body,
    encode_job,
    encode_reply,
    head_bytes,
    specs,
)

NOTHING = Expected(arrays={})
EVERY_DTYPE = [np.dtype(spelled) for spelled in sorted(DTYPES)]
PREFIX_BYTES = 12

names = st.text(max_size=12)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
mappings = st.dictionaries(names, hnp.arrays(st.sampled_from(EVERY_DTYPE), shapes), max_size=4)


def job(arrays, *, id="r1-d1", device="d1", op="train", expected=NOTHING) -> Job:  # noqa: A002
    return Job(id=id, device=device, op=op, arrays=arrays, expected=expected)


def frame(manifest, data: bytes = b"", *, head: bytes | None = None, kind: int = 1) -> bytes:
    """A reply built by hand, so that it can lie."""
    head = msgspec.msgpack.encode(["j", "d"]) if head is None else head
    manifest = manifest if isinstance(manifest, bytes) else msgspec.msgpack.encode(manifest)
    lengths = len(head).to_bytes(4, "little") + len(manifest).to_bytes(4, "little")
    return b"DF" + bytes([1, kind]) + lengths + head + manifest + data


def assert_same_bits(got, expected):
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()


# --- round trip -----------------------------------------------------------------------------------


@given(mappings, names, names, names)
def test_a_job_survives_the_wire_bit_for_bit(arrays, job_id, device, op):
    sent = job(arrays, id=job_id, device=device, op=op)
    came = decode_job(encode_job(sent).to_bytes(), NOTHING)
    assert (came.id, came.device, came.op, came.expected) == (job_id, device, op, NOTHING)
    assert_same_bits(came.arrays, arrays)


@given(mappings, names, names)
def test_a_reply_survives_the_wire_bit_for_bit(arrays, job_id, device):
    came = decode_reply(encode_reply(job_id, device, arrays).to_bytes())
    assert (came.job, came.device) == (job_id, device)
    assert_same_bits(came.arrays, arrays)


@given(mappings)
def test_a_body_survives_without_a_frame(arrays):
    assert_same_bits(decode_body(encode_body(arrays)), arrays)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", EVERY_DTYPE, ids=str)
def test_every_dtype_travels_in_every_shape(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    assert_same_bits(decode_body(encode_body({"x": array})), {"x": array})


def test_nan_payloads_and_negative_zero_keep_their_bits():
    array = np.array([0x7FC00001, 0xFFC12345, 0x80000000], "<u4").view("<f4")
    assert_same_bits(decode_body(encode_body({"x": array})), {"x": array})


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12)[::3],
        np.arange(5)[::-1],
        np.broadcast_to(np.float32(2), (3, 2)),
        np.arange(6, dtype=">f4"),
    ],
    ids=["transposed", "strided", "reversed", "broadcast", "big-endian"],
)
def test_any_memory_layout_arrives_plain(array):
    (came,) = decode_body(encode_body({"x": array})).values()
    np.testing.assert_array_equal(came, array)
    assert came.flags.c_contiguous


def test_decoded_arrays_are_read_only_views_of_the_frame():
    came = decode_reply(encode_reply("j", "d", {"x": np.zeros(3)}).to_bytes()).arrays["x"]
    assert not came.flags.writeable
    assert not came.flags.owndata


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.array(["a"]),
        np.array([b"a"]),
        np.zeros(1, complex),
        np.zeros(1, "M8[s]"),
        np.zeros(1, "f4,i4"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_what_is_not_a_plain_number_cannot_be_sent(array):
    with pytest.raises(ValueError, match=r"weights: dtype .* cannot travel"):
        encode_body({"weights": array})


def test_a_shared_body_is_sent_as_it_is():
    body = encode_body({"x": np.ones(3)})
    sent = encode_job(job({}), body)
    assert sent.body is body
    assert sent.to_bytes() == encode_job(job({"x": np.ones(3)})).to_bytes()


# --- sizes ----------------------------------------------------------------------------------------


@given(mappings, names, names, names)
def test_sizes_are_known_before_anything_is_encoded(arrays, job_id, device, op):
    sent = job(arrays, id=job_id, device=device, op=op)
    down, up = encode_job(sent), encode_reply(job_id, device, arrays)
    body_size = body_bytes(specs(arrays))
    assert tuple(size + body_size for size in head_bytes(sent)) == (len(down), len(up))
    assert (len(down), len(up)) == (len(down.to_bytes()), len(up.to_bytes()))


def test_a_big_endian_announcement_is_as_long_as_its_frame():
    arrays = {"x": np.zeros((3, 2), ">f8")}
    assert head_bytes(job({}))[1] + body_bytes(specs(arrays)) == len(
        encode_reply("r1-d1", "d1", arrays)
    )


# --- hostile bytes --------------------------------------------------------------------------------

HOSTILE = {
    "empty": (b"", "at least 12 bytes"),
    "half a prefix": (frame([])[: PREFIX_BYTES - 1], "at least 12 bytes"),
    "other magic": (b"XX" + frame([])[2:], "magic"),
    "other version": (b"DF\x09" + frame([])[3:], "version 9"),
    "other kind": (frame([], kind=0), "kind 1, got 0"),
    "cut short": (frame([])[:-1], "announces"),
    "too long": (frame([], b"x"), "1 bytes after"),
    "head of nothing": (frame([], head=b"\xc1"), "unreadable"),
    "head of one field": (frame([], head=msgspec.msgpack.encode(["j"])), "unreadable"),
    "head of a number": (frame([], head=msgspec.msgpack.encode([1, "d"])), "unreadable"),
    "bottomless head": (frame([], head=b"\x93\xa1j\xa1d" + b"\x91" * 100_000), "unreadable"),
    "four billion arrays": (frame(b"\xdd\xff\xff\xff\xff"), "unreadable"),
    "fractional shape": (frame([["x", "<f4", [1.0]]]), "unreadable"),
    "no shape": (frame([["x", "<f4"]]), "unreadable"),
    "objects": (frame([["x", "|O", [1]]], bytes(8)), "can travel"),
    "complex": (frame([["x", "<c8", [1]]], bytes(8)), "can travel"),
    "big-endian": (frame([["x", ">f4", [1]]], bytes(4)), "can travel"),
    "records": (frame([["x", "f4,f4", [1]]], bytes(8)), "can travel"),
    "negative length": (frame([["x", "<f4", [-1]]], bytes(4)), "can travel"),
    "same name twice": (frame([["x", "<f4", [0]], ["x", "<f4", [0]]]), "can travel"),
    "more than came": (frame([["x", "<f4", [2]]], bytes(4)), "needs more"),
    "more than exists": (frame([["x", "<f4", [2**63]]], bytes(4)), "needs more"),
    "overflowing product": (frame([["x", "<f4", [2**62, 2**62, 2**62]]], bytes(4)), "needs more"),
    "too many": (frame([[str(n), "<f4", [0]] for n in range(MOST_ARRAYS + 1)]), "at most"),
}
LEAKING = {
    "zero times too much": (frame([["x", "<f4", [2**64 - 1, 0]]]), "x: "),
    "zero times a product too large": (frame([["x", "<f4", [2**40, 2**40, 0]]]), "x: "),
    "65 dimensions": (frame([["x", "<f4", [1] * 65]], bytes(4)), "x: "),
    "head that is no text": (frame([], head=b"\x92\xa1\xff\xa1d"), "unreadable"),
    "name that is no text": (frame(b"\x91\x93\xa1\xff\xa3<f4\x91\x00"), "unreadable"),
}


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_frame_is_refused_with_the_reason(hostile, reason):
    with pytest.raises(WireError, match=reason):
        decode_reply(hostile)


@pytest.mark.parametrize(("hostile", "reason"), LEAKING.values(), ids=LEAKING)
def test_a_lie_that_only_numpy_or_the_codec_notices_is_refused(hostile, reason):
    with pytest.raises(WireError, match=reason):
        decode_reply(hostile)


def test_a_reply_is_no_job():
    with pytest.raises(WireError, match="kind 0, got 1"):
        decode_job(encode_reply("j", "d", {}).to_bytes(), NOTHING)


dimensions = (
    st.integers(0, 3)
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([2**31, 2**32, 2**62, 2**63])
)
entries = st.tuples(
    names,
    st.sampled_from(sorted(DTYPES)) | names,
    st.lists(dimensions, max_size=5) | st.just([1] * 70),
)


@given(st.lists(entries, max_size=4), st.binary(max_size=40))
@example([("x", "<f4", [0] * 70)], b"")
def test_no_manifest_breaks_the_decoder(manifest, data):
    decode_or_refuse(frame(manifest, data))


@given(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=8))
@example(b"\x92\xa1\xff\xa1d", b"\x90", b"")
def test_no_bytes_break_the_decoder(head, manifest, data):
    decode_or_refuse(frame(manifest, data, head=head))


def test_twenty_thousand_damaged_frames_break_nothing():
    rng = np.random.default_rng(7)
    arrays = {
        "weight": np.ones((3, 2), "f4"),
        "steps": np.array(5),
        "none": np.zeros((0, 4), "f2"),
        "mask": np.ones(3, bool),
    }
    good = encode_reply("round-3/d17", "d17", arrays).to_bytes()
    outcomes = [decode_or_refuse(_damaged(good, rng)) for _ in range(20_000)]
    assert 10_000 < outcomes.count("refused") < 20_000


def decode_or_refuse(data: bytes) -> str:
    """Anything but WireError passes through and fails the test. What is let in has accounted for
    every byte."""
    try:
        came = decode_reply(data)
    except WireError:
        return "refused"
    assert sum(array.nbytes for array in came.arrays.values()) <= len(data) - PREFIX_BYTES
    return "let in"


def _damaged(good: bytes, rng: np.random.Generator) -> bytes:
    damage = DAMAGES[rng.integers(len(DAMAGES))]
    return damage(bytearray(good), int(rng.integers(len(good))), rng)


def _flipped(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    for place in (at, *rng.integers(len(data), size=rng.integers(3))):
        data[place] = rng.integers(256)
    return bytes(data)


def _flipped_in_headers(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    data[PREFIX_BYTES + at % (len(data) // 2)] = rng.integers(256)
    return bytes(data)


def _cut(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    return bytes(data[:at])


def _grown(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    return bytes(data[:at]) + rng.bytes(rng.integers(1, 9)) + bytes(data[at:])


def _spliced(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    return bytes(data[:at] + data[rng.integers(len(data)) :])


def _wrong_lengths(data: bytearray, at: int, rng: np.random.Generator) -> bytes:
    data[4:12] = rng.integers(0, 2 * len(data), 2).astype("<u4").tobytes()
    return bytes(data)


DAMAGES = (_flipped, _flipped_in_headers, _cut, _grown, _spliced, _wrong_lengths)

# --- admission ------------------------------------------------------------------------------------

TWO = ArraySpec("<f4", (2,))


def verdict(arrays, announced=None, most_norm=float("inf")):
    expected = Expected(arrays=announced or specs(arrays), most_norm=most_norm)
    return admit(Reply(job="r1-d1", device="d1", arrays=arrays), job({}, expected=expected))


def reason(*args, **kwargs) -> str:
    missed = verdict(*args, **kwargs)
    assert isinstance(missed, Missed)
    assert (missed.job, missed.device) == ("r1-d1", "d1")
    assert missed.reason.startswith("rejected: ")
    return missed.reason.removeprefix("rejected: ")


def tamed(array):
    return (
        np.nan_to_num(array).clip(-100, 100).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
    )


@given(mappings)
def test_what_was_announced_and_is_finite_is_let_in(arrays):
    assert isinstance(verdict({name: tamed(array) for name, array in arrays.items()}), Reply)


def test_an_admitted_reply_is_the_reply_itself():
    reply = Reply(job="r1-d1", device="d1", arrays={"x": np.ones(2)})
    assert admit(reply, job({}, expected=Expected(arrays=specs(reply.arrays)))) is reply


@pytest.mark.parametrize("came", [[], ["x"], ["x", "z"], ["x", "y", "z"]], ids=str)
def test_a_missing_or_an_extra_array_is_named(came):
    arrays = {name: np.ones(2, "f4") for name in came}
    assert reason(arrays, {"x": TWO, "y": TWO}) == f"expected arrays ['x', 'y'], got {came}"


@pytest.mark.parametrize(
    ("array", "described"),
    [
        (np.ones(3, "f4"), "float32[3]"),
        (np.ones((2, 1), "f4"), "float32[2, 1]"),
        (np.ones((), "f4"), "float32[]"),
        (np.ones(2, "f8"), "float64[2]"),
        (np.ones(2, "f2"), "float16[2]"),
        (np.ones(2, "i4"), "int32[2]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_shape_or_dtype_is_described(array, described):
    assert reason({"x": array}, {"x": TWO}) == f"x is {described}, expected <f4[2]"


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_and_infinity_are_found_wherever_they_stand(dtype, poison):
    good, bad = np.ones(4, dtype), np.array([1, 2, poison, 3], dtype)
    assert reason({"good": good, "bad": bad}) == "bad holds NaN or infinity"
    assert reason({"bad": bad.reshape(2, 2)}, most_norm=1e9) == "bad holds NaN or infinity"
    assert reason({"bad": bad[2].reshape(())}) == "bad holds NaN or infinity"


def test_a_norm_over_the_limit_is_refused():
    arrays = {"x": np.array([3.0], "f4"), "y": np.array([4.0], "f8")}
    assert reason(arrays, most_norm=4.99) == "norm 5 is over 4.99"
    assert isinstance(verdict(arrays, most_norm=5.0), Reply)


def test_half_precision_is_summed_without_overflow():
    arrays = {"x": np.full(100, 60_000, "f2")}
    assert isinstance(verdict(arrays, most_norm=600_001), Reply)
    assert reason(arrays, most_norm=1000) == "norm 6e+05 is over 1e+03"


def test_values_whose_squares_overflow_are_refused_without_a_warning():
    assert reason({"x": np.array([1e200])}, most_norm=10) == "norm 1e+200 is over 10"
    assert isinstance(verdict({"x": np.array([1e200])}), Reply)
    assert isinstance(
        verdict({"x": np.full(4, 3e38, "f4"), "y": np.ones(2)}, most_norm=6.1e38), Reply
    )
    assert reason({"x": np.full(4, 3e38, "f4")}, most_norm=5.9e38) == "norm 6e+38 is over 5.9e+38"


def test_integers_do_not_count_towards_the_norm():
    assert isinstance(verdict({"x": np.array([10**9])}, most_norm=1.0), Reply)


def test_empty_and_absent_arrays_are_let_in():
    assert isinstance(verdict({}), Reply)
    assert isinstance(verdict({"x": np.zeros((0, 3), "f4")}, most_norm=0.0), Reply)


def test_numbers_out_of_their_range_are_refused():
    variance = {"v": ArraySpec("<f4", (2,), least=0.0)}
    assert isinstance(verdict({"v": np.array([0, 1e9], "f4")}, variance), Reply)
    assert reason({"v": np.array([0.5, -1e-3], "f4")}, variance) == "v holds -0.001, less than 0"
    assert reason({"v": np.array([np.nan, 1], "f4")}, variance) == "v holds NaN or infinity"


def test_rows_that_are_no_distribution_are_refused():
    soft = {"soft": ArraySpec("<f4", (2, 2), sums_to_one=True)}
    fine = np.array([[0.25, 0.75], [1, 0]], "f4")
    assert isinstance(verdict({"soft": fine}, soft), Reply)
    assert isinstance(verdict({"soft": fine + np.float32(4e-4)}, soft), Reply)
    assert reason({"soft": 2 * fine}, soft) == "soft has a row that adds up to one only within 1"
    assert reason({"soft": np.array([[-1, 2], [1, 0]], "f4")}, soft) == "soft holds -1, less than 0"
    assert reason({"soft": np.full((2, 2), 3e38, "f4")}, soft).startswith(
        "soft has a row that adds up to one only"
    )
    assert reason({"soft": np.full((2, 2), np.inf, "f4")}, soft) == "soft holds NaN or infinity"
    none = {"soft": ArraySpec("<f4", (5, 2), at_most=True, sums_to_one=True)}
    assert isinstance(verdict({"soft": np.zeros((0, 2), "f4")}, none), Reply)
