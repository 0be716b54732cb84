"""What would not come back as it was is refused on the way out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from distilfleet.core.pack import pack, unpack
from distilfleet.core.types import Expected, Job, Missed, Reply
from distilfleet.core.wire import MOST_ARRAYS, admit, body_bytes, encode_body, specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Loose:
    anything: Any = None
    nested: Mapping[str, tuple[Any, ...]] | None = None


@pytest.mark.parametrize(
    "value",
    [
        b"raw",
        bytearray(b"raw"),
        {"a"},
        frozenset("a"),
        1j,
        np.float64(1),
        memoryview(b"raw"),
        object,
    ],
)
def test_a_state_holds_no_bytes_sets_or_scalars_of_numpy(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        pack(Loose(anything=value))
    with pytest.raises(TypeError, match=type(value).__name__):
        pack(Loose(nested={"deep": (1, [value])}))


def test_an_array_in_a_field_that_is_not_typed_as_one_is_refused():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class State:
        anything: Any

    with pytest.raises(TypeError, match="State holds arrays in a field"):
        pack(State(anything=np.ones(2)))
    with pytest.raises(TypeError, match="State holds arrays in a field"):
        pack(State(anything={"deep": [np.ones(2)]}))
    arrays, plain = pack(State(anything={"deep": [1, "two", None]}))
    assert unpack(plain, arrays, State) == State(anything={"deep": [1, "two", None]})


def test_a_body_has_no_more_arrays_than_can_be_decoded():
    one = np.zeros(1, np.uint8)
    encode_body({str(i): one for i in range(MOST_ARRAYS)})
    with pytest.raises(
        ValueError, match=f"at most {MOST_ARRAYS} arrays in a frame, got {MOST_ARRAYS + 1}"
    ):
        encode_body({str(i): one for i in range(MOST_ARRAYS + 1)})


def test_announcements_are_little_endian_as_frames_are():
    arrays = {"x": np.zeros(3, ">f4"), "y": np.zeros((), ">i8"), "z": np.zeros(2, np.uint8)}
    assert {name: spec.dtype for name, spec in specs(arrays).items()} == {
        "x": "<f4",
        "y": "<i8",
        "z": "|u1",
    }
    body = encode_body(arrays)
    assert body_bytes(specs(arrays)) == len(body.manifest) + len(body.data)


@pytest.mark.parametrize(("job", "device"), [("2", "a"), ("1", "b"), ("2", "b")])
def test_an_answer_to_another_job_or_from_another_device_is_refused(job, device):
    asked = Job(id="1", device="a", op="x", arrays={}, expected=Expected(arrays={}))
    refused = admit(Reply(job=job, device=device, arrays={}), asked)
    assert isinstance(refused, Missed)
    assert (refused.job, refused.device) == ("1", "a")
    assert (
        refused.reason
        == f"rejected: expected an answer to 1 from a, got one to {job} from {device}"
    )
    assert isinstance(admit(Reply(job="1", device="a", arrays={}), asked), Reply)
