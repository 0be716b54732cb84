"""Damaged bytes at every place where a stranger's bytes are read: messages, frames of jobs and
answers, requests.

    python benchmarks/fuzz.py [--frames 100000] [--seed 0]     mutations of good bytes, and bombs
    python benchmarks/fuzz.py --atheris [libFuzzer options]    led by coverage
                                                               (distilfleet[fuzz])

Each piece is read by all readers in turn; what is read goes into a server's and a device's state
machines. Anything but `WireError` ends the run. All of it happens in a thread with a stack of 256
KiB, where deep recursion would crash.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from distilfleet.core.errors import WireError
from distilfleet.core.types import ArraySpec, Expected, Job, RunSpec, Wave
from distilfleet.core.wire import admit, decode_reply, encode_reply
from distilfleet.net import protocol
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.device_side import DeviceSide
from distilfleet.net.enrolment import Enrol, read_request
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.journal import SqliteJournal
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
from distilfleet.net.server_side import ServerSide
from distilfleet.net.transfer import FlowControl

STACK_BYTES = 256 << 10
WARM_SHARE = 0.05
FRESH_EVERY, CERTIFIED_EVERY = 100, 2
KEY = "run/1:a:pi"
EXPECTED = Expected(
    arrays={"y": ArraySpec("<f4", (2, 3)), "n": ArraySpec("|u1", (4,), at_most=True)},
    most_norm=10.0,
)
JOB = Job(
    id="1:a:pi", device="pi", op="a", arrays={"x": np.arange(6, dtype="<f4")}, expected=EXPECTED
)
JOB_FRAME = bytes(protocol.pack_job(JOB))
REPLY_FRAME = encode_reply(
    JOB.id, "pi", {"y": np.ones((2, 3), "<f4"), "n": np.ones(3, "|u1")}
).to_bytes()
SPEC = RunSpec(
    method="koala", settings={"a": [1, {"b": 2.0}]}, models={}, versions={"numpy": "2"}, seed=1
)
MESSAGES = (
    Hello(protocol.VERSIONS, "pi", (KEY, "run/2:a:pi")),
    Welcome(2, 3, 15.0),
    Refuse("version", 600.0),
    Beat(),
    Setup("run", msgspec.msgpack.encode(SPEC)),
    Offer(KEY, len(REPLY_FRAME), protocol.digest_of(REPLY_FRAME), 1, 0.5, 2.0, True, 0.1),
    Offer(KEY, len(JOB_FRAME), protocol.digest_of(JOB_FRAME), 1),
    Grant(KEY, 1, 0, 4),
    Chunk(KEY, 0, REPLY_FRAME),
    Chunk(KEY, 0, JOB_FRAME),
    Received(KEY, protocol.digest_of(JOB_FRAME)),
    Committed(KEY, True),
    Decline(KEY, "no"),
)
REQUEST = msgspec.msgpack.encode(Enrol(device="pi", request=new_request("pi")[1], proof=bytes(32)))
NUMBERS = (
    "cfffffffffffffffff",
    "d38000000000000000",
    "ceffffffff",
    "cb7ff8000000000000",
    "cb7ff0000000000000",
    "ff",
    "00",
)
LENGTHS = ("ddffffffff", "dfffffffff", "c6ffffffff", "dbffffffff", "c9ffffffff01", "dc7fff", "c4ff")
BOMBS = (b"\x91", b"\x92\x01", b"\x81\xa1k", b"\xdd\x00\x00\x00\x01", b"\xc7\x01\x05")


# --- readers --------------------------------------------------------------------------------------


class Ends:
    """A server and a device in the middle of a job, and an authority."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "authority")
        self.journal = SqliteJournal(folder / "journal.sqlite")
        self.count = 0
        self.refresh()

    def refresh(self) -> None:
        self.coordinator = Coordinator(
            server=ServerSide(uploads=FlowControl(1 << 20)),
            journal=self.journal,
            run="run",
            number=1,
        )
        self.coordinator.start(Wave(jobs=[JOB]), 0.0)
        self.fence, _ = self.coordinator.enter(Hello(protocol.VERSIONS, "pi"), 0.0)
        self.side = DeviceSide("pi", 1 << 20)

    def read(self, data: bytes) -> int:
        """How many of the readers let it in. Raises what must not be raised."""
        self.count += 1
        if self.count % FRESH_EVERY == 0:
            self.refresh()
        readers: tuple[Callable[[bytes], object], ...] = (
            self._message,
            self._job,
            self._reply,
            self._request,
        )
        return sum(map(self._lets_in, readers, (data,) * len(readers)))

    def _lets_in(self, reader: Callable[[bytes], object], data: bytes) -> bool:
        try:
            reader(data)
        except WireError:
            return False
        return True

    def _message(self, data: bytes) -> None:
        for one in protocol.parted(data):
            self._heard(one)

    def _heard(self, data: bytes) -> None:
        _, message = protocol.decode(data)
        if isinstance(message, Hello):
            if message.device == "pi":
                self.fence, _ = self.coordinator.enter(message, 0.0)
            return
        self._lets_in(lambda _: self.coordinator.receive("pi", self.fence, message, 0.0), data)
        self.side.receive(message, 0.0)

    def _job(self, data: bytes) -> None:
        protocol.unpack_job(data)

    def _reply(self, data: bytes) -> None:
        admit(decode_reply(data), JOB)

    def _request(self, data: bytes) -> None:
        asked = read_request(data)
        if self.count % CERTIFIED_EVERY == 0:
            self.authority.sign(asked.device, asked.request, 1.8e9)


