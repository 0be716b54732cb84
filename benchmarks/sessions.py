"""The server of a real fleet under load, on loopback with mutual TLS: churn, exchanges, enrolment,
many devices.

    python benchmarks/sessions.py [--devices 1000] [--down-s 10]

The server is one process, all devices are another. Memory is resident, of the server; `connected`
is above what it has when idle. Then the server is killed with SIGKILL, started again after
`--down-s`, and asks for the same answers again: devices come back with the pauses of the agent, and
what they did before the kill must not be done twice.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from distilfleet.core.errors import WireError
from distilfleet.core.types import ArraySpec, Expected, Job, Wave
from distilfleet.core.wire import encode_reply
from distilfleet.net.agent import BACKOFF_GROWTH, FIRST_BACKOFF_S, MOST_BACKOFF_S
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.device_side import Begin, DeviceSide, Held, Prepare, Settle
from distilfleet.net.enrolment import Enrolled, enrol, read_request
from distilfleet.net.heap import SERVER_ARENAS, settle_heap
from distilfleet.net.identity import Authority
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.keys import Keys, Token
from distilfleet.net.protocol import Numbering, unpack_job
from distilfleet.net.renewal import keys_of
from distilfleet.net.server_side import ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.spool import Spool
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import connect, listen

MEBIBYTE = 1 << 20
ROOM_BYTES = 64 << 20
CHURN, EXCHANGES, AT_ONCE = 2000, 100, 32


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


# --- server ---------------------------------------------------------------------------------------


async def serve(folder: Path, names: list[str], pipe: Pipe, port: int) -> None:
    """With a port, as one that was there before."""
    settle_heap(SERVER_ARENAS)
    authority, journal = Authority(folder / "authority"), SqliteJournal(folder / "journal.sqlite")
    server_keys = authority.server_keys(["localhost"], time.time())
    server = ServerSide(uploads=FlowControl(ROOM_BYTES), now_s=time.monotonic())
    coordinator = Coordinator(server=server, journal=journal, run="bench", spool=Spool(folder))
    session_server = SessionServer(
        coordinator=coordinator, enrolled=frozenset(names), denied=authority.denied
    )

    async def echo(_peer, stream):
        while (message := await stream.read()) is not None:
            await stream.write(message)

    async def certify(_peer, data):
        asked = read_request(data)
        certificate = authority.enrol(asked.device, asked.request, asked.proof, time.time())
        return msgspec.msgpack.encode(Enrolled(certificate=certificate, address=""))

    sessions = await listen(f"localhost:{port}", server_keys, {}, session_server.stream)
    enrolment = await listen("localhost:0", server_keys, {"Enrol": certify})
    echoes = await listen("localhost:0", server_keys, {}, echo)
    ticking = asyncio.create_task(session_server.tick())
    where = f"localhost:{enrolment.port}"
    tokens = (
        []
        if port
        else [authority.token(name, "rpi-4b", where, 3600.0, time.time()).text() for name in names]
    )
    pipe.send((sessions.port, echoes.port, tokens))
    await answer(session_server, names, pipe)
    ticking.cancel()
    for one in (sessions, enrolment, echoes):
        await one.close()


async def answer(session_server: SessionServer, names: list[str], pipe: Pipe) -> None:
    """What the other process asks."""
    loop = asyncio.get_running_loop()
    while (asked := await loop.run_in_executor(None, pipe.recv)) != "stop":
        if asked in ("up", "down"):
            pipe.send(await wave(session_server, names, asked))
        else:
            pipe.send((resident_mb(), len(session_server.live)))


async def wave(session_server: SessionServer, names: list[str], which: str) -> tuple[int, float]:
    """Answers and the most memory while they came. `down`: all share a mebibyte, and answer a
    byte."""
    expected = Expected(arrays={"x": ArraySpec("|u1", (MEBIBYTE if which == "up" else 1,))})
    arrays = {} if which == "up" else {"x": np.zeros(MEBIBYTE, np.uint8)}
    jobs = [
        Job(id=f"1:{which}:{name}", device=name, op=which, arrays=arrays, expected=expected)
        for name in names
    ]
    most_mb = 0.0

    async def watch() -> None:
        nonlocal most_mb
        while True:
            most_mb = max(most_mb, resident_mb())
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    session_server.dispatch(session_server.coordinator.begin(1))
    ticket = await session_server.start(Wave(jobs=jobs, deadline_s=300.0))
    results = await session_server.collect(ticket)
    watching.cancel()
    return sum(hasattr(result, "arrays") for result in results), max(most_mb, resident_mb())


# --- devices --------------------------------------------------------------------------------------


async def device(name: str, address: str, keys: Keys, open_ones: set[str]) -> None:
    """Answers whatever it is asked with a mebibyte, and comes back as an agent does."""
    side, rng, failures = DeviceSide(name, 2 << 20), Random(name), 0
    while True:
        with suppress(ConnectionError, WireError):
            await session(side, address, keys, open_ones)
        failures = 0 if side.open else failures + 1
        side.open = False
        open_ones.discard(name)
        most_s = min(MOST_BACKOFF_S, FIRST_BACKOFF_S * BACKOFF_GROWTH ** min(failures, 20))
        await asyncio.sleep(rng.uniform(0.02, most_s))


async def session(side: DeviceSide, address: str, keys: Keys, open_ones: set[str]) -> None:
    connection = await connect(address, keys)
    out, into = Numbering(), Numbering()
    try:
        await connection.write(out.write(side.hello(time.monotonic())))
        while (data := await connection.read()) is not None:
            for output in [
                one
                for message in into.messages(data)
                for one in side.receive(message, time.monotonic())
            ]:
                said = done(side, output) if isinstance(output, Begin) else [output]
                for one in said:
                    if not isinstance(one, Prepare | Settle):
                        await connection.write(out.write(one))
            if side.open:
                open_ones.add(side.device)
    finally:
        await connection.shut()


DONE: list[str] = []
"""Jobs, in the order in which they were done."""


def done(side: DeviceSide, begin: Begin):
    job = unpack_job(begin.data)
    DONE.append(job.id)
    frame = encode_reply(
        job.id, job.device, {"x": np.zeros(job.expected.arrays["x"].shape, np.uint8)}
    ).to_bytes()
    return side.answer(begin.key, Held(job_digest=begin.digest, data=frame))


@dataclass
class Served:
    """The server's process, which can be killed and started again."""

    folder: str
    names: list[str]
    port: int = 0

    def start(self) -> Any:
        """What it says first."""
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        arguments = (self.folder, self.names, there, self.port)
        self.process = context.Process(target=run_server, args=arguments, daemon=True)
        self.process.start()
        first = self.pipe.recv()
        self.port = first[0]
        return first

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    async def ask(self, what: str) -> Any:
        self.pipe.send(what)
        return await asyncio.get_running_loop().run_in_executor(None, self.pipe.recv)


