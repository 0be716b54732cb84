"""A frame of 16 MiB to a device and back, over mutual TLS and a link of 5 Mbit/s, 50 ms each way, 1
% loss; and a cut.

    sudo python benchmarks/slow_link.py [--mib 16] [--congestion bbr] [--mbit 5] [--delay-ms 50]
                                        [--loss 0.01]

Server and device are processes in network namespaces of their own; between them a forwarder in a
third one delays and drops packets by a seed and holds the rate, with a queue of 100 packets. Needs
root, iproute2, ethtool and sysctl. After the two undisturbed transfers both are repeated with a cut
in the middle that ends the connection.
"""

import argparse
import asyncio
import heapq
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from tcp import Tcp, over_tcp

from distilfleet.core.types import ArraySpec, Expected, Job, Link, Load, Reply, RunSpec, Wave
from distilfleet.cost import catalogue
from distilfleet.cost.link import transfer_s
from distilfleet.net import agent as agents
from distilfleet.net import protocol, transfer
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.identity import Authority, new_request, write_private
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.protocol import Chunk, Offer, Received
from distilfleet.net.server_side import ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import listen

SERVER_IP, DEVICE_IP, PORT = "10.77.0.1", "10.77.0.2", 7443
QUEUE_PACKETS, BEAT_S, CUT_S = 100, 5.0, 20.0
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23


# --- the link -------------------------------------------------------------------------------------


class Way:
    """One direction."""

    def __init__(self, out: socket.socket, asked: argparse.Namespace, seed: int) -> None:
        self.out, self.asked, self.rng = out, asked, random.Random(seed)
        self.free_s, self.bytes, self.lost = 0.0, 0, 0
        self.leaves_s: deque[float] = deque()

    def take(self, packet: bytes, now_s: float) -> float | None:
        """When it arrives; None if it is lost."""
        while self.leaves_s and self.leaves_s[0] <= now_s:
            self.leaves_s.popleft()
        if len(self.leaves_s) >= QUEUE_PACKETS or self.rng.random() < self.asked.loss:
            self.lost += 1
            return None
        self.free_s = max(self.free_s, now_s) + 8 * len(packet) / (1e6 * self.asked.mbit)
        self.leaves_s.append(self.free_s)
        self.bytes += len(packet)
        return self.free_s + self.asked.delay_ms / 1e3