# --- damage ---------------------------------------------------------------------------------------


def good() -> list[bytes]:
    messages = [Numbering().write(message) for message in MESSAGES]
    return [
        *messages,
        protocol.joined(messages),
        protocol.joined(messages[-2:]),
        JOB_FRAME,
        REPLY_FRAME,
        REQUEST,
    ]


def damaged(pieces: list[bytes], rng: random.Random) -> bytes:
    data = bytearray(rng.choice(pieces))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(DAMAGES)(data, rng.randrange(len(data) + 1), rng, pieces)
    return bytes(data)


def flip(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    if at < len(data):
        data[at] = rng.choice((rng.randrange(256), 0, 0xFF, 0x80, data[at] ^ 1))


def cut(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    del data[at:]


def drop(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    del data[at : at + rng.randrange(1, 9)]


def trail(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    data += rng.randbytes(rng.randrange(1, 20))


def splice(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    other = rng.choice(pieces)
    data[at:] = other[rng.randrange(len(other)) :]


def number(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    data[at : at + 1] = bytes.fromhex(rng.choice(NUMBERS))


def length(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    data[at : at + 1] = bytes.fromhex(rng.choice(LENGTHS))


def bomb(data: bytearray, at: int, rng: random.Random, pieces: list[bytes]) -> None:
    data[at:at] = rng.choice(BOMBS) * rng.choice((3, 50, 2000))


DAMAGES = (flip, flip, flip, cut, drop, trail, splice, number, length, bomb)


# --- runs -----------------------------------------------------------------------------------------


def resident_mib(most: bool = False) -> float:
    """Now, or at the most since `forget_peak`."""
    name = "VmHWM" if most else "VmRSS"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 2**20


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def large() -> Iterator[bytes]:
    """As large as a message may be, in a few words that promise more."""
    yield from (bytes([1, 0, 0, 0]) + one * ((1 << 20) // len(one)) for one in BOMBS)
    yield bytes([1, 0, 0, 0]) + b"\xdd\x00\x0f\xff\xff" + b"\xa0" * ((1 << 20) - 1)


def mutate(frames: int, seed: int) -> dict[str, float]:
    rng, pieces, began_s = random.Random(seed), good(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        ends = Ends(Path(folder))
        let_in = sum(ends.read(data) > 0 for data in pieces)
        for done in range(frames):
            if done == int(WARM_SHARE * frames):
                warm_mib = resident_mib()
                forget_peak()
                let_in += sum(ends.read(data) > 0 for data in large())
            let_in += ends.read(damaged(pieces, rng)) > 0
    taken_s, growth_mib = time.process_time() - began_s, resident_mib(most=True) - warm_mib
    return {
        "frames": frames,
        "let_in": let_in,
        "cpu_s": round(taken_s, 2),
        "growth_mib": round(growth_mib, 2),
    }


def led_by_coverage(options: list[str]) -> None:
    import atheris

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for index, data in enumerate(good()):
            (corpus / str(index)).write_bytes(data)
        ends = Ends(Path(folder))
        atheris.Setup([sys.argv[0], *options, str(corpus)], ends.read)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    asked, options = parser.parse_known_args()
    if asked.atheris:
        led_by_coverage(options)
        return
    outcome: dict[str, float] = {}
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=lambda: outcome.update(mutate(asked.frames, asked.seed)))
    thread.start()
    thread.join()
    print(json.dumps(outcome))
    sys.exit(0 if outcome else 1)


if __name__ == "__main__":
    main()
