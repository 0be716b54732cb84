"""One step of split distillation on the server, LLaMA 8B to 1B with random weights: time and memory
by part, and MFU.

    python benchmarks/gpu_split.py                4 x 512 tokens, needs about 30 GB of GPU memory
    python benchmarks/gpu_split.py --train all    the whole student instead of adapters
    python benchmarks/gpu_split.py --small        a tiny pair, on any machine, to see that it runs

Both models are cut at their embeddings. Parts: transfer (rows and gradient between host and GPU),
teacher, student (both passes), loss, update. Each is timed with the queue of the GPU empty before
and after; the whole step once more without such stops. The same again with the teacher cached as
sampled ids, so that it does not run. Model FLOPs are those of the traced models; utilisation is
against `--peak-flops-per-s`, or the speed of a large product measured here.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilfleet.nn import split
from distilfleet.nn.fused import DenseTeacher, SampledTeacher, Teacher, fused_kd
from distilfleet.nn.language import load
from distilfleet.nn.trace import trace

SAMPLED = 12
"""Ids per token of a cached teacher."""
RANK = 8
NO_GPU = (
    "no GPU here: this measures an 8B and a 1B model and needs one; --small runs a tiny pair on "
    "the processor"
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    teacher: str
    student: str
    vocabulary: int
    batch: int
    steps: int
    """Tokens of a sequence."""
    device: str
    train: str

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device == "cuda" else torch.float32

    @property
    def tokens(self) -> int:
        return self.batch * self.steps


@dataclass(kw_only=True)
class Watch:
    """Seconds and bytes of each part, over several steps."""

    device: str
    parts: dict[str, list[float]] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    stops: bool = True

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if not self.stops:
            yield
            return
        before = self._ready()
        started = time.perf_counter()
        yield
        self._wait()
        self.parts.setdefault(name, []).append(time.perf_counter() - started)
        if self.device == "cuda":
            took = torch.cuda.max_memory_allocated() - before
            self.peak_bytes[name] = max(took, self.peak_bytes.get(name, 0))

    def _ready(self) -> int:
        self._wait()
        if self.device != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class Server:
    """Teacher and student as the server has them, and what a device would send."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.teacher, self.student = (
            self._model(setting.teacher).eval(),
            self._model(setting.student),
        )
        self.teacher.requires_grad_(False)
        for table in (self.student.get_input_embeddings(), self.student.get_output_embeddings()):
            table.requires_grad_(False)
        if setting.train == "adapters":
            split.add_lora(self.student, rank=RANK, seed=0)
        self.backs = split.Back(self.teacher, 0), split.Back(self.student, 0)
        trained = [weight for weight in self.student.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=setting.device == "cuda")
        self._receive()

    def _model(self, name: str) -> Any:
        with torch.device(self.setting.device):
            return load(
                name,
                vocabulary=self.setting.vocabulary,
                context=self.setting.steps,
                seed=0,
                dtype=self.setting.dtype,
            )

    def _receive(self) -> None:
        """Ids, and the rows that come over the wire for them, in host memory."""
        setting = self.setting
        shape = (setting.batch, setting.steps)
        ids_BT = torch.randint(
            setting.vocabulary, shape, generator=torch.Generator().manual_seed(0)
        )
        self.rows = [self._rows(model, ids_BT) for model in (self.teacher, self.student)]
        self.mask_BT = torch.ones(shape, dtype=torch.long, device=setting.device)
        self.labels_N = ids_BT.roll(-1, 1).flatten().to(setting.device)
        self.labels_N[setting.steps - 1 :: setting.steps] = -100
        draw = torch.randint(setting.vocabulary, (setting.tokens, SAMPLED))
        self.cache = SampledTeacher(ids_NK=draw.to(setting.device))

    def _rows(self, model: nn.Module, ids_BT: Tensor) -> Tensor:
        rows = split.token_table(model).detach()[ids_BT.to(self.setting.device)].cpu()
        return rows.pin_memory() if self.setting.device == "cuda" else rows

    def step(self, watch: Watch, *, cached: bool) -> None:
        device, positions_BT = self.setting.device, split.positions(self.mask_BT)
        with watch.part("transfer"):
            rows = self.rows[1:] if cached else self.rows
            *teacher_rows, smashed_BTH = [one.to(device, non_blocking=True) for one in rows]
            smashed_BTH = smashed_BTH.detach().requires_grad_()
        teacher: Teacher = self.cache
        if not cached:
            with watch.part("teacher"), torch.no_grad():
                said_BTD = self.backs[0](teacher_rows[0], self.mask_BT, positions_BT)
                teacher = DenseTeacher(
                    hidden_ND=said_BTD.flatten(0, 1), table_VD=split.output_table(self.teacher)
                )
        with watch.part("student"):
            hidden_BTH = self.backs[1](smashed_BTH, self.mask_BT, positions_BT)
        with watch.part("loss"):
            last_NH = hidden_BTH.detach().flatten(0, 1).requires_grad_()
            fused_kd(
                last_NH, split.output_table(self.student), labels_N=self.labels_N, teacher=teacher
            ).backward()
        with watch.part("student"):
            assert last_NH.grad is not None
            hidden_BTH.backward(last_NH.grad.view_as(hidden_BTH))
        with watch.part("transfer"):
            assert smashed_BTH.grad is not None
            smashed_BTH.grad.to("cpu")
        with watch.part("update"):
            self.optimiser.step()
            self.optimiser.zero_grad()


