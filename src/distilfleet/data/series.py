"""Long series cut into windows of one length: by owner and recording, never across a gap.

A recording is a stretch of steps that one owner measured. Its windows start a hop apart; what is
left over at its end is too short for one and goes, which is said. A window has the label that most
of its labelled steps have.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from . import labels, scaling
from .files import check_fits
from .raw import Part, Raw, Sampling, as_text, check_even, check_part
from .reading import Reading
from .scaling import Layout

LENGTH = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+) ?(?P<seconds>s?)")
GAP = 1.5
"""Usual distances between two steps from which on something is missing between them."""
SAME_RATE = 0.01
"""Share by which two sampling rates may differ and be taken for one."""
NO_CLASS = -1
SERIES = Layout(kind="series")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """What one owner measured at a stroke."""

    values: np.ndarray
    """[steps, channels]."""
    classes: np.ndarray
    """The number of the class of each step, `NO_CLASS` where it has none."""
    owner: str = ""
    breaks: Sequence[int] = ()
    """Steps that do not follow the one before, for something is missing there; rising."""

    def stretches(self) -> Iterator[tuple[int, int]]:
        """First step, and the one behind the last, of each part without a gap."""
        edges = [0, *self.breaks, len(self.values)]
        yield from pairwise(edges)


@dataclass(slots=True, kw_only=True)
class _Cut:
    """Windows as they come, and what was left aside on the way."""

    window: int
    hop: int
    inputs: list[np.ndarray] = field(default_factory=list)
    classes: list[np.ndarray] = field(default_factory=list)
    owners: list[np.ndarray] = field(default_factory=list)
    starts: list[np.ndarray] = field(default_factory=list)
    laid: int = 0
    """Steps of all recordings so far."""
    cut_off: int = 0
    """Steps in no window, for they came last."""
    gaps: int = 0
    short: int = 0
    """Stretches without a window."""
    unlabelled: int = 0
    mixed: int = 0
    """Windows of which some steps have another label."""
    size_bytes: int = 0

    def add(self, recording: Recording, where: str) -> None:
        """Cut one more recording. Raises ConfigError where the windows would fill this machine."""
        stretches = list(recording.stretches())
        self.gaps += len(stretches) - 1
        for begin, end in stretches:
            starts = np.arange(begin, end - self.window + 1, self.hop)
            last = starts[-1] + self.window if len(starts) else begin
            self.short += not len(starts)
            self.cut_off += int(end - last)
            if len(starts):
                self._take(recording, starts, where)
        self.laid += len(recording.values)

    def _take(self, recording: Recording, starts: np.ndarray, where: str) -> None:
        classes, is_mixed = _majority(recording.classes, starts, self.window)
        labelled = classes != NO_CLASS
        self.unlabelled += int((~labelled).sum())
        self.mixed += int((is_mixed & labelled).sum())
        starts = starts[labelled]
        channels = recording.values.shape[1]
        self.size_bytes += len(starts) * self.window * channels * recording.values.itemsize
        check_fits(
            self.size_bytes, f"{where}: its windows hold", "raise --hop, or give a part of it"
        )
        views = np.lib.stride_tricks.sliding_window_view(recording.values, self.window, axis=0)
        self.inputs.append(np.moveaxis(views[starts], 1, 2))
        self.classes.append(classes[labelled])
        self.owners.append(np.full(len(starts), recording.owner))
        self.starts.append(self.laid + starts)

    def part(self, names: Sequence[Any] | np.ndarray, has_owners: bool, where: str) -> Part:
        """All windows. Raises ConfigError if there is none."""
        count = sum(map(len, self.classes))
        if not count:
            raise ConfigError(
                f"{where}: no window of {self.window} steps has a label and no gap (the "
                f"{self.short} stretches without "
                f"gaps are too short, or have no label): choose a shorter --window"
            )
        starts = np.concatenate(self.starts).astype(np.int64)
        return Part(
            inputs=np.concatenate(self.inputs),
            labels=np.asarray(names)[np.concatenate(self.classes)],
            groups=np.concatenate(self.owners) if has_owners else None,
            spans=np.stack([starts, starts + self.window], axis=1),
        )

    def notes(self, rate_hz: float) -> Iterator[str]:
        """What was decided, in sentences."""
        lasting = f" ({self.window / rate_hz:g} s)" if rate_hz else ""
        apart = "side by side" if self.hop == self.window else f"one every {self.hop}"
        count = sum(map(len, self.classes))
        yield f"{self.laid} steps cut into {count} windows of {self.window} steps{lasting}, {apart}"
        if self.gaps:
            yield f"{self.gaps} gaps between steps, which no window crosses"
        if self.cut_off:
            aside = f", {self.short} stretches whole" if self.short else ""
            yield f"{self.cut_off} steps left over at the ends of recordings and before gaps{aside}"
        if self.unlabelled:
            yield f"{self.unlabelled} windows left out: none of their steps has a label"
        if self.mixed:
            yield f"{self.mixed} windows have steps of several labels, and the most frequent one"


def _majority(
    classes: np.ndarray, starts: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent class of each window, the first of equals, `NO_CLASS` if there is none;
    whether it has others.

    One pass over the steps for each class that occurs.
    """
    seen = classes[:1] if classes.strides == (0,) else np.unique(classes)
    counts = np.zeros((len(seen), len(starts)), dtype=np.int64)
    for row, number in enumerate(seen.tolist()):
        until = (
            np.concatenate([[0], np.cumsum(classes == number)])
            if len(seen) > 1
            else np.arange(len(classes) + 1)
        )
        counts[row] = until[starts + window] - until[starts]
    counts[seen == NO_CLASS] = 0
    most = counts.argmax(axis=0)
    found = np.where(counts.max(axis=0) > 0, seen[most], NO_CLASS)
    return found, (counts > 0).sum(axis=0) > 1


