"""Small real parts for simulated fleets: boards with round numbers, and a method whose devices do
as the job says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakSet

import numpy as np

from distilfleet.core import wire
from distilfleet.core.types import ArraySpec, Dataset, Device, Expected, Job, Link, Load
from distilfleet.sim.fleet import SimFleet, World

ANSWER = {"y": ArraySpec("<f8", (4,))}


def board(
    name, *, speed=1e9, memory=10**9, up=8e6, down=8e6, latency=0.0, transmit=2.0, kind="board"
):
    """A board that sends a million bytes per second, idles at 1 W and computes at 5 W."""
    return Device(
        id=name,
        kind=kind,
        speed_flops_per_s=speed,
        memory_bytes=memory,
        memory_bytes_per_s=1e12,
        idle_w=1.0,
        busy_w=5.0,
        link=Link(up_bps=up, down_bps=down, latency_s=latency, transmit_w=transmit),
    )


def ask(device, flops=1e9, name="", most_norm=float("inf"), answer=ANSWER):
    """A job of so many FLOPs."""
    expected = Expected(arrays=answer, most_norm=most_norm)
    return Job(
        id=name or f"1:{device}",
        device=device,
        op="do",
        arrays={"flops": np.array(flops)},
        expected=expected,
    )


def honest(job):
    return {"y": np.full(4, float(job.arrays["flops"]))}


@dataclass(eq=False)
class Doer:
    """Takes the FLOPs that the job names and counts its jobs, if it `keeps` anything."""

    device: Device
    answer: Callable
    keeps: bool
    memory: int = 1000
    done: int = 0

    def load(self, job):
        head_down, head_up = wire.head_bytes(job)
        return Load(
            flops=float(job.arrays["flops"]),
            down_bytes=head_down + wire.body_bytes(wire.specs(job.arrays)),
            up_bytes=head_up + wire.body_bytes(job.expected.arrays),
            memory_bytes=self.memory,
        )

    def handle(self, job):
        self.done += 1
        return self.answer(job)

    def snapshot(self):
        return {"done": np.array(self.done)} if self.keeps and self.done else {}

    def restore(self, kept):
        self.done = int(kept["done"])


@dataclass
class Doing:
    """The device half of a method; `answers` replaces the honest answer of some devices."""

    answers: dict = field(default_factory=dict)
    keeps: bool = False
    memory: int = 1000
    made: list = field(default_factory=list)
    alive: WeakSet = field(default_factory=WeakSet)

    def worker(self, device, data, seed):
        self.made.append(device.id)
        answer = self.answers.get(device.id, honest)
        doer = Doer(device=device, answer=answer, keeps=self.keeps, memory=self.memory)
        self.alive.add(doer)
        return doer


def no_data(device):
    return Dataset(np.zeros((1, 1), np.float32), np.zeros(1, np.int64))


def fleet(boards, method=None, data=no_data, **world):
    server = world.pop("server", None) or board("server", speed=1e9)
    return SimFleet(
        {one.id: one for one in boards}, data, method or Doing(), World(server=server, **world)
    )


def frame_bytes(job, answer=honest):
    """(down, up) of an honest exchange."""
    return len(wire.encode_job(job)), len(wire.encode_reply(job.id, job.device, answer(job)))


def seconds(job, one):
    """The three stages of a job on a board, worked out by hand."""
    down, up = frame_bytes(job)
    return (
        8 * down / one.link.down_bps + one.link.latency_s,
        float(job.arrays["flops"]) / one.speed_flops_per_s,
        8 * up / one.link.up_bps + one.link.latency_s,
    )
