"""Messages, transfers, room and journal, by themselves."""

import random
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilfleet.core.errors import RecordError, WireError
from distilfleet.core.types import ArraySpec, Expected, Job
from distilfleet.core.wire import encode_body, encode_reply
from distilfleet.net import protocol
from distilfleet.net.device_side import DeviceSide, Held, Settle
from distilfleet.net.journal import Outcome, SqliteJournal
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
from distilfleet.net.server_side import Arrived, ServerSide
from distilfleet.net.transfer import EAGER_BYTES, Effort, FlowControl, Incoming, Outgoing

EVERY = [
    Hello((1,), "pi-07", ("run/1:train:pi-07",)),
    Welcome(1, 3, 15.0),
    Refuse("version", 600.0),
    Beat(),
    Setup("run", b"{}"),
    Offer("run/1", 5, b"d" * 32, 1, 0.5, 2.0, True),
    Grant("run/1", 1, 0, 4),
    Chunk("run/1", 0, b"abc"),
    Received("run/1", b"d" * 32),
    Committed("run/1", True),
    Decline("run/1", "no"),
]
JOB = Job(
    id="1:a:pi",
    device="pi",
    op="a",
    arrays={"x": np.arange(6, dtype=np.float32)},
    expected=Expected(arrays={"y": ArraySpec("<f4", (3,))}),
)


def test_every_message_comes_through_as_it_was():
    assert {type(message) for message in EVERY} == set(protocol.AnyMessage.__args__)
    out, back = Numbering(), Numbering()
    assert [back.read(out.write(message)) for message in EVERY] == EVERY


def test_what_comes_twice_is_dropped_and_a_gap_ends_the_session():
    out, back = Numbering(), Numbering()
    first, second, third = (out.write(Beat()) for _ in range(3))
    assert back.read(first) == Beat()
    assert back.read(first) is None
    with pytest.raises(WireError, match="expected message 2 of the session, got 3"):
        back.read(third)
    assert back.read(second) == Beat()


@given(st.binary(max_size=200))
def test_no_bytes_are_a_job_by_chance(data):
    with pytest.raises(WireError):
        protocol.unpack_job(data)


@given(
    st.lists(st.binary(min_size=1, max_size=50).filter(lambda one: one[:4] != bytes(4)), min_size=1)
)
def test_messages_of_one_payload_are_taken_apart_again(messages):
    assert protocol.parted(protocol.joined(messages)) == messages


@given(st.binary(max_size=200))
def test_any_payload_is_taken_apart_or_refused(data):
    try:
        messages = protocol.parted(data)
    except WireError:
        return
    assert len(messages) == 1 or protocol.joined(messages) == data


def test_versions_overlap_or_do_not():
    assert protocol.agree((3, 2), (2, 1)) == 2
    assert protocol.agree((1,), (2, 1)) == 1
    assert protocol.agree((4, 3), (2, 1)) is None


def test_a_job_travels_with_what_is_expected_of_it():
    job = protocol.unpack_job(bytes(protocol.pack_job(JOB)))
    assert (job.id, job.op, job.expected) == (JOB.id, JOB.op, JOB.expected)
    np.testing.assert_array_equal(job.arrays["x"], JOB.arrays["x"])
    assert protocol.most_bytes(JOB) == len(
        encode_reply(JOB.id, JOB.device, {"y": np.zeros(3, np.float32)})
    )


def moved(out: Outgoing, into: Incoming, most: int) -> int:
    """Chunks that are sent until `most` have come; the rest is lost."""
    sent, grants = 0, [into.grant(0.0)]
    while grants and sent < most:
        for chunk in out.granted(grants.pop())[: most - sent]:
            sent += 1
            if into.take(chunk, 0.0) and not into.complete:
                grants = [into.grant(0.0)]
    return sent


@given(st.integers(1, 500), st.integers(0, 20))
def test_a_cut_transfer_goes_on_where_it_stopped(size_bytes, before_cut):
    data = random.Random(size_bytes).randbytes(size_bytes)
    out = Outgoing("k", data, chunk_bytes=16)
    first = Incoming(out.offer(), chunk_bytes=16)
    moved(out, first, before_cut)
    have = len(first.parts)
    second = Incoming(out.offer(), first.parts, chunk_bytes=16)
    sent = 0 if second.complete else moved(out, second, 1000)
    assert second.complete
    assert second.sound()
    assert second.data == data
    assert have + sent == protocol.chunks_of(size_bytes, 16)


