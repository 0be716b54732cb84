"""A small run while two hundred clients do their worst to its server, on loopback with mutual TLS.

    python benchmarks/hostile.py [--clients 200] [--waves 30]

Four devices answer wave after wave with 256 KiB, first alone and then beside clients that let a
byte fall now and then, send garbage, hold connections open, say hello with a mebibyte, or talk for
ever and never listen. Server, devices and hostile clients are a process each; memory is resident,
of the server, above what it has when idle.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import time
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np

from distilfleet.core.types import ArraySpec, Expected, Job, Reply, Wave
from distilfleet.core.wire import encode_reply
from distilfleet.net import transport
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.device_side import Begin, DeviceSide, Held, Prepare, Settle
from distilfleet.net.identity import Authority, Keys, new_request
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.protocol import VERSIONS, Hello, Numbering, Offer, unpack_job
from distilfleet.net.server_side import ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import connect, listen

ANSWER_BYTES = 256 << 10
HONEST = [f"pi-{n}" for n in range(4)]
SPARE_CONNECTIONS = 256


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


# --- the server -----------------------------------------------------------------------------------


async def serve(folder: Path, hostile: int, pipe: Pipe) -> None:
    authority, journal = Authority(folder / "authority"), SqliteJournal(folder / "journal.sqlite")
    names = [*HONEST, *(f"evil-{n}" for n in range(hostile))]
    server = ServerSide(uploads=FlowControl(64 << 20), now_s=time.monotonic())
    coordinator = Coordinator(server=server, journal=journal, run="run")
    session_server = SessionServer(
        coordinator=coordinator, enrolled=frozenset(names), denied=authority.denied
    )
    keys = authority.server_keys(["localhost"], time.time())
    here = await listen(
        "localhost:0", keys, {}, session_server.stream, 2 * len(names) + SPARE_CONNECTIONS
    )
    ticking = asyncio.create_task(session_server.tick())
    pipe.send((here.port, {name: issued(authority, name) for name in names}))
    loop, number = asyncio.get_running_loop(), count(1)
    while (waves := await loop.run_in_executor(None, pipe.recv)) is not None:
        pipe.send(await measured(session_server, waves, number))
    ticking.cancel()
    await here.close()


def issued(authority: Authority, name: str) -> Keys:
    key, request = new_request(name)
    return Keys(
        key=key, certificate=authority.sign(name, request, time.time()), authority=authority.pem
    )


async def measured(session_server: SessionServer, waves: int, number: count) -> dict[str, object]:
    """Waves one after the other: what each took, who missed, and the most memory."""
    expected = Expected(arrays={"x": ArraySpec("|u1", (ANSWER_BYTES,))})
    taken_s, missed, most_mb = [], [], resident_mb()
    for _ in range(waves):
        began_s, wave = time.perf_counter(), next(number)
        jobs = [
            Job(id=f"{wave}:up:{d}", device=d, op="up", arrays={}, expected=expected)
            for d in HONEST
        ]
        results = await session_server.collect(
            await session_server.start(Wave(jobs=jobs, deadline_s=60.0))
        )
        taken_s.append(time.perf_counter() - began_s)
        missed += [result.reason for result in results if not isinstance(result, Reply)]
        most_mb = max(most_mb, resident_mb())
        await asyncio.sleep(0.1)
    return {
        "median_s": statistics.median(taken_s),
        "missed": missed,
        "most_mb": most_mb,
        "refused": dict(session_server.refused),
    }


# --- devices --------------------------------------------------------------------------------------


async def honest(name: str, address: str, keys: Keys) -> None:
    side, connection = DeviceSide(name, 1 << 20), await connect(address, keys)
    out, into = Numbering(), Numbering()
    await connection.write(out.write(side.hello(time.monotonic())))
    while (data := await connection.read()) is not None:
        outputs = [
            output
            for message in into.messages(data)
            for output in side.receive(message, time.monotonic())
        ]
        for output in outputs:
            for one in answered(side, output) if isinstance(output, Begin) else [output]:
                if not isinstance(one, Prepare | Settle):
                    await connection.write(out.write(one))
    raise SystemExit(f"{name} was cut off")


def answered(side: DeviceSide, begin: Begin) -> list:
    job = unpack_job(begin.data)
    frame = encode_reply(job.id, job.device, {"x": np.zeros(ANSWER_BYTES, np.uint8)}).to_bytes()
    return side.answer(begin.key, Held(job_digest=begin.digest, data=frame))


# --- hostile clients ------------------------------------------------------------------------------


async def loris(port: int, keys: Keys) -> None:
    """The beginning of a handshake, a byte at a time."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in b"\x16\x03\x01\x02\x00\x01" + bytes(500):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def garbage(port: int, keys: Keys) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(os.urandom(65536))
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()


