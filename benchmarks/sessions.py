"""The server of a real fleet under load, on loopback with mutual TLS: churn, exchanges, enrolment, many devices.

    python benchmarks/sessions.py [--devices 1000]

The server is one process, all devices are another. Memory is resident, of the server, above what it has when idle.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from tempfile import TemporaryDirectory

from distilfleet.core.types import ArraySpec, Expected, Job, Wave
from distilfleet.core.wire import encode_reply
from distilfleet.net.desk import Desk
from distilfleet.net.hub import Hub
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.keys import Keys
from distilfleet.net.protocol import Line, unpack_job
from distilfleet.net.session import Begin, DeviceSide, Held, Prepare, Server, Settle
from distilfleet.net.spool import Spool
from distilfleet.net.transfer import Room
from distilfleet.net.transport import connect, listen

UPLOAD_BYTES = 1 << 20
ROOM_BYTES = 64 << 20
CHURN, EXCHANGES = 2000, 100


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


# --- server -----------------------------------------------------------------------------------------------------


async def serve(folder: Path, names: list[str], pipe: Pipe) -> None:
    authority, journal = Authority(folder / "authority"), SqliteJournal(folder / "journal.sqlite")
    now_s = time.time()
    server_keys = authority.server_keys(["localhost"], now_s)
    hub = Hub(
        desk=Desk(
            server=Server(room=Room(ROOM_BYTES), now_s=time.monotonic()),
            journal=journal,
            run="bench",
            spool=Spool(folder),
        ),
        enrolled=frozenset(names),
        denied=authority.denied,
    )

    async def echo(_peer, stream):
        while (message := await stream.read()) is not None:
            await stream.write(message)

    sessions = await listen("localhost:0", server_keys, {}, hub.stream)
    echoes = await listen("localhost:0", server_keys, {}, echo)
    ticking = asyncio.create_task(hub.tick())
    pipe.send((sessions.port, echoes.port, enrolled(authority, names)))
    await answer(hub, names, pipe)
    ticking.cancel()
    await sessions.close()
    await echoes.close()


def enrolled(authority: Authority, names: list[str]) -> tuple[float, dict[str, Keys]]:
    """Seconds per device: a token, a key, a request, a certificate; and the keys."""
    began_s, keys = time.perf_counter(), {}
    for name in names:
        token = authority.token(name, "rpi-4b", "localhost:1", 3600.0, time.time())
        key, request = new_request(name)
        certificate = authority.enrol(name, request, token.proof(request), time.time())
        keys[name] = Keys(key=key, certificate=certificate, authority=authority.pem)
    return time.perf_counter() - began_s, keys


async def answer(hub: Hub, names: list[str], pipe: Pipe) -> None:
    """What the other process asks."""
    loop = asyncio.get_running_loop()
    while (asked := await loop.run_in_executor(None, pipe.recv)) != "stop":
        if asked == "wave":
            pipe.send(await wave(hub, names))
        else:
            pipe.send((resident_mb(), len(hub.live)))


async def wave(hub: Hub, names: list[str]) -> tuple[int, float]:
    """Answers and the most memory while they came."""
    expected = Expected(arrays={"x": ArraySpec("|u1", (UPLOAD_BYTES,))})
    jobs = [Job(id=f"1:up:{name}", device=name, op="up", arrays={}, expected=expected) for name in names]
    most_mb = 0.0

    async def watch() -> None:
        nonlocal most_mb
        while True:
            most_mb = max(most_mb, resident_mb())
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    ticket = await hub.start(Wave(jobs=jobs, deadline_s=300.0))
    results = await hub.collect(ticket)
    watching.cancel()
    return sum(hasattr(result, "arrays") for result in results), max(most_mb, resident_mb())


# --- devices ----------------------------------------------------------------------------------------------------


async def device(name: str, address: str, keys: Keys, open_ones: list[str]) -> None:
    """One session that answers whatever it is asked with a mebibyte."""
    side = DeviceSide(name, 1 << 20)
    connection = await connect(address, keys)
    out, into = Line(), Line()
    await connection.write(out.write(side.hello(time.monotonic())))
    while (data := await connection.read()) is not None:
        message = into.read(data)
        for output in () if message is None else side.receive(message, time.monotonic()):
            said = done(side, output) if isinstance(output, Begin) else [output]
            for one in said:
                if not isinstance(one, Prepare | Settle):
                    await connection.write(out.write(one))
        if side.open and name not in open_ones:
            open_ones.append(name)


def done(side: DeviceSide, begin: Begin):
    import numpy as np

    job = unpack_job(begin.data)
    frame = encode_reply(job.id, job.device, {"x": np.zeros(UPLOAD_BYTES, np.uint8)}).to_bytes()
    return side.answer(begin.key, Held(job_digest=begin.digest, data=frame))


async def ask(pipe: Pipe, what: str):
    pipe.send(what)
    return await asyncio.get_running_loop().run_in_executor(None, pipe.recv)


async def measure(pipe: Pipe) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    port, echo_port, (enrol_s, keys) = await loop.run_in_executor(None, pipe.recv)
    figures = {"devices": len(keys), "enrol_all_s": enrol_s}
    own = next(iter(keys.values()))
    figures |= await exchanges(f"localhost:{echo_port}", own)
    before_mb, _ = await ask(pipe, "memory")
    figures |= await churn(f"localhost:{echo_port}", own)
    idle_mb, _ = await ask(pipe, "memory")
    figures["churn_growth_mb"] = idle_mb - before_mb
    open_ones: list[str] = []
    began_s = time.perf_counter()
    tasks = [asyncio.create_task(device(name, f"localhost:{port}", own, open_ones)) for name, own in keys.items()]
    while len(open_ones) < len(keys):
        await asyncio.sleep(0.05)
    figures["connect_all_s"] = time.perf_counter() - began_s
    connected_mb, live = await ask(pipe, "memory")
    figures |= {"connected": live, "connected_mb": connected_mb - idle_mb}
    began_s = time.perf_counter()
    answers, most_mb = await ask(pipe, "wave")
    figures |= {"uploads": answers, "uploads_s": time.perf_counter() - began_s, "uploads_mb": most_mb}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pipe.send("stop")
    return figures


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


def run_server(folder: str, names: list[str], pipe: Pipe) -> None:
    asyncio.run(serve(Path(folder), names, pipe))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    names = [f"device-{i:04d}" for i in range(parser.parse_args().devices)]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with TemporaryDirectory() as folder:
        process = context.Process(target=run_server, args=(folder, names, there), daemon=True)
        process.start()
        print(json.dumps({name: round(value, 4) for name, value in asyncio.run(measure(here)).items()}, indent=1))
        process.join()


if __name__ == "__main__":
    main()
