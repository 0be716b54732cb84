"""From timed work to a row of the catalogue: how fast a board multiplies and moves memory, and what
a call costs.

The model is the catalogue's roofline with a cost per call, t = max(F / R, Q / B) + n l, where R is
the board's peak P in matrix products and e P in training. P, e P, B and l are fitted by least
squares on relative errors: each product is taken as bound by arithmetic or by memory, the unknowns
are solved for, and products change sides until none wants to. Whoever measures hands in the clock.

Axes: U unknowns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from .catalogue import Entry

Now = Callable[[], float]
GEMM_SIZES = (64, 256, 1024)
COPY_BYTES = 64_000_000
FLOAT_BYTES = 4
ROUNDS = 20
FEWEST = 3
PRODUCT, TRAINING, MEMORY, CALL = range(4)
BOARDS = frozenset({"sbc", "jetson"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A piece of work and the seconds that it took."""

    name: str
    flops: float
    moved_bytes: float
    calls: int
    """Kernels that it starts."""
    took_s: float
    training: bool = False
    """Forward and backward through a layer: runs at the training speed, whatever bounds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the trials say of a board."""

    peak_flops_per_s: float
    training_flops_per_s: float | None
    """None if no layer was trained."""
    memory_bytes_per_s: float
    call_s: float
    error_share: float = 0.0
    """Root mean square of the relative errors that remain."""

    def predicted_s(self, trial: Trial) -> float:
        """Seconds that the model gives a trial."""
        calls_s = trial.calls * self.call_s
        if trial.training:
            return trial.flops / (self.training_flops_per_s or self.peak_flops_per_s) + calls_s
        return (
            max(trial.flops / self.peak_flops_per_s, trial.moved_bytes / self.memory_bytes_per_s)
            + calls_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is known of a board beside its speed. None: taken from the row that it is like, as an
    estimate."""

    kind: str
    processor: str
    cores: int
    clock_hz: float | None = None
    memory_bytes: int | None = None
    usable_memory_bytes: int | None = None
    idle_w: float | None = None
    busy_w: float | None = None
    power_source: str = ""
    """Where the watts are from, if they are given."""
    up_bps: float | None = None
    down_bps: float | None = None


def gemm_trials(clock: Now, lasting_s: float, rng: np.random.Generator) -> list[Trial]:
    """Square matrix products in float32, of three sizes, `lasting_s` each."""
    return [_gemm(size, clock, lasting_s, rng) for size in GEMM_SIZES]


def copy_trial(clock: Now, lasting_s: float) -> Trial:
    """One large array to another: every byte is read once and written once."""
    source = np.ones(COPY_BYTES // FLOAT_BYTES, np.float32)
    target = np.empty_like(source)
    took_s = timed_s(lambda: np.copyto(target, source), clock, lasting_s)
    return Trial(name="copy", flops=0.0, moved_bytes=2.0 * COPY_BYTES, calls=1, took_s=took_s)


def timed_s(work: Callable[[], object], clock: Now, lasting_s: float) -> float:
    """Seconds of the fastest of the calls that fill `lasting_s`, at least three, after one to warm
    up.

    The fastest, because what other programs and heat take is priced apart, in `cost.throttle`.
    """
    work()
    taken_s: list[float] = []
    until_s = clock() + lasting_s
    while len(taken_s) < FEWEST or clock() < until_s:
        began_s = clock()
        work()
        taken_s.append(clock() - began_s)
    return min(taken_s)


def fit(trials: Sequence[Trial]) -> Fit:
    """Least squares. Raises ConfigError without a product or without a copy, and if the clock stood
    still."""
    found = _first_guess(trials)
    for _ in range(ROUNDS):
        before = found
        found = _solved(trials, before)
        if found == before:
            break
    errors = [found.predicted_s(trial) / trial.took_s - 1 for trial in trials]
    mean_square = np.mean(np.square(errors))
    return replace(found, error_share=float(np.sqrt(mean_square)))


def _first_guess(trials: Sequence[Trial]) -> Fit:
    """The fastest product and the fastest copy, and calls that cost nothing."""
    if not all(trial.took_s > 0 for trial in trials):
        raise ConfigError("the clock did not move during a measurement; calibrate for longer")
    products = [trial for trial in trials if trial.flops > 0 and not trial.training]
    copies = [trial for trial in trials if trial.flops == 0]
    if not products or not copies:
        raise ConfigError("a calibration needs matrix products and a copy")
    return Fit(
        peak_flops_per_s=max(trial.flops / trial.took_s for trial in products),
        training_flops_per_s=None,
        memory_bytes_per_s=max(trial.moved_bytes / trial.took_s for trial in copies),
        call_s=0.0,
    )


def nearest(fitted: Fit, known: Sequence[Entry]) -> Entry:
    """The board that can train whose speed and memory are the most alike, in logarithms; no phone
    and no server."""
    candidates = [row for row in known if row.can_train and row.family in BOARDS]

    def apart(row: Entry) -> float:
        speed = fitted.peak_flops_per_s / row.peak_fp32_flops_per_s
        return abs(float(np.log(speed))) + abs(
            float(np.log(fitted.memory_bytes_per_s / row.memory_bytes_per_s))
        )

    return min(candidates, key=apart)


def row(board: Board, fitted: Fit, trials: Sequence[Trial], like: Entry, day: str) -> Entry:
    """The board's own row: what was measured says so, with the day; what was not is that of `like`,
    as an estimate."""
    measured = f"measured {day} by calibrate"
    return replace(
        like,
        kind=board.kind,
        processor=board.processor,
        cores=board.cores,
        measured_fp64_flops_per_s=None,
        source_measured="",
        memory_bytes_per_s=fitted.memory_bytes_per_s,
        notes=f"a call costs {fitted.call_s:.2g} s and the fit errs by {fitted.error_share:.0%} "
        f"({measured})",
        **_peak(board, fitted, like, measured),
        **_training(fitted, trials, like, measured),
        **_memory(board, like, measured),
        **_power(board, like),
        **_radio(board, like),
    )


def _gemm(size: int, clock: Now, lasting_s: float, rng: np.random.Generator) -> Trial:
    left, right = rng.standard_normal((2, size, size), np.float32)
    target = np.empty_like(left)
    took_s = timed_s(lambda: np.matmul(left, right, out=target), clock, lasting_s)
    return Trial(
        name=f"product {size}",
        flops=2.0 * size**3,
        moved_bytes=3.0 * FLOAT_BYTES * size**2,
        calls=1,
        took_s=took_s,
    )


def _solved(trials: Sequence[Trial], before: Fit) -> Fit:
    """The unknowns, with each trial on the side that `before` puts it on. A negative cost of calls
    is none at all."""
    taken_s = np.array([[trial.took_s] for trial in trials])
    relative = np.array([_shares(trial, before) for trial in trials]) / taken_s
    used = np.flatnonzero(relative.any(axis=0))
    solved_U = _least_squares(relative, used)
    if solved_U[CALL] < 0:
        solved_U = _least_squares(relative, used[used != CALL])
    rates = (1 / np.where(solved_U > 0, solved_U, np.inf)).tolist()
    return Fit(
        peak_flops_per_s=rates[PRODUCT] or before.peak_flops_per_s,
        training_flops_per_s=rates[TRAINING] or None,
        memory_bytes_per_s=rates[MEMORY] or before.memory_bytes_per_s,
        call_s=float(solved_U[CALL]),
    )


def _shares(trial: Trial, before: Fit) -> list[float]:
    """What multiplies each unknown in the time of a trial."""
    if trial.training:
        return [0.0, trial.flops, 0.0, trial.calls]
    if trial.flops / before.peak_flops_per_s >= trial.moved_bytes / before.memory_bytes_per_s:
        return [trial.flops, 0.0, 0.0, trial.calls]
    return [0.0, 0.0, trial.moved_bytes, trial.calls]


def _least_squares(relative: np.ndarray, used: np.ndarray) -> np.ndarray:
    """[U], zero where unused; columns are scaled, as a FLOP takes far less than a call."""
    chosen = relative[:, used]
    scale = chosen.max(axis=0)
    solved_U = np.zeros(relative.shape[1])
    solved_U[used] = np.linalg.lstsq(chosen / scale, np.ones(len(relative)), rcond=None)[0] / scale
    return solved_U


def _peak(board: Board, fitted: Fit, like: Entry, measured: str) -> dict[str, Any]:
    peak = fitted.peak_flops_per_s
    grown = peak / like.peak_fp32_flops_per_s
    clock_hz = board.clock_hz or like.clock_hz
    clock_source = "the system's" if board.clock_hz else f"estimate, that of {like.kind}"
    return {
        "clock_hz": clock_hz,
        "fp32_flops_per_cycle": max(1, round(peak / (board.cores * clock_hz))),
        "peak_fp32_flops_per_s": peak,
        "peak_fp16_flops_per_s": like.peak_fp16_flops_per_s * grown,
        "peak_int8_ops_per_s": like.peak_int8_ops_per_s * grown,
        "source_peak": f"fp32: {measured}, matrix products; cores: the system's; clock: "
        f"{clock_source}; FLOP per cycle: arithmetic; fp16 and int8: estimate, in the ratio of "
        f"{like.kind}",
    }


def _training(fitted: Fit, trials: Sequence[Trial], like: Entry, measured: str) -> dict[str, Any]:
    if fitted.training_flops_per_s is None:
        return {"source_efficiency": f"estimate, that of {like.kind}; torch is not installed"}
    named = ", ".join(trial.name for trial in trials if trial.training)
    share = fitted.training_flops_per_s / fitted.peak_flops_per_s
    return {"train_efficiency": share, "source_efficiency": f"{measured}: {named}"}


def _memory(board: Board, like: Entry, measured: str) -> dict[str, Any]:
    bandwidth = f"bandwidth: {measured}"
    if board.memory_bytes is None or board.usable_memory_bytes is None:
        return {"source_memory": f"{bandwidth}; size and usable: estimate, those of {like.kind}"}
    return {
        "memory_bytes": board.memory_bytes,
        "usable_memory_bytes": board.usable_memory_bytes,
        "source_memory": f"{bandwidth}; size and usable: the system's, {measured}",
    }


def _power(board: Board, like: Entry) -> dict[str, Any]:
    given = _given(board, ("idle_w", "busy_w"))
    if len(given) == 2:
        return {**given, "source_power": board.power_source}
    stated = f"{', '.join(given)}: {board.power_source}; the rest: " if given else ""
    return {**given, "source_power": f"{stated}estimate, that of {like.kind}"}


def _radio(board: Board, like: Entry) -> dict[str, Any]:
    given = _given(board, ("up_bps", "down_bps"))
    stated = f"{', '.join(given)}: as asked for; the rest: " if given else ""
    return {
        **given,
        "phy_bps": max([like.phy_bps, *given.values()]),
        "source_radio": f"{stated}estimate, that of {like.kind}",
        "source_latency": f"estimate, that of {like.kind}",
    }


def _given(board: Board, names: Sequence[str]) -> dict[str, float]:
    values = {name: getattr(board, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