async def half_open(port: int, keys: Keys) -> None:
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    await reader.read(1)


async def large_hello(port: int, keys: Keys) -> None:
    connection = await connect(f"localhost:{port}", keys)
    try:
        await connection.write(bytes(1 << 20))
        await connection.read()
    finally:
        await connection.shut()
    await asyncio.sleep(0.2)


async def endless(port: int, keys: Keys, device: str = "") -> None:
    """Offers of what nobody asked for, each of which has an answer that is never read."""
    connection, line = await connect(f"localhost:{port}", keys), Numbering()
    try:
        await connection.write(line.write(Hello(VERSIONS, device)))
        for number in count():
            await connection.write(
                line.write(Offer(f"other/{number}:" + "x" * 480, 1, bytes(32), 1))
            )
            if number % 400 == 0:
                await asyncio.sleep(0.05)
    finally:
        await connection.shut()


KINDS = (loris, garbage, half_open, large_hello, endless)


async def harass(port: int, keys: dict[str, Keys]) -> None:
    async def forever(number: int, name: str, own: Keys) -> None:
        kind, rng = KINDS[number % len(KINDS)], Random(number)
        await asyncio.sleep(rng.uniform(0.0, 2.0))
        while True:
            with suppress(OSError):
                await (kind(port, own, name) if kind is endless else kind(port, own))
            await asyncio.sleep(rng.uniform(0.2, 0.6))

    await asyncio.gather(*(forever(number, *item) for number, item in enumerate(keys.items())))


# --- what is measured -----------------------------------------------------------------------------


async def measure(pipe: Pipe, waves: int) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    port, keys = await loop.run_in_executor(None, pipe.recv)
    devices = [
        asyncio.create_task(honest(name, f"localhost:{port}", keys.pop(name))) for name in HONEST
    ]

    async def run() -> dict:
        pipe.send(waves)
        told = await loop.run_in_executor(None, pipe.recv)
        for device in devices:
            if device.done():
                device.result()
        return told

    await run()
    alone = await run()
    attackers = multiprocessing.get_context("spawn").Process(
        target=run_hostile, args=(port, keys), daemon=True
    )
    attackers.start()
    await asyncio.sleep(5.0)
    beside = await run()
    attackers.kill()
    await asyncio.sleep(1.0)
    after = await run()
    pipe.send(None)
    for device in devices:
        device.cancel()
    await asyncio.gather(*devices, return_exceptions=True)
    return {
        "clients": len(keys),
        "missed": alone["missed"] + beside["missed"] + after["missed"],
        "median_s": {
            name: round(one["median_s"], 4)
            for name, one in zip(TIMES, (alone, beside, after), strict=True)
        },
        "growth_mb": round(max(beside["most_mb"], after["most_mb"]) - alone["most_mb"], 1),
        "refused": after["refused"],
    }


TIMES = ("alone", "beside", "after")


def run_server(folder: str, hostile: int, pipe: Pipe) -> None:
    asyncio.run(serve(Path(folder), hostile, pipe))


def run_hostile(port: int, keys: dict[str, Keys]) -> None:
    # their windows do not grow with what they are sent
    transport.OPTIONS += (("grpc.http2.bdp_probe", 0),)
    asyncio.run(harass(port, keys))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--waves", type=int, default=30)
    asked = parser.parse_args()
    here, there = multiprocessing.get_context("spawn").Pipe()
    with TemporaryDirectory() as folder:
        server = multiprocessing.get_context("spawn").Process(
            target=run_server, args=(folder, asked.clients, there), daemon=True
        )
        server.start()
        print(json.dumps(asyncio.run(measure(here, asked.waves)), indent=1))
        server.join()


if __name__ == "__main__":
    main()
