"""Smashed data and gradients on the wire: half floats, or 8 or 4 bits with half-float scales. NumPy
alone.

Axes: N rows (tokens), D numbers of a row, G groups of a row, B bytes.

    16 bits  halves   float16 [N, D]
     8 bits  codes    int8 [N, D], -127..127      scales float16 [N]      one per row
     4 bits  nibbles  uint8 [N, D/2], two codes   scales float16 [N, G]   one per group of 32
                      of -7..7 plus 8 in a byte,
                      the even column in its low half
    and for all of them exponent, int8 []: halves or scales are to be multiplied by 2 to that power.

A scale is rounded up, so no code leaves its range and an error is at most half a scale. The common
exponent puts the largest half float of a message near the top of their range: neither the gradients
of a loss that is averaged over many tokens nor large activations leave it. Symmetric
absolute-maximum quantisation by groups as in Dettmers et al., "QLoRA", 2023,
https://arxiv.org/abs/2305.14314, section 2, with integers.
"""

from math import frexp

import numpy as np

from distilfleet.core.errors import WireError
from distilfleet.core.types import Arrays, ArraySpec

BITS = (4, 8, 16)
GROUP = 32
"""Numbers that share a scale at 4 bits; the last group of a row may have fewer."""
MOST = {8: 127, 4: 7}
"""Largest code."""
LEAST_EXPONENT = -110
"""Numbers all below 2 to the -96 are small enough to be sent with fewer digits."""
SAFE_EXPONENT = 96
"""Up to here no product of code, scale and power leaves float32."""
NARROW_INDEX = 1 << 16
"""Up to so many distinct rows, two bytes say which."""
_FLOAT32_MAX = np.finfo(np.float32).max


