"""The bytes of every message, so that none can change unnoticed, and devices and servers of the
version before.

Whoever has to change a line here that is not new has broken the protocol: add a version instead.
"""

import asyncio

import msgspec
import numpy as np
import pytest

from distilfleet.core.types import ArraySpec, Expected, Job
from distilfleet.core.wire import encode_reply
from distilfleet.net import protocol
from distilfleet.net.enrolment import Enrol, Enrolled
from distilfleet.net.outbox import Outbox
from distilfleet.net.protocol import (
    Beat,
    Chunk,
    Committed,
    Decline,
    Grant,
    Hello,
    Numbering,
    Offer,
    Received,
    Refuse,
    Setup,
    Welcome,
)

OFFER = Offer("run/1", 5, b"dddd", 1, 0.5, 2.0, True, 0.25, 1.0, 4.0)
GOLDEN = {
    "9401920201a570692d303791b172756e2f313a747261696e3a70692d3037": Hello(
        (2, 1), "pi-07", ("run/1:train:pi-07",)
    ),
    "94020203cb402e000000000000": Welcome(2, 3, 15.0),
    "9303a776657273696f6ecb4082c00000000000": Refuse("version", 600.0),
    "9204c0": Beat(),
    "9204cb3fe0000000000000": Beat(0.5),
    "9305a372756ec4027b7d": Setup("run", b"{}"),
    "9b06a572756e2f3105c4046464646401cb3fe0000000000000cb4000000000000000c3cb3fd0000000000000"
    "cb3ff0000000000000cb4010000000000000": OFFER,
    "9507a572756e2f31010004": Grant("run/1", 1, 0, 4),
    "9408a572756e2f3100c403616263": Chunk("run/1", 0, b"abc"),
    "9309a572756e2f31c40464646464": Received("run/1", b"dddd"),
    "930aa572756e2f31c3": Committed("run/1", True),
    "930ba572756e2f31a26e6f": Decline("run/1", "no"),
}
JOB = Job(
    id="1:a:pi",
    device="pi",
    op="a",
    arrays={"x": np.arange(2, dtype="<f4")},
    expected=Expected(arrays={"y": ArraySpec("|u1", (3,))}, most_norm=2.0),
)
JOB_FRAME = (
    "5600000082a661727261797381a17985a56474797065a37c7531a573686170659103a761745f6d6f7374c2a56c65"
    "617374cbfff0000000000000ab73756d735f746f5f6f6e65c2a96d6f73745f6e6f726dcb40000000000000004446"
    "01000d0000000a00000093a6313a613a7069a27069a1619193a178a33c66349102000000000000803f"
)
FORMER_JOB_FRAME = (
    "3a00000082a661727261797381a17983a56474797065a37c7531a573686170659103a761745f6d6f7374c2a96d6f"
    "73745f6e6f726dcb4000000000000000444601000d0000000a00000093a6313a613a7069a27069a1619193a178a3"
    "3c66349102000000000000803f"
)
REPLY_FRAME = "444601010b0000000a00000092a6313a613a7069a270699193a179a37c75319103010203"


@pytest.mark.parametrize(
    ("golden", "message"), GOLDEN.items(), ids=[type(one).__name__ for one in GOLDEN.values()]
)
def test_messages_are_these_bytes(golden, message):
    assert protocol.encode(message).hex() == golden
    assert protocol.decode(bytes.fromhex("07000000" + golden)) == (7, message)
    assert Numbering(6, 6).write(message).hex() == "07000000" + golden


def test_no_message_is_left_out():
    assert {type(message) for message in GOLDEN.values()} == set(protocol.AnyMessage.__args__)


def test_frames_of_jobs_and_answers_are_these_bytes():
    reply = encode_reply("1:a:pi", "pi", {"y": np.array([1, 2, 3], "|u1")})
    assert reply.to_bytes().hex() == REPLY_FRAME
    assert bytes(protocol.pack_job(JOB)).hex() == JOB_FRAME


def test_an_announcement_may_have_more_or_fewer_words():
    """What is expected of an answer is checked by the server, so a device may pass over words that
    it does not know."""
    more, fewer = (
        protocol.unpack_job(bytes.fromhex(frame)) for frame in (JOB_FRAME, FORMER_JOB_FRAME)
    )
    assert more.expected == fewer.expected == JOB.expected
    unknown = msgspec.msgpack.decode(bytes.fromhex(JOB_FRAME)[4:][: bytes.fromhex(JOB_FRAME)[0]])
    announced = msgspec.msgpack.encode(unknown | {"word": 1})
    frame = (
        bytes([len(announced), 0, 0, 0])
        + announced
        + bytes.fromhex(JOB_FRAME)[4 + bytes.fromhex(JOB_FRAME)[0] :]
    )
    assert protocol.unpack_job(frame).expected == JOB.expected


def test_requests_for_a_certificate_are_these_bytes():
    asked = Enrol(device="pi", request=b"r", proof=b"p")
    assert (
        msgspec.msgpack.encode(asked).hex()
        == "83a6646576696365a27069a772657175657374c40172a570726f6f66c40170"
    )
    got = Enrolled(certificate=b"c", address="a:1")
    assert (
        msgspec.msgpack.encode(got).hex()
        == "82ab6365727469666963617465c40163a761646472657373a3613a31"
    )


# --- the version before ---------------------------------------------------------------------------


def test_messages_of_one_payload_are_these_bytes():
    line = Numbering()
    payload = protocol.joined([line.write(Beat()), line.write(Received("run/1", b"dddd"))])
    assert (
        payload.hex()
        == "00000000"
        + "07000000"
        + "01000000"
        + "9204c0"
        + "12000000"
        + "02000000"
        + "9309a572756e2f31c40464646464"
    )
    assert list(Numbering().messages(payload)) == [Beat(), Received("run/1", b"dddd")]


@pytest.mark.parametrize("version", protocol.VERSIONS)
def test_one_message_at_a_time_goes_to_the_version_before(version):
    """All that is new in version 3."""
    assert protocol.VERSIONS == (3, 2)
    taken = asyncio.run(
        payloads(version, [Beat(), Grant("run/1", 1, 0, 4), Received("run/1", b"d")])
    )
    assert [len(messages) for messages in taken] == ([3] if version == 3 else [1, 1, 1])


async def payloads(version, messages):
    box, heard, taken = Outbox(version), Numbering(), []
    for message in messages:
        box.put(message)
    while len(box):
        data, together = await box.take()
        assert list(heard.messages(data)) == together
        taken.append(together)
    return taken
