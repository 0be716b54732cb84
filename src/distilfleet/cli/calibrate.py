"""Measure this machine and write it down as a row of the catalogue, for fleets of boards like
it."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.chance import stream
from ..core.errors import ConfigError
from ..cost import meters
from ..cost.calibration import (
    Board,
    Fit,
    Now,
    Trial,
    copy_trial,
    fit,
    gemm_trials,
    nearest,
    row,
    timed_s,
)
from ..cost.catalogue import Entry, as_csv, entries, entry, read
from ..recipes.flags import option
from .calibrate_flags import Calibrate

SYSTEM = Path("/sys")
WIDTH = 256
HEADS = 4
STEPS = 128
BATCH = 8
"""Of the layer: a small transformer's, 1,024 tokens."""
LAYER_CALLS = 41
"""Kernels of its forward and backward, views left out: counted with torch's dispatch mode, torch
2.13.0."""
PARTS = 10
"""Into which the time is divided: three products, the copy, the layer twice, idle and busy watts
twice."""


def calibrate(flags: Calibrate, clock: Now, pause: Callable[[float], None], day: str) -> str:
    """Measure, write the row, and tell what came out. Raises ConfigError."""
    _check(flags)
    rows = read(flags.out) if flags.out.exists() else {}
    like = None if flags.like is None else entry(flags.like)
    part_s = flags.lasting_s / PARTS
    trials = _trials(clock, part_s)
    fitted = fit(trials)
    like = like or nearest(fitted, list(entries().values()))
    board = _board(flags, clock, pause, 2 * part_s)
    made = row(board, fitted, trials, like, day)
    rows = {**rows, made.kind: made}
    flags.out.write_text(as_csv(rows.values()), encoding="utf-8")
    return summary(made, fitted, trials, like, flags.out)


def _trials(clock: Now, part_s: float) -> list[Trial]:
    """Products, a copy, and a layer where there is torch; each part takes so long."""
    return [
        *gemm_trials(clock, part_s, stream(0, "calibrate")),
        copy_trial(clock, part_s),
        *layer_trials(clock, 2 * part_s),
    ]


def layer_trials(clock: Now, lasting_s: float) -> list[Trial]:
    """A transformer's layer forward and backward; none where torch is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return []
    layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
    inputs = torch.randn(BATCH, STEPS, WIDTH, requires_grad=True)

    def step() -> None:
        layer(inputs).sum().backward()

    trial = Trial(
        name="layer forward and backward",
        flops=3 * _forward_flops(),
        moved_bytes=0.0,
        calls=LAYER_CALLS,
        took_s=timed_s(step, clock, lasting_s),
        training=True,
    )
    return [trial]


def _forward_flops() -> float:
    """Of the layer: its weights once per token, and attention."""
    weights = 12 * WIDTH**2
    attention = 4.0 * STEPS * WIDTH
    return BATCH * STEPS * (2.0 * weights + attention)


def summary(made: Entry, fitted: Fit, trials: list[Trial], like: Entry, out: Path) -> str:
    """For people: trials beside the fit, the row's main numbers, and what to do with it."""
    lines = [
        *(_beside_fit(trial, fitted) for trial in trials),
        _speeds(made, fitted, like),
        f"Watts: {made.idle_w:.3g} idle, {made.busy_w:.3g} busy ({made.source_power}).",
        f"Nearest kind: {like.kind}, {_gflops_per_s(like)} at its peak.",
        f"Row written to {out}.",
    ]
    return "\n".join(lines)


def _beside_fit(trial: Trial, fitted: Fit) -> str:
    took_ms = 1e3 * trial.took_s
    fitted_ms = 1e3 * fitted.predicted_s(trial)
    return f"  {trial.name:<28} {took_ms:>9.4f} ms   fitted {fitted_ms:>9.4f} ms"


def _speeds(made: Entry, fitted: Fit, like: Entry) -> str:
    trained = "measured" if fitted.training_flops_per_s else f"estimate, as {like.kind}"
    return (
        f"{made.kind}: {_gflops_per_s(made)} in products; "
        f"{made.train_efficiency:.0%} of that in training ({trained}); "
        f"{made.memory_bytes_per_s / 1e9:.3g} GB/s; a call takes {1e6 * fitted.call_s:.3g} "
        f"microseconds; the fit errs by {fitted.error_share:.0%}."
    )


def _gflops_per_s(board: Entry) -> str:
    return f"{board.peak_fp32_flops_per_s / 1e9:.3g} GFLOP/s"


def _check(flags: Calibrate) -> None:
    for name in ("idle_w", "busy_w", "up_bps", "down_bps", "lasting_s"):
        _check_number(flags, name)
    if flags.idle_w is not None and flags.busy_w is not None and flags.busy_w < flags.idle_w:
        raise ConfigError(
            f"--busy-w is {flags.busy_w}; it must be at least --idle-w, {flags.idle_w}"
        )
    if not flags.kind.strip():
        raise ConfigError("--kind is empty; give the row a name")
    if flags.out.is_dir() or not flags.out.absolute().parent.is_dir():
        raise ConfigError(f"--out {flags.out}: name a file in a directory that exists")


def _check_number(flags: Calibrate, name: str) -> None:
    given = getattr(flags, name)
    if given is not None and not 0 < given < float("inf"):
        raise ConfigError(f"{option(name)} is {given}; it must be above 0 and finite")


def _board(flags: Calibrate, clock: Now, pause: Callable[[float], None], lasting_s: float) -> Board:
    idle_w = flags.idle_w
    busy_w = flags.busy_w
    source = "as asked for"
    meter = meters.find(SYSTEM) if idle_w is None and busy_w is None else None
    if meter is not None:
        idle_w = meters.mean_w(meter, lambda: pause(0.1), clock, lasting_s)
        busy_w = max(idle_w, meters.mean_w(meter, _load(), clock, lasting_s))
        source = f"measured by calibrate: {meter.what}"
    memory_bytes, usable_memory_bytes = _memory_bytes()
    return Board(
        kind=flags.kind,
        processor=_processor(),
        cores=os.cpu_count() or 1,
        clock_hz=_clock_hz(),
        memory_bytes=memory_bytes,
        usable_memory_bytes=usable_memory_bytes,
        idle_w=idle_w,
        busy_w=busy_w,
        power_source=source,
        up_bps=flags.up_bps,
        down_bps=flags.down_bps,
    )


def _load() -> Callable[[], object]:
    """Work that keeps all cores busy."""
    left = np.ones((1024, 1024), np.float32)
    return lambda: left @ left


def _clock_hz() -> float | None:
    """The highest, from the system's files; None where it does not say."""
    try:
        return 1e3 * float(
            (SYSTEM / "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text()
        )
    except (OSError, ValueError):
        return 1e6 * max(map(float, _told_by_system("cpu MHz")), default=0.0) or None


def _processor() -> str:
    """By the name that the system knows, else its family alone."""
    return next(iter(_told_by_system("model name")), "") or platform.machine() or "unknown"


def _told_by_system(name: str) -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [
        line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name
    ]


def _memory_bytes() -> tuple[int | None, int | None]:
    """All of it, and what is free for a job now; None where the system does not say."""
    try:
        lines = dict(
            line.split(":", 1)
            for line in Path("/proc/meminfo").read_text().splitlines()
            if ":" in line
        )
        total, usable = (
            1024 * int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable")
        )
    except (OSError, ValueError, KeyError, IndexError):
        return None, None
    return total, usable