def encode(x_ND: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """Arrays to send. Raises ValueError for other than finite float16 or float32 numbers in
    rows."""
    _check_shape(x_ND.shape, bits)
    if x_ND.dtype not in (np.float16, np.float32):
        raise ValueError(
            f"numbers are {x_ND.dtype}; expected float32: convert them where what is lost can be "
            "judged"
        )
    x_ND = x_ND.astype(np.float32, copy=False)
    if not np.isfinite(x_ND).all():
        raise ValueError(
            f"{(~np.isfinite(x_ND)).sum()} of {x_ND.size} numbers are NaN or infinite; expected "
            "finite"
        )
    if bits == 16:
        return _encode_16(x_ND)
    return _encode_8(x_ND) if bits == 8 else _encode_4(x_ND)


def _encode_16(x_ND: np.ndarray) -> dict[str, np.ndarray]:
    exponent = _exponent(x_ND)
    halves = _scaled(x_ND, -exponent).astype("<f2")
    return {"halves": halves, "exponent": np.array(exponent, "|i1")}


def decode(arrays: Arrays) -> np.ndarray:
    """Numbers as they arrived, float32 [N, D], finite whatever they are.

    Raises WireError for arrays that are not announced by `spec`; a reply that a job's `expected`
    let in never does.
    """
    exponent = _read_exponent(arrays)
    if arrays.keys() >= {"halves"}:
        return _bounded(_finite(arrays, "halves", 2), exponent)
    if arrays.keys() >= {"codes", "scales"}:
        codes_ND = _whole(arrays, "codes", np.int8)
        scales_N = _finite(arrays, "scales", 1)
        _check_rows(len(scales_N) == len(codes_ND), codes_ND, scales_N)
        return _bounded(codes_ND * scales_N[:, np.newaxis], exponent)
    if arrays.keys() >= {"nibbles", "scales"}:
        return _decode_4(
            _whole(arrays, "nibbles", np.uint8), _finite(arrays, "scales", 2), exponent
        )
    raise WireError(
        f"smashed data came as {sorted(arrays)}; expected halves, or codes or nibbles with scales"
    )


def spec(shape: tuple[int, int], bits: int) -> dict[str, ArraySpec]:
    """What `encode` gives for numbers of this shape, exactly."""
    _check_shape(shape, bits)
    count, width = shape
    exponent = {"exponent": ArraySpec("|i1", ())}
    if bits == 16:
        return {"halves": ArraySpec("<f2", shape)} | exponent
    if bits == 8:
        return {"codes": ArraySpec("|i1", shape), "scales": ArraySpec("<f2", (count,))} | exponent
    nibbles = ArraySpec("|u1", (count, width // 2))
    groups = ArraySpec("<f2", (count, -(-width // GROUP)))
    return {"nibbles": nibbles, "scales": groups} | exponent


def index_dtype(count: int) -> str:
    """Of an index into so many rows."""
    return "<u2" if count <= NARROW_INDEX else "<u4"


# --- quantisation ---------------------------------------------------------------------------------


def _encode_8(x_ND: np.ndarray) -> dict[str, np.ndarray]:
    scales_N, exponent, steps_N = _scales(np.abs(x_ND).max(axis=1, initial=0.0), MOST[8])
    codes_ND = np.rint(x_ND / steps_N[:, np.newaxis]).astype(np.int8)
    return {"codes": codes_ND, "scales": scales_N, "exponent": exponent}


def _encode_4(x_ND: np.ndarray) -> dict[str, np.ndarray]:
    count, width = x_ND.shape
    groups = -(-width // GROUP)
    filled = np.zeros((count, groups * GROUP), np.float32)
    filled[:, :width] = x_ND
    filled_NGK = filled.reshape(count, groups, GROUP)
    scales_NG, exponent, steps_NG = _scales(np.abs(filled_NGK).max(axis=2, initial=0.0), MOST[4])
    codes = (
        (np.rint(filled_NGK / steps_NG[:, :, np.newaxis]) + 8)
        .astype(np.uint8)
        .reshape(filled.shape)[:, :width]
    )
    return {
        "nibbles": codes[:, ::2] | codes[:, 1::2] << 4,
        "scales": scales_NG,
        "exponent": exponent,
    }


def _decode_4(nibbles_NB: np.ndarray, scales_NG: np.ndarray, exponent: int) -> np.ndarray:
    count = nibbles_NB.shape[0]
    width = 2 * nibbles_NB.shape[1]
    _check_rows(scales_NG.shape == (count, -(-width // GROUP)), nibbles_NB, scales_NG)
    codes_ND = np.empty((count, width), np.float32)
    codes_ND[:, ::2], codes_ND[:, 1::2] = nibbles_NB & 15, nibbles_NB >> 4
    codes_ND -= 8
    return _bounded(codes_ND * np.repeat(scales_NG, GROUP, axis=1)[:, :width], exponent)


def _scales(largest: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scales to send, their exponent, what a code is worth: no less than `largest` / `most`, and 1
    for zeros)."""
    least = largest.astype(np.float64) / most
    exponent = _exponent(least)
    wanted = np.ldexp(least, -exponent)
    nearest = wanted.astype(np.float16)
    scales = np.where(nearest < wanted, np.nextafter(nearest, np.float16(np.inf)), nearest).astype(
        "<f2"
    )
    worth = np.ldexp(scales.astype(np.float64), exponent)
    steps = np.where(scales == 0, 1.0, worth).astype(np.float32)
    return scales, np.array(exponent, "|i1"), steps


def _exponent(x: np.ndarray) -> int:
    """The one that puts the largest number between 2 to the 14 and to the 15, if that leaves
    float32 room."""
    largest = max(float(x.max(initial=0)), -float(x.min(initial=0)))
    return max(frexp(largest)[1] - 15, LEAST_EXPONENT) if largest else 0


def _scaled(x: np.ndarray, exponent: int) -> np.ndarray:
    return x * np.float32(2.0**exponent)


def _bounded(x: np.ndarray, exponent: int) -> np.ndarray:
    """Times a power of two; what was rounded up past the end of float32 stays at its end."""
    if exponent <= SAFE_EXPONENT:
        return _scaled(x.astype(np.float32, copy=False), exponent)
    limit = np.float32(2.0**-exponent) * _FLOAT32_MAX
    return _scaled(np.clip(x, -limit, limit, dtype=np.float32), exponent)


# --- checks ---------------------------------------------------------------------------------------


def _check_shape(shape: tuple[int, ...], bits: int) -> None:
    if bits not in BITS:
        raise ValueError(f"{bits} bits; expected one of {', '.join(map(str, BITS))}")
    if len(shape) != 2:
        raise ValueError(f"numbers have shape {shape}; expected rows, [N, D]")
    if bits == 4 and shape[1] % 2:
        raise ValueError(
            f"rows of {shape[1]} numbers; 4 bits pack two in a byte: expected an even width, or 8 "
            "bits"
        )


def _read_exponent(arrays: Arrays) -> int:
    exponent = arrays.get("exponent")
    if exponent is None or exponent.shape != () or exponent.dtype != np.int8:
        raise WireError(
            f"smashed data came as {sorted(arrays)}; expected an exponent, one int8, among them"
        )
    return int(exponent)


def _finite(arrays: Arrays, name: str, axes: int) -> np.ndarray:
    array = arrays[name]
    if array.dtype != np.float16 or array.ndim != axes or not np.isfinite(array).all():
        raise WireError(
            f"{name} is {array.dtype}{list(array.shape)}; expected finite float16 with {axes} axes"
        )
    return array.astype(np.float32)


def _whole(arrays: Arrays, name: str, dtype: type) -> np.ndarray:
    array = arrays[name]
    if array.dtype != dtype or array.ndim != 2:
        raise WireError(
            f"{name} is {array.dtype}{list(array.shape)}; expected {np.dtype(dtype)} with 2 axes"
        )
    return array


def _check_rows(fits: bool, codes: np.ndarray, scales: np.ndarray) -> None:
    if not fits:
        raise WireError(f"scales {list(scales.shape)} do not fit codes {list(codes.shape)}")