# --- how long -------------------------------------------------------------------------------------


def steps(length: str, rate_hz: float, flag: str, where: str) -> int:
    """Steps of a length that was given as such or in seconds. Raises ConfigError."""
    found = LENGTH.fullmatch(length.strip())
    if found is None or not (found["seconds"] or found["number"].isdecimal()):
        raise ConfigError(
            f"{flag} is {length}; expected a number of steps such as 128, or of seconds such as "
            "2.5s"
        )
    if found["seconds"] and not rate_hz:
        raise ConfigError(
            f"{where}: {flag} {length} is in seconds, and nothing says how many steps a second "
            "has: give --rate-hz, "
            f"--time COLUMN, or a number of steps"
        )
    count = round(float(found["number"]) * rate_hz) if found["seconds"] else int(found["number"])
    if count < 1:
        raise ConfigError(f"{where}: {flag} {length} comes to {count} steps; expected at least one")
    return count


def sampling_of(reading: Reading, rate_hz: float, where: str) -> Sampling:
    """Window and hop in steps."""
    assert reading.window is not None
    window = steps(reading.window, rate_hz, "--window", where)
    hop = window if reading.hop is None else steps(reading.hop, rate_hz, "--hop", where)
    return Sampling(rate_hz=rate_hz, window=window, hop=hop)


def as_in_run(reading: Reading, run: Sampling) -> Reading:
    """What a device's owner says, and of the rest what the run does."""
    return replace(
        reading,
        window=reading.window or (str(run.window) if run.window else None),
        hop=reading.hop or (str(run.hop) if run.hop and reading.window is None else None),
    )


def agree(one_hz: float, other_hz: float) -> bool:
    """Whether two sampling rates are one, or one of them is not known."""
    return not (one_hz and other_hz) or abs(one_hz - other_hz) <= SAME_RATE * other_hz


def known_rate_hz(found_hz: float, reading: Reading, where: str) -> float:
    """The rate that a file says, or its owner. Raises ConfigError where both do, and differ."""
    said_hz = reading.rate_hz or 0.0
    if not agree(found_hz, said_hz):
        raise ConfigError(
            f"{where}: its steps are {found_hz:g} a second, and --rate-hz says {said_hz:g}: leave "
            "it out, or resample "
            f"the file first"
        )
    return found_hz or said_hz