def forward(asked: argparse.Namespace) -> None:
    """Between two interfaces, until standard input ends; a line there is a command, answered by a
    line."""
    ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2)]
    for end, name in zip(ends, ("to-server", "to-device"), strict=True):
        end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        end.bind((name, 0))
    ways = {ends[0]: Way(ends[1], asked, 1), ends[1]: Way(ends[0], asked, 2)}
    chooser, queue, count, cut_until_s = selectors.DefaultSelector(), [], 0, 0.0
    for readable in (*ends, sys.stdin):
        chooser.register(readable, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        wait_s = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        for key, _ in chooser.select(wait_s):
            if key.fileobj is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                if line.startswith("cut"):
                    cut_until_s = time.monotonic() + float(line.split()[1])
                down, up = ways[ends[0]], ways[ends[1]]
                print(
                    json.dumps({"down": down.bytes, "up": up.bytes, "lost": down.lost + up.lost}),
                    flush=True,
                )
                continue
            packet, now_s = key.fileobj.recv(65536), time.monotonic()
            at_s = ways[key.fileobj].take(packet, now_s) if now_s >= cut_until_s else None
            if at_s is not None:
                count += 1
                heapq.heappush(queue, (at_s, count, ways[key.fileobj].out, packet))
        while queue and queue[0][0] <= time.monotonic():
            _, _, out, packet = heapq.heappop(queue)
            with suppress(OSError):
                out.send(packet)


class Namespaces:
    """Three, and a cable between each two; gone at the end."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.names = {part: f"df-{part}-{os.getpid()}" for part in ("server", "device", "link")}
        self.asked, self.forwarder = asked, None

    def __enter__(self) -> "Namespaces":
        try:
            self._lay()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _lay(self) -> None:
        for name in self.names.values():
            sh("ip", "netns", "add", name)
        for part, ip in (("server", SERVER_IP), ("device", DEVICE_IP)):
            there = f"to-{part}"
            self.run(
                "link",
                "ip",
                "link",
                "add",
                there,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                self.names[part],
            )
            self.run("link", "ip", "link", "set", there, "up")
            self.run(
                "link",
                "ethtool",
                "-K",
                there,
                "tx",
                "off",
                "rx",
                "off",
                "gso",
                "off",
                "gro",
                "off",
                "tso",
                "off",
            )
            self.run(
                part,
                "ethtool",
                "-K",
                "eth0",
                "tx",
                "off",
                "rx",
                "off",
                "gso",
                "off",
                "gro",
                "off",
                "tso",
                "off",
            )
            self.run(part, "ip", "addr", "add", f"{ip}/24", "dev", "eth0")
            self.run(part, "ip", "link", "set", "eth0", "up")
            self.run(part, "ip", "link", "set", "lo", "up")
            self._choose_congestion_control(part)
        self.forwarder = self.start(
            "link", "--forward", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.forwarder.stdout.readline() != "ready\n":
            raise SystemExit("no forwarder")

    def _choose_congestion_control(self, part: str) -> None:
        try:
            self.run(
                part, "sysctl", "-q", f"net.ipv4.tcp_congestion_control={self.asked.congestion}"
            )
        except subprocess.CalledProcessError:
            raise SystemExit(
                "not allowed in a namespace: see net.ipv4.tcp_allowed_congestion_control"
            ) from None

    def __exit__(self, *_: object) -> None:
        if self.forwarder is not None:
            self.forwarder.stdin.close()
            self.forwarder.wait(10)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)

    def run(self, part: str, *words: str) -> None:
        sh("ip", "netns", "exec", self.names[part], *words)

    def start(self, part: str, *words: str, **options) -> subprocess.Popen:
        own = [
            f"--{name.replace('_', '-')}={getattr(self.asked, name)}"
            for name in ("mib", "mbit", "delay_ms", "loss")
        ]
        command = ["ip", "netns", "exec", self.names[part], sys.executable, __file__, *own, *words]
        return subprocess.Popen(command, **options)

    def told(self, command: str) -> dict[str, int]:
        self.forwarder.stdin.write(command + "\n")
        self.forwarder.stdin.flush()
        return json.loads(self.forwarder.stdout.readline())


def sh(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


# --- the device -----------------------------------------------------------------------------------


def counted() -> Counter[tuple[str, int]]:
    """Chunks that this process sends, by key and number: how often each."""
    sent, cut_out = Counter(), transfer.Outgoing._chunk

    def chunk(self, index):
        sent[self.key, index] += 1
        return cut_out(self, index)

    transfer.Outgoing._chunk = chunk
    return sent


class Echo:
    """A worker that gives back what it gets."""

    def load(self, job):
        return Load()

    def handle(self, job):
        return dict(job.arrays)

    def snapshot(self):
        return {}

    def restore(self, kept):
        pass


def be_device(folder: Path) -> None:
    sent = counted()
    badge = agents.Badge(
        address=f"{SERVER_IP}:{PORT}", enrol_address="", device="pi", kind="rpi-4b"
    )
    agent = agents.Agent(badge, folder, catalogue.device("rpi-4b", "pi"), build=lambda spec: Echo())

    async def report():
        while True:
            await asyncio.sleep(0.5)
            (folder / "sent.json").write_text(json.dumps(repeats(sent)))

    async def both():
        await asyncio.gather(agent.serve(), report())

    asyncio.run(both())


def repeats(sent: Counter) -> dict[str, int]:
    """Job -> chunks that were sent more than once."""
    again = Counter({key: 0 for key, _ in sent})
    for (key, _), times in sent.items():
        again[key] += times - 1
    return again


# --- the server -----------------------------------------------------------------------------------


class Watched:
    """A stream that notes when what went by."""

    def __init__(self, inner, moments: dict) -> None:
        self.inner, self.moments = inner, moments

    async def read(self):
        data = await self.inner.read()
        if data is not None:
            self._note("heard", data)
        return data

    async def write(self, data):
        self._note("said", data)
        await self.inner.write(data)

    def _note(self, how, payload):
        for data in protocol.parted(payload):
            _, message = protocol.decode(data)
            if isinstance(message, Offer | Chunk | Received):
                self.moments.setdefault((how, type(message).__name__, message.key), []).append(
                    time.monotonic()
                )


def enrolled(authority: Authority, folder: Path) -> None:
    key, request = new_request("pi")
    parts = {
        "key": key,
        "certificate": authority.sign("pi", request, time.time()),
        "authority": authority.pem,
    }
    for name, data in parts.items():
        write_private(folder / f"{name}.pem", data)


async def exchange(session_server: SessionServer, number: int, mib: int) -> Reply:
    """A job with so much in it, and as much for an answer."""
    data = np.random.default_rng(number).integers(0, 256, mib << 20, np.uint8)
    session_server.dispatch(session_server.coordinator.begin(number))
    expected = Expected(arrays={"x": ArraySpec("|u1", data.shape)})
    job = Job(id=f"{number}:echo:pi", device="pi", op="echo", arrays={"x": data}, expected=expected)
    (result,) = await session_server.collect(await session_server.start(Wave(jobs=[job])))
    if not isinstance(result, Reply) or not np.array_equal(result.arrays["x"], data):
        raise SystemExit(f"no echo: {result}")
    return result


async def be_server(folder: Path, asked: argparse.Namespace) -> None:
    """Answers on standard output: one line per exchange; commands come on standard input."""
    sent, moments = counted(), {}
    authority = Authority(folder / "authority")
    enrolled(authority, folder)
    server = ServerSide(uploads=FlowControl(64 << 20), now_s=time.monotonic(), beat_s=BEAT_S)
    coordinator = Coordinator(
        server=server, journal=SqliteJournal(folder / "journal.sqlite"), patience_s=600.0
    )
    session_server = SessionServer(
        coordinator=coordinator, enrolled={"pi"}, denied=authority.denied
    )

    async def stream(peer, inner):
        await session_server.stream(peer, Watched(inner, moments))

    keys = authority.server_keys([SERVER_IP], time.time())
    listening = await listen(f"{SERVER_IP}:{PORT}", keys, {}, stream)
    ticking = asyncio.create_task(session_server.tick())
    spec = RunSpec(method="echo", settings={}, models={}, versions={}, seed=0)
    session_server.dispatch(coordinator.prepare("run", msgspec.msgpack.encode(spec)))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    number = 0
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        number += 1
        while "pi" not in session_server.live:
            await asyncio.sleep(0.1)
        await exchange(session_server, number, asked.mib)
        key = f"run/{number}:echo:pi"
        down_s = moments["heard", "Received", key][0] - moments["said", "Offer", key][0]
        up_s = (
            moments["heard", "Chunk", key][-1]
            - moments["heard", "Offer", key][0]
            + asked.delay_ms / 1e3
        )
        again = repeats(sent)[key]
        print(
            json.dumps({"key": key, "down_s": down_s, "up_s": up_s, "down_again": again}),
            flush=True,
        )
    ticking.cancel()
    await listening.close()


# --- what is measured -----------------------------------------------------------------------------


def measure(asked: argparse.Namespace) -> dict[str, object]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        spaces = stack.enter_context(Namespaces(asked))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        server = started(stack, spaces.start("server", "--server", str(folder), **pipes))
        assert server.stdout.readline() == "ready\n"
        device = started(stack, spaces.start("device", "--device", str(folder)))
        figures = {"undisturbed": told(server, spaces, folder, asked)}
        for way in ("down", "up"):
            figures[f"cut {way}"] = told(server, spaces, folder, asked, cut=way)
        assert device.poll() is None
    return figures | {"predicted_s": predicted(asked)}


def started(stack: ExitStack, process: subprocess.Popen) -> subprocess.Popen:
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def told(
    server, spaces: Namespaces, folder: Path, asked: argparse.Namespace, cut: str = ""
) -> dict[str, object]:
    """One exchange, with a cut in the middle of one direction."""
    before = spaces.told("count")
    server.stdin.write("go\n")
    server.stdin.flush()
    if cut:
        while spaces.told("count")[cut] - before[cut] < (asked.mib << 20) // 2:
            time.sleep(0.1)
        spaces.told(f"cut {CUT_S}")
    one = json.loads(server.stdout.readline())
    time.sleep(1.0)
    after, key = spaces.told("count"), one.pop("key")
    again = json.loads((folder / "sent.json").read_text())[key]
    links = {
        f"{way}_link_mib": round((after[way] - before[way]) / 2**20, 2) for way in ("down", "up")
    }
    return {name: round(value, 2) for name, value in one.items()} | {"up_again": again} | links


def predicted(asked: argparse.Namespace) -> dict[str, float]:
    """Seconds each way: by rate and latency alone, and with what TCP and the protocol make of
    them."""
    link = Link(
        up_bps=asked.mbit * 1e6,
        down_bps=asked.mbit * 1e6,
        latency_s=asked.delay_ms / 1e3,
        transmit_w=0.0,
    )
    tcp = Tcp(loss_share=asked.loss, loss_is_congestion=asked.congestion != "bbr")
    carried, size_bytes = over_tcp(link, tcp), asked.mib << 20
    plain_s, tcp_s = (
        float(transfer_s(size_bytes, one.up_bps, one.latency_s)) for one in (link, carried)
    )
    return {"by the rate alone": round(plain_s, 2), "over TCP": round(tcp_s, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=16)
    parser.add_argument("--mbit", type=float, default=5.0)
    parser.add_argument("--delay-ms", type=float, default=50.0)
    parser.add_argument("--loss", type=float, default=0.01)
    parser.add_argument(
        "--congestion", default="bbr", help="reno, cubic or bbr, as far as the kernel has it"
    )
    parser.add_argument("--forward", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--server", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--device", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.forward:
        forward(asked)
    elif asked.server:
        asyncio.run(be_server(asked.server, asked))
    elif asked.device:
        be_device(asked.device)
    elif os.geteuid() or not all(shutil.which(tool) for tool in ("ip", "ethtool", "sysctl")):
        print("skipped: network namespaces need root, iproute2, ethtool and sysctl")
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        print(json.dumps(measure(asked), indent=1))


if __name__ == "__main__":
    main()