def measure(server: Server, repeats: int, *, cached: bool) -> dict[str, Any]:
    setting = server.setting
    watch, bare = Watch(device=setting.device), Watch(device=setting.device, stops=False)
    server.step(bare, cached=cached)  # the first one makes kernels and moments
    for _ in range(repeats):
        server.step(watch, cached=cached)
    whole_s = least(lambda: server.step(bare, cached=cached), setting.device, repeats)
    parts_s = {name: sum(times) / repeats for name, times in watch.parts.items()}
    flops = model_flops(setting, cached=cached)
    return {
        "step_s": whole_s,
        "parts_s": parts_s,
        "peak_bytes": watch.peak_bytes,
        "model_flops": flops,
    }


def model_flops(setting: Setting, *, cached: bool) -> float:
    """Of one step. Backward: the inputs' gradients, and the weights' where weights are trained;
    tables are frozen."""
    teacher, student = (
        trace(name, setting.steps, vocabulary=setting.vocabulary)
        for name in (setting.teacher, setting.student)
    )
    passes = 3 if setting.train == "all" else 2
    student_flops = (
        passes * sum(layer.forward_flops for layer in student.layers) + 2 * student.head_flops
    )
    teacher_flops = (
        0.0 if cached else sum(layer.forward_flops for layer in teacher.layers) + teacher.head_flops
    )
    return setting.tokens * (student_flops + teacher_flops)


def product_flops_per_s(setting: Setting) -> float:
    """Of one large product in the models' type."""
    side = 8192 if setting.device == "cuda" else 512
    one, other = (
        torch.randn(side, side, device=setting.device, dtype=setting.dtype) for _ in range(2)
    )
    return 2 * side**3 / least(lambda: one @ other, setting.device, 10)


def least(work: Callable[[], object], device: str, repeats: int) -> float:
    """Seconds: the median, or what comes close to it, of several runs that wait for their end."""
    taken = []
    watch = Watch(device=device)
    for _ in range(repeats):
        with watch.part("work"):
            work()
    taken = watch.parts["work"]
    return statistics.median(taken)


def show(name: str, found: dict[str, Any], peak_flops_per_s: float) -> None:
    utilised = found["model_flops"] / found["step_s"] / peak_flops_per_s
    print(
        f"{name}: {found['step_s']:.4g} s a step, {found['model_flops'] / 1e12:.4g} TFLOP, MFU "
        f"{100 * utilised:.1f} %"
    )
    for part, part_s in found["parts_s"].items():
        memory = found["peak_bytes"].get(part)
        print(
            f"  {part:<10}{part_s:>10.4g} s"
            + (f"{memory / 1e9:>9.3f} GB above what was there" if memory else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--small", action="store_true", help="a tiny pair on the processor")
    parser.add_argument(
        "--train", choices=["adapters", "all"], default="adapters", help="of the student"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--peak-flops-per-s", type=float, help="of the GPU; else that of a large product"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    if not asked.small and not torch.cuda.is_available():
        sys.exit(NO_GPU)
    setting = (
        Setting(
            teacher="llama:128x4",
            student="llama:64x2",
            vocabulary=512,
            batch=2,
            steps=32,
            device="cpu",
            train=asked.train,
        )
        if asked.small
        else Setting(
            teacher="llama-3.1-8b",
            student="llama-3.2-1b",
            vocabulary=128_256,
            batch=4,
            steps=512,
            device="cuda",
            train=asked.train,
        )
    )
    server = Server(setting)
    product = product_flops_per_s(setting)
    peak_flops_per_s = asked.peak_flops_per_s or product
    where = torch.cuda.get_device_name() if setting.device == "cuda" else "processor"
    print(
        f"{setting.teacher} to {setting.student}, {setting.batch} x {setting.steps} tokens, {where}"
    )
    print(
        f"a large product runs at {product / 1e12:.4g} TFLOP/s; utilisation is against "
        f"{peak_flops_per_s / 1e12:.4g}"
    )
    weights_bytes = {
        name: sum(weight.numel() * weight.element_size() for weight in model.parameters())
        for name, model in (("teacher", server.teacher), ("student", server.student))
    }
    print(
        "weights: "
        + ", ".join(f"{name} {size / 1e9:.3f} GB" for name, size in weights_bytes.items())
    )
    found = {}
    for name, cached in (("teacher runs", False), ("teacher cached", True)):
        found[name] = measure(server, asked.repeats, cached=cached)
        show(name, found[name], peak_flops_per_s)
    if asked.json:
        kept = {
            "schema": 1,
            "where": where,
            "weights_bytes": weights_bytes,
            "product_flops_per_s": product,
            **found,
        }
        asked.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