def rate_of(times: np.ndarray, owners: np.ndarray | None = None) -> float:
    """Steps a second by the usual distance between two steps of an owner; 0 where times stand
    still."""
    apart = np.diff(times)
    if owners is not None:
        apart = apart[owners[1:] == owners[:-1]]
    usual = float(np.median(apart[apart > 0])) if (apart > 0).any() else 0.0
    return float(f"{1 / usual:.6g}") if usual else 0.0


# --- cutting --------------------------------------------------------------------------------------


def cut(
    recordings: Iterable[Recording],
    sampling: Sampling,
    names: Sequence[Any] | np.ndarray,
    where: str,
    has_owners: bool = False,
) -> tuple[Part, tuple[str, ...]]:
    """Windows of all recordings, [n, window, channels], and what was decided; `names` are those of
    the classes."""
    made = _Cut(window=sampling.window, hop=sampling.hop)
    for recording in recordings:
        made.add(recording, where)
    part = made.part(names, has_owners, where)
    return part, tuple(made.notes(sampling.rate_hz))


def windowed(raw: Raw, reading: Reading) -> Raw:
    """A dataset of steps, or of series longer than a window, as one of windows. Raises
    ConfigError."""
    part = raw.train
    check = check_part if reading.missing == "refuse" else check_even
    check(part, raw.where)
    is_rows = part.inputs.ndim == 2 and reading.sample_kind != "series"
    layout = raw.layout or (SERIES if is_rows else scaling.layout(part.inputs, raw.where, reading))
    if layout.kind != "series":
        raise ConfigError(
            f"{raw.where}: --window cuts series, and samples of shape "
            f"{list(part.inputs.shape[1:])} are read as "
            f"{layout.kind}: leave it out, or settle it with --sample-kind series"
        )
    found_hz = raw.sampling.rate_hz or (
        rate_of(*_by_owner(part)[:2]) if part.times is not None else 0.0
    )
    sampling = sampling_of(reading, known_rate_hz(found_hz, reading, raw.where), raw.where)
    train, notes = cut_part(part, layout, sampling, raw.where)
    test = None
    if raw.test is not None:
        check(raw.test, f"{raw.where}, test part")
        test, more = cut_part(raw.test, layout, sampling, f"{raw.where}, test part")
        notes = (*notes, *(f"test part: {note}" for note in more))
    used = [
        names
        for names in (raw.class_names,)
        if names and len(np.unique(train.labels)) == len(names)
    ]
    return replace(
        raw,
        train=train,
        test=test,
        class_names=used[0] if used else (),
        layout=SERIES,
        sampling=sampling,
        notes=(*raw.notes, *notes),
    )


def unlabelled(
    inputs: np.ndarray, sampling: Sampling, times: np.ndarray | None, where: str
) -> np.ndarray:
    """Windows of steps without labels, or of series longer than a window, [n, window, channels]."""
    part = Part(inputs=inputs, labels=np.zeros(len(inputs), dtype=np.int64), times=times)
    return cut_part(part, SERIES, sampling, where)[0].inputs


def cut_part(
    part: Part, layout: Layout, sampling: Sampling, where: str
) -> tuple[Part, tuple[str, ...]]:
    stored = (
        part.labels.ravel()
        if part.labels.ndim == 2 and part.labels.shape[1:] == (1,)
        else part.labels
    )
    names, classes = np.unique(stored, return_inverse=True)
    classes = np.where(labels.present(stored), classes, NO_CLASS)
    is_rows = part.inputs.ndim == 2 and layout is SERIES
    recordings = _of_rows(part, classes) if is_rows else _of_samples(part, classes, layout)
    return cut(recordings, sampling, names, where, part.groups is not None)


def _of_samples(part: Part, classes: np.ndarray, layout: Layout) -> Iterator[Recording]:
    """Each sample is a recording of one class."""
    values = part.inputs if part.inputs.ndim > 2 else part.inputs[..., np.newaxis]
    if layout.channels == "first" and part.inputs.ndim > 2:
        values = np.moveaxis(values, 1, 2)
    owners = None if part.groups is None else as_text(part.groups).ravel().tolist()
    for row, number in enumerate(classes.tolist()):
        every = np.broadcast_to(np.int64(number), values.shape[1])
        yield Recording(values=values[row], classes=every, owner=owners[row] if owners else "")


