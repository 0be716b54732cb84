"""Memory and time of the fused distillation loss beside the plain way, forward and backward, in one
run.

    python benchmarks/loss.py                    sizes that run anywhere; the full one on a GPU
    python benchmarks/loss.py --full             the full size anywhere: 20 GB, minutes
    python benchmarks/loss.py --type bfloat16    tables in 16 bits
    python benchmarks/loss.py --json FILE        the same as one object

The full size is 4,096 tokens x 128,256 vocabulary x width 2,048 / 4,096.
Each row is a process of its own. Memory is the peak above the inputs, of the process on a processor
(resident) and of the allocator on a GPU. Time is processor seconds of one thread, so that
neighbours disturb it least, and seconds on a GPU. The plain way is what is usually written: two
tables of logits, softmax, `kl_div`. Where Liger is installed, on a GPU, its chunked loss is
measured as well.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from distilfleet.nn.fused import DenseTeacher, SampledTeacher, TopKTeacher, fused_kd

TEMPERATURE = 2.0
KEPT = 64
"""Ids per token of a sparse teacher."""
MOST_BYTES = 0.5e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    tokens: int
    vocabulary: int
    width: int
    teacher_width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one process measures."""

    way: str
    frozen: bool
    kind: str
    """Of the tables: float32 or bfloat16."""
    device: str
    size: Size


SMALL = (
    Size(tokens=1024, vocabulary=32_000, width=512, teacher_width=1024),
    Size(tokens=512, vocabulary=128_256, width=512, teacher_width=1024),
)
FULL = Size(tokens=4096, vocabulary=128_256, width=2048, teacher_width=4096)
WAYS = (
    ("plain", True),
    ("fused", True),
    ("sampled", True),
    ("top-k", True),
    ("plain", False),
    ("fused", False),
)


