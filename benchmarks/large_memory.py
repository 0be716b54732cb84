"""Split KD against a plain distillation loop, side by side: tokens per second and peak memory.

    python benchmarks/large_memory.py                       69 M teaches 17 M, vocabulary 8 k
    python benchmarks/large_memory.py --teacher llama:1280x12 --student llama:768x8 --tokens 64
    python benchmarks/large_memory.py --teacher llama:128x4 --student llama:128x4 \\
        --vocabulary 131072 --tokens 1024

Each loop runs in a process of its own, with equal models, equally many tokens a step and one
thread. Seconds are those of the processor; peak memory is that of the whole process, libraries
included. The plain loop is what is usual: both models whole, softmax of both, KL and cross-entropy,
Adam, float32. Split KD is the product's own path, with one simulated device at cut 0, evaluation of
four windows, and a checkpoint each round; its speed is that of rounds without evaluation and
checkpoint. The first round, in which much is made, does not count.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from distilfleet.core.engine import rounds
from distilfleet.core.pack import pack
from distilfleet.core.types import Dataset
from distilfleet.cost import catalogue
from distilfleet.methods.splitkd.modules import Loss
from distilfleet.methods.splitkd.server import SplitKD
from distilfleet.methods.splitkd.settings import SplitSettings
from distilfleet.nn.language import LanguageModel
from distilfleet.nn.trace import trace
from distilfleet.plan.sample import Sample
from distilfleet.record.checkpoint import Checkpoint, write_checkpoint
from distilfleet.sim.fleet import SimFleet, World

SEED = 0
WAYS = ("plain", "split")


@dataclass(frozen=True, kw_only=True)
class Job:
    teacher: str
    student: str
    vocabulary: int
    batch: int
    context: int
    steps: int
    rounds: int

    def model(self, name: str) -> LanguageModel:
        return LanguageModel(name=name, vocabulary=self.vocabulary, context=self.context)

    def windows(self, count: int, seed: int) -> Dataset:
        rng = np.random.default_rng(seed)
        return Dataset(rng.integers(0, self.vocabulary, (count, self.context)).astype(np.int32))


def plain(job: Job) -> dict[str, float]:
    """Both models whole on one machine."""
    teacher = job.model(job.teacher).build(SEED).eval().requires_grad_(requires_grad=False)
    student = job.model(job.student).build(SEED)
    adam = torch.optim.Adam(student.parameters(), lr=1e-3)
    windows = job.windows(job.batch * job.steps, SEED)
    taken_s = []
    for _ in range(job.rounds):
        began_s = time.process_time()
        for some in windows.batches(job.batch):
            ids_BT = torch.from_numpy(some.inputs.astype(np.int64))
            with torch.no_grad():
                log_p_NV = teacher(ids_BT).logits[:, :-1].flatten(0, 1).log_softmax(-1)
            logits_NV = student(ids_BT).logits[:, :-1].flatten(0, 1)
            log_q_NV = logits_NV.log_softmax(-1)
            apart = torch.nn.functional.kl_div(
                log_q_NV, log_p_NV, log_target=True, reduction="batchmean"
            )
            hard = torch.nn.functional.cross_entropy(logits_NV, ids_BT[:, 1:].flatten())
            adam.zero_grad()
            (0.5 * apart + 0.5 * hard).backward()
            adam.step()
        taken_s.append(time.process_time() - began_s)
    return figures(job, taken_s, student)


def split(job: Job) -> dict[str, float]:
    """The product's rounds, with a simulated device."""
    device = catalogue.device("rpi-5", "pi")
    teacher, student = (
        trace(name, steps=job.context, vocabulary=job.vocabulary)
        for name in (job.teacher, job.student)
    )
    method = SplitKD(
        teacher=job.model(job.teacher),
        student=job.model(job.student),
        split=SplitSettings(
            teacher=teacher,
            student=student,
            batch=job.batch,
            steps=job.steps,
            context=job.context,
            bits=8,
        ),
        loss=Loss(kd_weight=0.5, teacher_cache="none"),
    )
    data = job.windows(job.batch * job.steps, SEED)
    world = World(server=catalogue.device("server-a100-80g", "server"))
    fleet = SimFleet({device.id: device}, lambda _: data, method, world)
    test = job.windows(4, SEED + 1)
    taken_s = []
    with tempfile.TemporaryDirectory() as folder:
        running = rounds(
            method,
            Sample(per_round=1, seed=SEED),
            fleet,
            method.init(SEED),
            range(1, job.rounds + 1),
        )
        began_s = time.process_time()
        for done in running:
            taken_s.append(time.process_time() - began_s)
            method.evaluate(done.state, fleet.kept(), test)
            arrays, state = pack(done.state)
            write_checkpoint(
                Path(folder) / "kept",
                Checkpoint(round=done.round, arrays=arrays, plain={"state": state}),
            )
            fleet.tally()
            began_s = time.process_time()
    return figures(job, taken_s, method.ready(done.state).student)


def figures(job: Job, taken_s: list[float], student: torch.nn.Module) -> dict[str, float]:
    tokens = job.batch * job.context * job.steps
    return {
        "tokens_per_s": tokens / min(taken_s[1:] or taken_s),
        "peak_bytes": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "student": float(sum(weight.numel() for weight in student.parameters())),
    }


def measured(way: str, words: list[str]) -> dict[str, float]:
    """The figures of one way, from a process of its own."""
    command = [sys.executable, __file__, *words, "--way", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", default="llama:768x8")
    parser.add_argument("--student", default="llama:384x6")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=512, help="of a step, in four windows")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way is None:
        compare(sys.argv[1:])
        return
    torch.set_num_threads(1)
    job = Job(
        teacher=asked.teacher,
        student=asked.student,
        vocabulary=asked.vocabulary,
        batch=4,
        context=asked.tokens // 4,
        steps=asked.steps,
        rounds=asked.rounds,
    )
    print(json.dumps({"plain": plain, "split": split}[asked.way](job)))


def compare(words: list[str]) -> None:
    found = {way: measured(way, words) for way in WAYS}
    for way, figure in found.items():
        print(
            f"{way:<8}{figure['tokens_per_s']:>10.1f} tokens/s{figure['peak_bytes'] / 1e9:>8.2f} GB"
        )
    speed = found["split"]["tokens_per_s"] / found["plain"]["tokens_per_s"]
    memory = found["split"]["peak_bytes"] / found["plain"]["peak_bytes"]
    apart = found["split"]["peak_bytes"] - found["plain"]["peak_bytes"]
    print(
        f"split KD / plain loop: {speed:.2f} x as fast, {memory:.2f} x the memory, "
        f"{apart / found['split']['student']:+.1f} bytes per parameter of the student"
    )


if __name__ == "__main__":
    main()