async def measure(served: Served, down_s: float) -> dict[str, float]:
    _, echo_port, tokens = await asyncio.to_thread(served.start)
    began_s = time.perf_counter()
    keys = await enrolled(tokens, Path(served.folder))
    figures = {"devices": len(keys), "enrol_all_s": time.perf_counter() - began_s}
    own = next(iter(keys.values()))
    figures |= await exchanges(f"localhost:{echo_port}", own)
    before_mb, _ = await served.ask("memory")
    figures |= await churn(f"localhost:{echo_port}", own)
    idle_mb, _ = await served.ask("memory")
    figures |= {"churn_growth_mb": idle_mb - before_mb, "idle_mb": idle_mb}
    open_ones: set[str] = set()
    began_s = time.perf_counter()
    address = f"localhost:{served.port}"
    tasks = [
        asyncio.create_task(device(name, address, own, open_ones)) for name, own in keys.items()
    ]
    figures["connect_all_s"] = await all_of(keys, open_ones, began_s)
    connected_mb, live = await served.ask("memory")
    figures |= {"connected": live, "connected_mb": connected_mb - idle_mb}
    figures |= await waved(served, "downloads")
    figures |= await waved(served, "uploads")
    figures |= await restart(served, down_s, keys, open_ones)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    served.pipe.send("stop")
    served.process.join()
    return figures


async def enrolled(tokens: list[str], folder: Path) -> dict[str, Keys]:
    """Each a key of its own, a call over TLS and files on disk, as `distilfleet agent --token`
    does."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(token: Token) -> tuple[str, Keys]:
        async with at_once:
            await enrol(token, folder / token.device)
        return token.device, keys_of(folder / token.device)

    return dict(await asyncio.gather(*(one(Token.read(text)) for text in tokens)))


async def all_of(keys: dict[str, Keys], open_ones: set[str], began_s: float) -> float:
    """Seconds until all are connected."""
    while len(open_ones) < len(keys):
        await asyncio.sleep(0.05)
    return time.perf_counter() - began_s


async def waved(served: Served, name: str) -> dict[str, float]:
    began_s = time.perf_counter()
    answers, most_mb = await served.ask("down" if name == "downloads" else "up")
    return {name: answers, f"{name}_s": time.perf_counter() - began_s, f"{name}_mb": most_mb}


async def restart(
    served: Served, down_s: float, keys: dict[str, Keys], open_ones: set[str]
) -> dict[str, float]:
    """All answers of the killed server's wave are asked for again; devices hold them."""
    served.kill()
    while open_ones:
        await asyncio.sleep(0.05)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(served.start)
    back_s = await all_of(keys, open_ones, time.perf_counter())
    again = await waved(served, "repeated")
    return {
        "down_s": down_s,
        "reconnect_all_s": back_s,
        **again,
        "done_twice": len(DONE) - len(set(DONE)),
    }


async def exchanges(address: str, keys: Keys) -> dict[str, float]:
    connection, taken_s = await connect(address, keys), []
    for _ in range(EXCHANGES):
        began_s = time.perf_counter()
        await connection.write(bytes(1_000_000))
        await connection.read()
        taken_s.append(time.perf_counter() - began_s)
    await connection.shut()
    return {"exchange_1mb_median_s": statistics.median(taken_s)}


async def churn(address: str, keys: Keys) -> dict[str, float]:
    """Connect, talk, send more than is read, abort."""
    began_s = time.perf_counter()
    for _ in range(CHURN):
        connection = await connect(address, keys)
        await connection.write(bytes(1000))
        await connection.read()
        await connection.write(bytes(100_000))
        await connection.shut()
    return {"churn": CHURN, "churn_s": time.perf_counter() - began_s}


def run_server(folder: str, names: list[str], pipe: Pipe, port: int) -> None:
    asyncio.run(serve(Path(folder), names, pipe, port))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--down-s", type=float, default=10.0)
    asked = parser.parse_args()
    names = [f"device-{i:04d}" for i in range(asked.devices)]
    with TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Served(folder, names), asked.down_s))
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