def _of_rows(part: Part, classes: np.ndarray) -> Iterator[Recording]:
    """Each sample is a step; those of an owner are one recording, whoever's stand between them."""
    times, owners, order = _by_owner(part)
    values = part.inputs if order is None else part.inputs[order]
    classes = classes if order is None else classes[order]
    edges = [0, *(() if owners is None else _changes(owners)), len(values)]
    jumps = _jumps(times, part.times is not None)
    for begin, end in pairwise(edges):
        inside = jumps[np.searchsorted(jumps, begin, side="right") : np.searchsorted(jumps, end)]
        yield Recording(
            values=values[begin:end],
            classes=classes[begin:end],
            owner="" if owners is None else str(owners[begin]),
            breaks=(inside - begin).tolist(),
        )


def _changes(values: np.ndarray) -> list[int]:
    """Where one differs from the one before."""
    places: list[int] = (np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()
    return places


def _by_owner(part: Part) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Times of steps, their owners, and the order that brings those of one owner together, None if
    it is theirs."""
    rows = (
        np.arange(len(part.inputs), dtype=np.float64)
        if part.rows is None
        else part.rows.astype(np.float64)
    )
    times = rows if part.times is None else part.times
    if part.groups is None:
        return times, None, None
    owners = as_text(part.groups).ravel()
    number = np.unique(owners, return_inverse=True)[1]
    if (np.diff(number) >= 0).all():
        return times, owners, None
    order = np.argsort(number, kind="stable")
    if part.times is None and part.rows is None:
        times = np.arange(
            len(order), dtype=np.float64
        )  # nothing tells a gap from the rows of another owner
        return times, owners[order], order
    return times[order], owners[order], order


def _jumps(times: np.ndarray, measured: bool) -> np.ndarray:
    """Steps that do not follow the one before: rows that are missing, or times that leap or step
    back."""
    apart = np.diff(times)
    usual = float(np.median(apart[apart > 0])) if measured and (apart > 0).any() else 1.0
    follows = (apart > 0) & (apart <= GAP * usual)
    found: np.ndarray = np.flatnonzero(~follows) + 1
    return found


# --- what is held out -----------------------------------------------------------------------------


def latest(part: Part, share: float, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows (kept, held out): the last windows of every owner and class, about `share` of them, at
    least one of a class.

    Kept ones share no step with those held out; what would, is in neither. Raises ConfigError where
    nothing of a class is left to train on."""
    assert part.spans is not None
    owners = (
        np.zeros(len(part.labels))
        if part.groups is None
        else np.unique(part.groups, return_inverse=True)[1]
    )
    order = np.lexsort((part.spans[:, 0], owners, part.labels))
    label = part.labels[order]
    edges = (
        np.flatnonzero((label[1:] != label[:-1]) | (owners[order][1:] != owners[order][:-1])) + 1
    )
    held = np.zeros(len(order), dtype=bool)
    for run in np.split(order, edges):
        count = min(round(share * len(run)), len(run) - 1)
        held[run[len(run) - count :]] = True
    for run in np.split(order, np.flatnonzero(label[1:] != label[:-1]) + 1):
        held[run[-1]] |= not held[run].any()
    kept = np.flatnonzero(~held & ~_overlap(part.spans, held))
    lost = np.setdiff1d(part.labels, part.labels[kept])
    if len(lost):
        raise ConfigError(
            f"{where}: all windows of class number {lost[0]} share steps with those held out for "
            "testing: choose a "
            f"shorter --window, a longer --hop, or another --holdout"
        )
    return kept, np.flatnonzero(held)


def _overlap(spans: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Which windows share a step with one that is held out; all are of one length."""
    starts = np.sort(spans[held, 0])
    window = int(spans[0, 1] - spans[0, 0])
    first = np.searchsorted(starts, spans[:, 0] - window, side="right")
    nearest = starts[np.minimum(first, len(starts) - 1)]
    reached: np.ndarray = (first < len(starts)) & (nearest < spans[:, 1])
    return reached
