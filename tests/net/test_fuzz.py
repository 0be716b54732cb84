"""A hundred thousand damaged pieces at every reader of a stranger's bytes."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from distilfleet.core.errors import WireError
from distilfleet.core.types import ArraySpec, Expected, Job
from distilfleet.net import protocol
from distilfleet.net.protocol import Decline, Grant, Hello, Offer
from distilfleet.net.server_side import Declined, ServerSide
from distilfleet.net.transfer import FlowControl

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
JOB = Job(
    id="1:a:pi",
    device="pi",
    op="a",
    arrays={},
    expected=Expected(arrays={"y": ArraySpec("<f4", (50_000,))}),
)


def test_a_hundred_thousand_damaged_pieces_break_nothing():
    done = subprocess.run(
        [sys.executable, FUZZ, "--frames", "100000"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["frames"] == 100_000
    assert 1_000 < told["let_in"] < 50_000
    assert told["growth_mib"] < 16


def offered(size_bytes: int) -> list:
    """What a server does when it is offered so much as the answer to a job."""
    server = ServerSide(uploads=FlowControl(1 << 20))
    server.assign("pi", "run/1:a:pi", protocol.pack_job(JOB), protocol.most_bytes(JOB))
    fence, _ = server.enter(Hello((2,), "pi"), 0.0)
    said = server.receive("pi", fence, Offer("run/1:a:pi", size_bytes, bytes(32), 1), 0.0)
    assert (server.uploads.used_bytes > 0) is (not isinstance(said[0], Declined))
    return said


def test_what_does_not_fit_the_job_is_refused_before_a_byte_of_it_is_sent():
    most = protocol.most_bytes(JOB)
    assert isinstance(offered(most)[0].message, Grant)
    for size_bytes in (0, most + 1, 2**62):
        (refused,) = offered(size_bytes)
        assert isinstance(refused, Declined)
        assert f"at most {most} are expected" in refused.reason


@pytest.mark.parametrize(
    "lie",
    [
        Grant("k", 1, -(2**63), 4),
        Offer("k", -1, b"", 1),
        Offer("k", 1, b"", 1, float("nan")),
        Offer("k", 1, b"", 1, 0.0, float("inf")),
        Offer("k", 1, bytes(33), 1),
        Offer("k" * 513, 1, b"", 1),
        Decline("k", "x" * 1001),
        Hello(tuple(range(17)), "pi"),
        Hello((2,), "pi", ("k",) * 65),
    ],
    ids=lambda lie: repr(lie)[:40],
)
def test_numbers_and_words_have_bounds(lie):
    with pytest.raises(WireError, match="unreadable message"):
        protocol.decode(bytes([1, 0, 0, 0]) + msgspec.msgpack.encode(lie))