def under_way(each_s: list[float]) -> list[int]:
    """Chunks that the receiver lets the sender have on the link, after each that came after so many
    seconds."""
    out = Outgoing("k", bytes(1600), chunk_bytes=16)
    into, now_s = Incoming(out.offer(), chunk_bytes=16), 0.0
    into.grant(now_s)
    ahead = []
    for index, lasting_s in enumerate(each_s):
        now_s += lasting_s
        assert into.take(Chunk("k", index, bytes(16)), now_s)
        grant = into.grant(now_s)
        ahead.append(grant.until - grant.start)
    return ahead


def test_a_cut_costs_one_chunk_of_a_slow_link_and_half_a_second_of_a_fast_one():
    assert (
        Incoming(Outgoing("k", bytes(64), chunk_bytes=16).offer(), chunk_bytes=16).grant(5.0).until
        == 1
    )
    assert under_way([1.8] * 5) == [1] * 5
    assert under_way([0.2] * 5) == [2] * 5
    assert under_way([0.001] * 5) == [4] * 5
    assert under_way([0.0] * 5) == [4] * 5
    assert under_way([0.001, 0.001, 3.0, 0.0, 0.0])[2:] == [1, 1, 1]


def test_room_is_shared_in_order():
    room = FlowControl(most_bytes=10)
    assert room.ask("a", 6)
    assert not room.ask("b", 6)
    assert not room.ask("c", 1)
    assert room.free("a") == ["b", "c"]
    assert room.used_bytes == 7
    assert room.free("b") == []
    assert not FlowControl(10, {"x": 10}, used_bytes=10).ask("large", 99)
    assert FlowControl(10).ask("large", 99)


def outcome(job: str, number: int, reason: str = "") -> Outcome:
    return Outcome(
        key=f"r/{job}", run="r", round=number, job=job, device="d", reason=reason, digest=b"x"
    )