class Inputs:
    """Hidden states and tables of one size, and what a sparse teacher would have kept."""

    def __init__(self, cell: Cell) -> None:
        generator = torch.Generator(cell.device).manual_seed(0)
        dtype = getattr(torch, cell.kind)

        def normal(rows: int, width: int, scale: float) -> Tensor:
            made = torch.empty(rows, width, dtype=dtype, device=cell.device)
            for some in made.split(1024):  # no second copy of a table
                some.copy_(torch.randn(some.shape, generator=generator, device=cell.device) * scale)
            return made

        size, sparse = cell.size, cell.way in ("sampled", "top-k")
        self.hidden = normal(size.tokens, size.width, 1.0).requires_grad_()
        self.table = normal(size.vocabulary, size.width, 3 / math.sqrt(size.width)).requires_grad_(
            not cell.frozen
        )
        self.teacher_hidden = normal(size.tokens, size.teacher_width, 1.0)
        rows = 1 if sparse else size.vocabulary
        self.teacher_table = normal(rows, size.teacher_width, 3 / math.sqrt(size.teacher_width))
        self.ids = torch.stack(
            [
                torch.randperm(size.vocabulary, generator=generator, device=cell.device)[:KEPT]
                for _ in range(8)
            ]
        ).repeat(-(-size.tokens // 8), 1)[: size.tokens]
        self.labels = self.ids[:, 0]


def plain(given: Inputs) -> Tensor:
    logits = F.linear(given.hidden, given.table).float()
    with torch.no_grad():
        soft = F.softmax(
            F.linear(given.teacher_hidden, given.teacher_table).float() / TEMPERATURE, -1
        )
    return (
        F.kl_div(F.log_softmax(logits / TEMPERATURE, -1), soft, reduction="batchmean")
        * TEMPERATURE**2
    )


def fused(given: Inputs) -> Tensor:
    teacher = DenseTeacher(hidden_ND=given.teacher_hidden, table_VD=given.teacher_table)
    return fused_kd(given.hidden, given.table, teacher=teacher, temperature=TEMPERATURE)


def sampled(given: Inputs) -> Tensor:
    teacher = SampledTeacher(ids_NK=given.ids, temperature=TEMPERATURE)
    return fused_kd(given.hidden, given.table, teacher=teacher, temperature=TEMPERATURE)


def top_k(given: Inputs) -> Tensor:
    kept = torch.full(given.ids.shape, math.log(0.9 / KEPT), device=given.ids.device)
    teacher = TopKTeacher(ids_NK=given.ids, log_p_NK=kept, temperature=TEMPERATURE)
    return fused_kd(given.hidden, given.table, teacher=teacher, temperature=TEMPERATURE)


def liger(given: Inputs) -> Tensor:
    """Its forward KL is its JSD with beta 0; soft loss alone."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # an extra of whoever measures

    loss = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, temperature=TEMPERATURE
    )
    facts = (given.hidden, given.table, given.teacher_hidden, given.teacher_table, given.labels)
    made: Tensor = loss(*facts, None, None)  # no biases
    return made * TEMPERATURE**2


LOSSES: dict[str, Callable[[Inputs], Tensor]] = {
    "plain": plain,
    "fused": fused,
    "sampled": sampled,
    "top-k": top_k,
    "liger": liger,
}


# --- one process ----------------------------------------------------------------------------------


def measure(cell: Cell) -> dict[str, float]:
    """Least seconds of two passes, and the most bytes above the inputs."""
    torch.set_num_threads(1)
    given = Inputs(cell)
    torch.mm(torch.randn(64, 64), torch.randn(64, 64))
    before = reset_peak(cell.device)
    seconds = []
    for _ in range(2 if cell.device == "cuda" or cell.size.tokens <= 1024 else 1):
        given.hidden.grad = given.table.grad = None
        started = clock(cell.device)
        loss = LOSSES[cell.way](given)
        loss.backward()
        seconds.append(clock(cell.device) - started)
    assert given.hidden.grad is not None
    return {
        "seconds": min(seconds),
        "peak_bytes": peak(cell.device) - before,
        "loss": loss.item(),
        "gradient_norm": given.hidden.grad.float().norm().item(),
    }


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def reset_peak(device: str) -> int:
    """Bytes in use now; the peak starts from here, where the system can forget it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if (forget := Path("/proc/self/clear_refs")).exists():
        forget.write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if (status := Path("/proc/self/status")).exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- all of them ----------------------------------------------------------------------------------


def apart(cell: Cell) -> dict[str, float | str]:
    """What a process of its own measures, or why it could not."""
    command = [sys.executable, __file__, "--cell", json.dumps(asdict(cell))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return {"error": (ran.stderr.strip().splitlines() or [f"exit {ran.returncode}"])[-1][:160]}
    found: dict[str, float | str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def show(cell: Cell, found: dict[str, float | str], base: dict[str, float | str] | None) -> str:
    name = f"{cell.way}, table {'frozen' if cell.frozen else 'trained'}"
    if "error" in found:
        return f"  {name:<24}{found['error']}"
    row = (
        f"  {name:<24}{found['seconds']:>9.3g} s{float(found['peak_bytes']) / 1e9:>8.3f} "
        f"GB{found['loss']:>12.6f}"
    )
    if base is None or "error" in base or cell.way == "plain":
        return row
    ratios = [float(base[key]) / float(found[key]) for key in ("seconds", "peak_bytes")]
    return f"{row}   {ratios[0]:.2f} times as fast, {ratios[1]:.1f} times less memory"


def sweep(
    sizes: list[Size], kind: str, device: str, ways: tuple[tuple[str, bool], ...]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for size in sizes:
        widths = f"{size.width} / {size.teacher_width}"
        print(
            f"{size.tokens} tokens x {size.vocabulary} vocabulary x {widths}, {kind}, {device}",
            flush=True,
        )
        bases: dict[bool, dict[str, float | str]] = {}
        for way, frozen in ways:
            cell = Cell(way=way, frozen=frozen, kind=kind, device=device, size=size)
            found = apart(cell)
            if way == "plain":
                bases[frozen] = found
            print(show(cell, found, bases.get(frozen)), flush=True)
            rows.append({**asdict(cell), **found})
    return rows


def verdict(rows: list[dict[str, object]]) -> list[str]:
    """What of the promise was not kept: half a gigabyte, and no slower than the plain way."""
    plain_s = {
        str(row["size"]): row.get("seconds")
        for row in rows
        if row["way"] == "plain" and row["frozen"]
    }
    broken = []
    for row in rows:
        if row["way"] == "plain" or not row["frozen"] or "error" in row:
            continue
        if float(str(row["peak_bytes"])) > MOST_BYTES:
            broken.append(f"{row['way']} takes {row['peak_bytes']} bytes at {row['size']}")
        base = plain_s.get(str(row["size"]))
        if base is not None and float(str(row["seconds"])) > float(str(base)):
            broken.append(
                f"{row['way']} takes {row['seconds']} s, the plain way {base} s, at {row['size']}"
            )
    return broken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--full", action="store_true", help="4,096 tokens x 128,256 vocabulary x 2,048 / 4,096"
    )
    parser.add_argument(
        "--type", choices=["float32", "bfloat16"], default="float32", help="of the tables"
    )
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument(
        "--frozen", action="store_true", help="tables frozen alone, dense teacher alone"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a size that takes no time, to see that it runs"
    )
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cell:
        facts = json.loads(asked.cell)
        print(json.dumps(measure(Cell(**{**facts, "size": Size(**facts["size"])}))))
        return
    gpu = torch.cuda.is_available()
    sizes = (
        [Size(tokens=64, vocabulary=999, width=32, teacher_width=64)] if asked.tiny else list(SMALL)
    )
    sizes = [FULL] if asked.full or (gpu and not asked.tiny) else sizes
    ways = (*WAYS, ("liger", True), ("liger", False)) if gpu else WAYS
    if asked.frozen:
        ways = tuple(
            (way, frozen) for way, frozen in ways if frozen and way not in ("sampled", "top-k")
        )
    rows = sweep(sizes, asked.type, "cuda" if gpu else "cpu", ways)
    broken = verdict(rows)
    print(
        *(
            broken
            or ["every fused loss is within half a gigabyte and no slower than the plain way"]
        ),
        sep="\n",
    )
    if asked.json:
        asked.json.write_text(json.dumps({"schema": 1, "rows": rows, "broken": broken}, indent=1))


if __name__ == "__main__":
    main()
