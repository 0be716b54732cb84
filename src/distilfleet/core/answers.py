"""What most methods ask of a fleet in a round: a job of each device, and the replies of those that
answer."""

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from .types import Arrays, DeviceId, Expected, Job, Plan, Reply, Request, Wave


def answered(jobs: Sequence[Job], plan: Plan) -> Generator[Request, Any, list[Reply]]:
    """Start the jobs together and wait as the plan says; the replies, in the order of the jobs."""
    wave = Wave(jobs=jobs, goal=plan.goal, minimum=plan.minimum, deadline_s=plan.deadline_s)
    results = yield wave
    return [result for result in results if isinstance(result, Reply)]


def train_jobs(
    number: int, devices: Iterable[DeviceId], arrays: Arrays, expected: Expected
) -> list[Job]:
    """One job per device: train from these arrays, in the round of this number."""
    return [
        Job(
            id=f"{number}:train:{device}",
            device=device,
            op="train",
            arrays=arrays,
            expected=expected,
        )
        for device in devices
    ]