def test_the_journal_says_what_is_settled(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.record([outcome("1:a", 1), outcome("1:b", 1, "deadline"), outcome("2:a", 2)])
    assert journal.verdicts(["r/1:a", "r/1:b", "r/2:a", "r/9"]) == {"r/1:b": False}
    journal.commit("r", 1)
    assert journal.verdicts(["r/1:a", "r/1:b", "r/2:a"]) == {"r/1:a": True, "r/1:b": False}
    assert (journal.committed("r"), journal.committed("other")) == (1, 0)
    assert [row.job for row in journal.outcomes("r", 1)] == ["1:a", "1:b"]
    assert (journal.begin(), journal.begin()) == (1, 2)
    journal.close()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_a_torn_log_loses_the_end_and_nothing_else(tmp_path, keep):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    for number in range(1, 21):
        journal.record([outcome(f"{number}:a", number)])
        journal.commit("r", number)
    torn = tmp_path / "torn"
    torn.mkdir()
    for file in tmp_path.glob("journal.sqlite*"):
        shutil.copy(file, torn)
    journal.close()
    log = torn / "journal.sqlite-wal"
    log.write_bytes(log.read_bytes()[: int(keep * log.stat().st_size)])
    (torn / "journal.sqlite-shm").unlink(missing_ok=True)
    again = SqliteJournal(torn / "journal.sqlite")
    last = again.committed("r")
    assert all(again.outcomes("r", number) for number in range(1, last + 1))
    assert last == 20 or keep < 1
    again.close()


def test_a_damaged_journal_is_named(tmp_path):
    file = tmp_path / "journal.sqlite"
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(RecordError, match="is damaged"):
        SqliteJournal(file)


# --- a device's session ---------------------------------------------------------------------------


def working(*keys: str) -> DeviceSide:
    """A device that has received these jobs and done none of them."""
    side = DeviceSide("pi", 1000)
    side.receive(Welcome(1, 1, 15.0), 0.0)
    for key in keys:
        side.receive(Offer(key, 3, protocol.digest_of(key.encode()), 1), 0.0)
        side.receive(Chunk(key, 0, key.encode()), 0.0)
    return side


def done(side: DeviceSide, key: str) -> list:
    return side.answer(key, Held(job_digest=protocol.digest_of(key.encode()), data=b"answer"))


def test_a_device_asks_about_jobs_that_are_under_way_too():
    """An answer that is finished between hello and welcome would else be built upon before its
    outcome is known."""
    side = working("r/a", "r/b")
    done(side, "r/a")
    assert side.hello(1.0).unsettled == ("r/a", "r/b")


def test_what_is_built_on_an_answer_that_did_not_count_is_called_off_while_it_runs():
    side = working("r/a", "r/b")
    done(side, "r/a")
    said = side.receive(Committed("r/a", False), 1.0)
    assert said == [
        Settle("r/b", False),
        Settle("r/a", False),
        Decline("r/b", "built on an answer that did not count"),
    ]
    assert done(side, "r/b") == []


def test_a_small_frame_needs_no_grant_but_where_there_is_no_room():
    room = FlowControl(100, {"other": 100}, used_bytes=100)
    server, side = ServerSide(uploads=room), DeviceSide("pi", 1000)
    fence, _ = server.enter(side.hello(0.0), 0.0)
    side.receive(Welcome(2, fence, 15.0), 0.0)
    offer, chunk = (one.message for one in server.assign("pi", "r/1", b"job", 100))
    assert side.receive(offer, 0.0) == []
    received, begin = side.receive(chunk, 0.0)
    server.receive("pi", fence, received, 0.0)
    offer, chunk = side.answer("r/1", Held(job_digest=begin.digest, data=b"answer"))
    assert server.receive("pi", fence, offer, 0.0) == []
    assert server.receive("pi", fence, chunk, 0.0) == []  # no room
    (granted,) = server._granted(room.free("other"))
    (again,) = side.receive(granted.message, 0.0)
    assert again == chunk
    said, arrived = server.receive("pi", fence, again, 0.0)
    assert said.message == Received("r/1", offer.digest)
    assert arrived.data == b"answer"


def test_a_large_frame_waits_for_its_grant():
    server = ServerSide(uploads=FlowControl(1 << 30))
    server.enter(Hello(protocol.VERSIONS, "pi"), 0.0)
    (offer,) = server.assign("pi", "r/1", bytes(EAGER_BYTES + 1), 100)
    assert isinstance(offer.message, Offer)


@given(st.lists(st.binary(max_size=9), max_size=5), st.integers(0, 40), st.integers(0, 40))
def test_pieces_are_as_the_bytes_that_they_make(parts, at, end):
    pieces, whole = protocol.Pieces(tuple(parts)), b"".join(parts)
    assert (len(pieces), bytes(pieces), pieces[at:end]) == (len(whole), whole, whole[at:end])
    assert protocol.digest_of(pieces) == protocol.digest_of(whole)


def test_jobs_of_a_wave_share_their_body():
    body = encode_body(JOB.arrays)
    assert protocol.pack_job(JOB, body).parts[-1] is body.data


def test_jobs_wait_until_others_are_with_their_devices():
    server = ServerSide(uploads=FlowControl(1 << 30), downloads=FlowControl(10))
    for name in ("a", "b"):
        server.enter(Hello((2,), name), 0.0)
    offer, _ = (one.message for one in server.assign("a", "r/1", b"ten bytes!", 100))
    assert server.assign("b", "r/2", b"one", 100) == []
    said = server.receive("a", 1, Received("r/1", offer.digest), 0.0)
    assert [(one.device, type(one.message)) for one in said] == [("b", Offer), ("b", Chunk)]
    assert server.assign("a", "r/3", b"ten bytes!", 100) == []
    slow = server.tick(29.0) + server.tick(31.0)
    assert [one.device for one in slow if isinstance(one.message, Chunk)] == ["a"]


@pytest.mark.parametrize(
    ("received_s", "told"),
    [(2.0, (2.0, 2.5, 4.5)), (2.9, (2.9, 3.0, 5.0)), (4.5, (4.5, None, None))],
    ids=["as it was", "heard late", "not believed"],
)
def test_a_job_is_done_before_its_answer_is_offered(received_s, told):
    server = ServerSide(uploads=FlowControl(1 << 30))
    fence, _ = server.enter(Hello(protocol.VERSIONS, "pi"), 0.0)
    assigned = server.assign("pi", "run/1", b"job", 100)
    offer = next(one.message for one in assigned if isinstance(one.message, Offer))
    server.receive("pi", fence, Received("run/1", offer.digest), received_s)
    answer = Outgoing("run/1", b"answer", 10, Effort(busy_s=2.0, waited_s=0.5))
    server.receive("pi", fence, answer.offer(), 5.0)
    (arrived,) = [
        one
        for chunk in answer.granted(Grant("run/1", answer.attempt, 0, 1))
        for one in server.receive("pi", fence, chunk, 5.5)
        if isinstance(one, Arrived)
    ]
    assert (arrived.timed.received_s, arrived.timed.begun_s, arrived.timed.done_s) == told
