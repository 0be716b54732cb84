"""What training and distillation take, from the profile of the real model: declared before a job
runs."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

from ..core import wire
from ..core.types import Arrays, Job, Load
from .profile import Profile, profile, training_memory_bytes
from .train import LocalTraining
from .zoo import Model


@lru_cache(maxsize=4096)
def training_load(
    model: Model,
    samples: int,
    local: LocalTraining,
    *,
    down_bytes: int = 0,
    up_bytes: int = 0,
    extra_bytes: int = 0,
) -> Load:
    """Work and memory of local training, and the bytes of the job's frame and of its reply's if
    they are given.

    `extra_bytes` are those of arrays that a local objective reads in each step.
    """
    facts = profile(model)
    batch = min(local.batch, max(2, samples))
    steps = -(-samples // batch) * local.passes
    step_bytes = step_traffic_bytes(facts, batch) + extra_bytes
    return Load(
        flops=facts.train_flops * steps * batch,
        moved_bytes=float(steps * step_bytes),
        down_bytes=down_bytes,
        up_bytes=up_bytes,
        memory_bytes=training_memory_bytes(facts, batch) + extra_bytes,
    )


def proxy_load(model: Model, samples: int, passes: int, batch: int) -> Load:
    """Work and memory of `passes` of distillation over `samples` proxy inputs, and one prediction
    of all of them."""
    facts = profile(model)
    steps = -(-samples // batch) * passes
    input_bytes = 4 * samples * prod(model.shape)
    return Load(
        flops=facts.train_flops * steps * batch + facts.forward_flops * samples,
        moved_bytes=float(
            steps * step_traffic_bytes(facts, batch) + samples * facts.activation_bytes
        ),
        memory_bytes=training_memory_bytes(facts, batch) + input_bytes
        if passes
        else facts.weight_bytes + input_bytes,
    )


def step_traffic_bytes(facts: Profile, batch: int) -> int:
    """Bytes through memory in one training step: weights read twice, gradients and momentum of what
    trains written and read, activations written and read."""
    return 2 * facts.weight_bytes + 4 * facts.trained_bytes + 2 * batch * facts.activation_bytes


def frames(job: Job) -> Load:
    """The exact bytes of the job's frame and of the expected reply's."""
    down, up = wire.frame_bytes(job)
    return Load(down_bytes=down, up_bytes=up)


def exact_frames(job: Job, reply: Arrays) -> Load:
    """The bytes of the job's frame and of this reply's, where the announcement is a bound."""
    down, up = wire.head_bytes(job)
    return Load(
        down_bytes=down + wire.encoded_bytes(job.arrays), up_bytes=up + wire.encoded_bytes(reply)
    )


def server_load(parts: Sequence[tuple[Model, int, int]]) -> Load:
    """The server's own work: (model, samples, passes) of training, or of one prediction where
    passes is zero."""
    total = Load()
    for model, samples, passes in parts:
        facts = profile(model)
        flops = facts.train_flops * passes if passes else facts.forward_flops
        total += Load(flops=flops * samples, memory_bytes=4 * facts.weight_bytes)
    return total
