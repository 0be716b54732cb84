import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distilfleet.core.pack import pack, unpack
from distilfleet.core.wire import DTYPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    step: int
    first: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    round: int
    name: str
    scale: float
    weights: Mapping[str, np.ndarray]
    history: tuple[np.ndarray, ...] = ()
    moments: Moments | None = None
    soft_labels: np.ndarray | None = None


arrays_of_any_kind = hnp.arrays(
    st.sampled_from([np.dtype(spelled) for spelled in sorted(DTYPES)]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
states = st.builds(
    Server,
    round=st.integers(-(2**63), 2**63 - 1),
    name=st.text(),
    scale=st.floats(allow_nan=False),
    weights=st.dictionaries(st.text(), arrays_of_any_kind, max_size=3),
    history=st.lists(arrays_of_any_kind, max_size=3).map(tuple),
    moments=st.none() | st.builds(Moments, step=st.integers(0, 9), first=arrays_of_any_kind),
    soft_labels=st.none() | arrays_of_any_kind,
)


def small() -> Server:
    return Server(round=1, name="s", scale=0.5, weights={"w": np.arange(3.0)})


def fingerprint(value):
    """Equal for equal bits."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, Mapping):
        return {key: fingerprint(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(fingerprint(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return {name: fingerprint(getattr(value, name)) for name in value.__dataclass_fields__}
    return (type(value), value)


@given(states)
def test_a_state_comes_back_bit_for_bit(state):
    arrays, plain = pack(state)
    assert fingerprint(unpack(plain, arrays, Server)) == fingerprint(state)


@given(states)
def test_the_plain_part_survives_a_text_file(state):
    arrays, plain = pack(state)
    assert fingerprint(unpack(json.loads(json.dumps(plain)), arrays, Server)) == fingerprint(state)


def test_each_array_gets_a_name_of_its_own():
    shared = np.ones(2)
    arrays, plain = pack(
        Server(round=1, name="s", scale=0.5, weights={"a": shared, "b": shared}, history=(shared,))
    )
    assert sorted(arrays) == ["000000", "000001", "000002"]
    assert set(plain["weights"].values()) | set(plain["history"]) == set(arrays)


@pytest.mark.parametrize(
    "foreign", [object(), np.float32(1), np.int64(1), lambda: None, np.random.default_rng(0)]
)
def test_a_foreign_object_is_refused_by_type(foreign):
    with pytest.raises(TypeError, match=type(foreign).__name__):
        pack(Server(round=1, name="s", scale=0.5, weights={"w": foreign}))


def test_a_state_of_another_kind_is_refused():
    arrays, plain = pack(small())
    with pytest.raises(msgspec.ValidationError):
        unpack(plain, arrays, Moments)


def test_a_lost_array_is_named():
    _, plain = pack(small())
    with pytest.raises(KeyError, match="000000"):
        unpack(plain, {}, Server)


@pytest.mark.parametrize(
    ("field", "wrong"), [("round", "one"), ("name", 5), ("weights", ["000000"]), ("moments", 3)]
)
def test_damaged_plain_data_is_refused(field, wrong):
    arrays, plain = pack(small())
    with pytest.raises(msgspec.ValidationError):
        unpack({**plain, field: wrong}, arrays, Server)
