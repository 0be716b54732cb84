"""A safetensors file, piece by piece: no more than one array is in memory beside those given.

The bytes are those that `safetensors.numpy.save` makes. Format: https://huggingface.co/docs/safetensors,
eight bytes with the length of a header, the header in JSON, and the arrays one behind another.
"""

import json
from collections.abc import Iterator, Mapping

import numpy as np

DTYPES = {
    "<u8": "U64",
    "<i8": "I64",
    "<f8": "F64",
    "<f4": "F32",
    "<u4": "U32",
    "<i4": "I32",
    "<f2": "F16",
    "<u2": "U16",
    "<i2": "I16",
    "|i1": "I8",
    "|u1": "U8",
    "|b1": "BOOL",
}
"""Types as numpy and the format name them, in the order in which arrays lie: widest first."""
ORDER = {dtype: place for place, dtype in enumerate(DTYPES)}
ALIGNED = 8
"""The header is filled up to a multiple of so many bytes."""


def pieces(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """The file's bytes, an array at a time; each array is fetched twice."""
    layout = {name: (array.dtype.str, array.shape, array.nbytes) for name, array in arrays.items()}
    names = sorted(layout, key=lambda name: (ORDER[layout[name][0]], name))
    yield _header(names, layout, metadata)
    for name in names:
        yield raw(arrays[name])


def raw(array: np.ndarray) -> memoryview:
    """The array's bytes, without a copy where they lie in order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).data


def _header(
    names: list[str],
    layout: Mapping[str, tuple[str, tuple[int, ...], int]],
    metadata: Mapping[str, str],
) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        dtype, shape, size_bytes = layout[name]
        offsets = [end, end + size_bytes]
        entries[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": offsets}
        end += size_bytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text
