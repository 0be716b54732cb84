"""Smashed data on the wire: bounded errors, exact bytes, no silent loss, and nothing accepted that
does not fit."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilfleet.core import wire
from distilfleet.core.errors import WireError
from distilfleet.core.prefix import prefixed, under
from distilfleet.methods.splitkd import codec

FLOAT32_MAX = float(np.finfo(np.float32).max)
widths = st.integers(1, 40).map(lambda half: 2 * half)
shapes = st.tuples(st.integers(0, 9), widths)
numbers = st.floats(-FLOAT32_MAX, FLOAT32_MAX, width=32)
tensors = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=numbers))
bits_of = st.sampled_from(codec.BITS)


def normal(count, width, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal((count, width))).astype(np.float32)


def bound(x_ND, bits):
    """Largest error of each number: half a step of its row or group, and of the smallest half float
    of the message."""
    x_ND = np.abs(x_ND.astype(np.float64))
    floor = 2.0**-38 * x_ND.max(initial=0.0) + 2.0**-134
    if bits == 16:
        return x_ND * 2.0**-11 + floor
    groups = np.arange(x_ND.shape[1]) // (codec.GROUP if bits == 4 else x_ND.shape[1])
    largest = np.stack(
        [x_ND[:, groups == group].max(axis=1, initial=0.0) for group in groups], axis=1
    )
    return (largest / codec.MOST[bits] / 2) * (1 + 2.0**-9) + floor


# --- round trips ----------------------------------------------------------------------------------


@given(tensors, bits_of)
def test_errors_are_bounded_at_every_magnitude(x_ND, bits):
    back = codec.decode(codec.encode(x_ND, bits))
    assert back.dtype == np.float32 and back.shape == x_ND.shape
    assert np.isfinite(back).all()
    assert (np.abs(back.astype(np.float64) - x_ND) <= bound(x_ND, bits)).all()


@given(tensors, bits_of)
def test_bytes_are_known_before_encoding(x_ND, bits):
    arrays = codec.encode(x_ND, bits)
    assert wire.specs(arrays) == codec.spec(x_ND.shape, bits)
    assert wire.encoded_bytes(arrays) == wire.body_bytes(codec.spec(x_ND.shape, bits))


@given(tensors, bits_of)
def test_arrays_survive_the_frame(x_ND, bits):
    arrays = codec.encode(x_ND, bits)
    there = wire.decode_body(wire.encode_body(arrays))
    assert np.array_equal(codec.decode(there), codec.decode(arrays))


@pytest.mark.parametrize(("bits", "most"), [(16, 3e-4), (8, 0.012), (4, 0.1)])
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e-30, 1e30])
def test_relative_error_of_ordinary_data_at_any_scale(bits, most, scale):
    x_ND = normal(64, 96, scale)
    error = codec.decode(codec.encode(x_ND, bits)) - x_ND
    assert np.linalg.norm(error.astype(np.float64)) <= most * np.linalg.norm(
        x_ND.astype(np.float64)
    )


def test_a_small_row_beside_a_large_one_is_kept():
    x_ND = np.stack([normal(1, 64)[0], normal(1, 64, 1e-6)[0]])
    back = codec.decode(codec.encode(x_ND, 8))
    assert np.abs(back[1] - x_ND[1]).max() <= np.abs(x_ND[1]).max() / 200


@pytest.mark.parametrize("bits", codec.BITS)
def test_zeros_stay_zeros(bits):
    assert not codec.decode(codec.encode(np.zeros((3, 6), np.float32), bits)).any()


@pytest.mark.parametrize("bits", codec.BITS)
@pytest.mark.parametrize("shape", [(0, 8), (5, 0), (0, 0)])
def test_empty_tensors_travel(bits, shape):
    arrays = codec.encode(np.zeros(shape, np.float32), bits)
    assert codec.decode(arrays).shape == shape
    assert wire.specs(arrays) == codec.spec(shape, bits)


def test_sizes_per_number():
    sizes = {
        bits: sum(spec.size_bytes for spec in codec.spec((2048, 4096), bits).values())
        for bits in codec.BITS
    }
    assert sizes == {16: 2048 * 4096 * 2 + 1, 8: 2048 * 4098 + 1, 4: 2048 * (2048 + 256) + 1}


# --- nothing is lost in silence -------------------------------------------------------------------


@pytest.mark.parametrize("bits", codec.BITS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bits, value):
    x_ND = np.ones((2, 4), np.float32)
    x_ND[1, 2] = value
    with pytest.raises(ValueError, match="1 of 8 numbers are NaN or infinite"):
        codec.encode(x_ND, bits)


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_other_numbers_are_refused_rather_than_narrowed(dtype):
    with pytest.raises(ValueError, match="expected float32"):
        codec.encode(np.ones((2, 4), dtype), 8)


@pytest.mark.parametrize(
    ("shape", "bits", "message"),
    [
        ((2, 4), 5, "5 bits; expected one of 4, 8, 16"),
        ((2,), 8, r"expected rows, \[N, D\]"),
        ((2, 3), 4, "even width"),
    ],
)
def test_shapes_that_cannot_travel(shape, bits, message):
    for use in (
        lambda: codec.encode(np.ones(shape, np.float32), bits),
        lambda: codec.spec(shape, bits),
    ):
        with pytest.raises(ValueError, match=message):
            use()


# --- what a peer may send -------------------------------------------------------------------------


def sent(bits, **changes):
    return {**codec.encode(normal(3, 64), bits), **changes}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected an exponent"),
        ({"exponent": np.int8(0)}, "expected halves"),
        (sent(8, exponent=np.array(1, np.int16)), "expected an exponent, one int8"),
        (sent(8, exponent=np.array([1], np.int8)), "expected an exponent"),
        (sent(8, scales=np.ones(4, np.float16)), r"scales \[4\] do not fit codes \[3, 64\]"),
        (sent(8, scales=np.array([1, np.inf, 1], np.float16)), "expected finite float16"),
        (sent(8, scales=np.ones(3, np.float32)), "expected finite float16 with 1 axes"),
        (sent(8, codes=np.ones((3, 64), np.uint8)), "expected int8"),
        (sent(4, scales=np.ones((3, 1), np.float16)), r"scales \[3, 1\] do not fit"),
        (sent(4, nibbles=np.ones(3, np.uint8)), "expected uint8 with 2 axes"),
        (sent(16, halves=np.full((1, 2), np.nan, np.float16)), "expected finite"),
    ],
)
def test_arrays_that_break_the_protocol_are_refused(arrays, message):
    with pytest.raises(WireError, match=message):
        codec.decode(arrays)


halves = st.floats(-65504, 65504, width=16)
any_exponent = st.integers(-128, 127).map(lambda exponent: np.array(exponent, np.int8))
anything = st.one_of(
    st.fixed_dictionaries(
        {"halves": hnp.arrays(np.float16, (2, 4), elements=halves), "exponent": any_exponent}
    ),
    st.fixed_dictionaries(
        {
            "codes": hnp.arrays(np.int8, (2, 4)),
            "scales": hnp.arrays(np.float16, (2,), elements=halves),
            "exponent": any_exponent,
        }
    ),
    st.fixed_dictionaries(
        {
            "nibbles": hnp.arrays(np.uint8, (2, 17)),
            "scales": hnp.arrays(np.float16, (2, 2), elements=halves),
            "exponent": any_exponent,
        }
    ),
)


@given(anything)
def test_what_is_announced_and_finite_always_decodes_to_finite_numbers(arrays):
    assert np.isfinite(codec.decode(arrays)).all()


# --- rows that repeat, several messages -----------------------------------------------------------


def test_the_index_is_as_wide_as_it_must_be():
    assert (codec.index_dtype(1 << 16), codec.index_dtype((1 << 16) + 1)) == ("<u2", "<u4")


def test_tensors_of_a_message_are_kept_apart():
    message = prefixed("student", sent(8)) | prefixed("teacher", sent(16))
    assert sorted(under("teacher", message)) == ["exponent", "halves"]
    assert np.array_equal(codec.decode(under("student", message)), codec.decode(sent(8)))
    assert under("stud", message) == {}


def test_a_device_that_smashes_needs_numpy_alone():
    script = """
import sys
import distilfleet.methods.splitkd.codec, distilfleet.data.text
import distilfleet.trust.noise, distilfleet.trust.audit
print(*({"torch", "transformers", "tokenizers", "datasets"} & set(sys.modules)))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert loaded.stdout.split() == []
