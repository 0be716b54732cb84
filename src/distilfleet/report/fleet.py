"""The fleet on a page: which boards, which models, how much memory, whose data, and who missed
jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..core.units import pretty_bytes
from ..record.history import History
from . import figures
from .html import Html, block, join, paragraph, section, tag
from .html_table import Cell, Cells, meter, scrolled
from .missed import by_device

_LEVELS = (0.0, 0.05, 0.15, 0.3, 0.6)
"""The lower edges of the five shades of a label cell, as shares of the device's samples."""
_TICKED = 12
"""The number of classes up to which their names stand over the column."""
Device = Mapping[str, Any]
"""A device as the record shows it."""


def fleet_section(run: History) -> Html | None:
    """Composition and one row for each device that the record shows."""
    total = figures.fleet_size(run)
    if not total:
        return None
    devices = figures.tables(run.fleet, "shown")
    table = _device_block(run, devices) if devices else None
    return section(
        "fleet", "The fleet", paragraph(_summary(run, total), "lead"), _kinds(run, devices), table
    )


def _summary(run: History, total: int) -> str:
    words = f"{total:,} device{'' if total == 1 else 's'}"
    server = run.fleet.get("server")
    if server:
        words += f" and the server {server}."
    elif "fleet" in figures.part(run.about, "settings"):
        words += ". The fleet file does not name the server's kind, so its energy is left out."
    else:
        words += "."
    quota = figures.number(run.fleet, "quota_bytes")
    if quota is not None:
        words += (
            f" A memory quota of {pretty_bytes(quota)} was set for every job: no device gets a "
            "model that needs more. It is a limit of this run, not of the boards."
        )
    return words


def _kinds(run: History, devices: Sequence[Device]) -> Html | None:
    counts = figures.part(run.fleet, "kinds")
    kinds = {str(kind): figures.number(counts, kind) or 0.0 for kind in counts}
    if not kinds:
        return None
    most = max(kinds.values()) or 1.0
    models = _models_by_kind(run, devices)
    rows: list[Cells] = []
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        rows.append([kind, meter(count / most, f"{count:,.0f}"), models.get(kind, "–")])
    return scrolled(("Kind of device", "How many", _runs_what(run, "they run")), rows, box="narrow")


def _runs_what(run: History, whose: str) -> str:
    return f"What {whose}" if figures.is_split(run) else f"Models {whose}"


def _part(run: History, device: Device) -> str:
    """The model on a device; of a split one the part, as planned for the first round."""
    model = str(device["model"]) if device.get("model") else ""
    if not figures.is_split(run):
        return model
    planned = {entry.get("id"): entry.get("cut") for entry in figures.tables(run.plan, "devices")}
    cut = planned.get(device.get("id"), figures.part(run.about, "settings").get("cut"))
    if not isinstance(cut, int):
        return f"front of {model}"
    return (
        f"embedding of {model}"
        if cut == 0
        else f"embedding and {cut} layer{'' if cut == 1 else 's'} of {model}"
    )


def _models_by_kind(run: History, devices: Sequence[Device]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for device in devices:
        if device.get("model"):
            counts.setdefault(str(device.get("kind")), Counter())[_part(run, device)] += 1
    return {kind: _times(found) for kind, found in counts.items()}


def _times(counts: Counter[str]) -> str:
    """Names with how often each occurs, the commonest first."""
    return ", ".join(f"{name} × {count}" for name, count in counts.most_common())


# --- one row for each device ----------------------------------------------------------------------


def _device_block(run: History, devices: Sequence[Device]) -> Html:
    table = _Table(run, devices)
    total = figures.fleet_size(run)
    shown = (
        f"The first {len(devices)} of {total:,} devices."
        if len(devices) < total
        else "Every device."
    )
    words = join(shown, " ", _shades() if table.has_labels else None)
    rows = [table.row(device) for device in devices]
    return block("Device by device", words, scrolled(table.heads(), rows, "devices"))


class _Table:
    """Columns that the record has facts for."""

    def __init__(self, run: History, devices: Sequence[Device]) -> None:
        self.run = run
        self.classes = [
            str(name) for name in figures.listed(figures.part(run.about, "data"), "classes")
        ]
        self.has_labels = bool(self.classes) and any(
            figures.listed(device, "labels") for device in devices
        )
        self.has_samples = any("samples" in device for device in devices)
        self.has_quota = figures.number(run.fleet, "quota_bytes") is not None
        self.missed = by_device(run)
        self.most_samples = _most(devices, "samples")
        self.most_memory = _most(devices, "memory_bytes")

    def heads(self) -> list[str]:
        """The names of the columns."""
        heads = ["Device", "Kind", "What it runs" if figures.is_split(self.run) else "Model"]
        if self.has_samples:
            heads.append(f"{figures.sample(self.run).capitalize()}s")
        if self.has_labels:
            heads.append(join("Its data, by class", self._class_names()))
        return [*heads, "Memory quota" if self.has_quota else "Memory for a job", "Missed jobs"]

    def row(self, device: Device) -> Cells:
        """The cells of one device."""
        name = str(device.get("id", ""))
        cells: list[str | Cell] = [
            name,
            str(device.get("kind", "–")),
            _part(self.run, device) or "–",
        ]
        if self.has_samples:
            samples = figures.number(device, "samples")
            share = (samples or 0.0) / self.most_samples
            cells.append(meter(share, figures.pretty("", samples)))
        if self.has_labels:
            cells.append(self._strip(device))
        missed = self.missed.get(name)
        return [*cells, self._memory(device), Cell(_times(missed) if missed else "–", "missed")]

    def _memory(self, device: Device) -> str | Cell:
        memory = figures.number(device, "memory_bytes")
        if memory is None:
            return "–"
        limit = f"{pretty_bytes(memory)}{' quota' if self.has_quota else ''}"
        board = figures.number(device, "board_memory_bytes")
        whole = None if board is None else tag("small", f" · board {pretty_bytes(board)}")
        return meter(memory / self.most_memory, limit, whole)

    def _class_names(self) -> Html | None:
        if len(self.classes) > _TICKED or max(map(len, self.classes)) > 2:
            return None
        return tag(
            "span", *(tag("i", name) for name in self.classes), class_="classes", aria_hidden="true"
        )

    def _strip(self, device: Device) -> Html:
        """A cell for each class, the darker the more of the device's samples are of it."""
        counts = [
            c if isinstance(c, int) and c > 0 else 0 for c in figures.listed(device, "labels")
        ]
        whole = sum(counts) or 1
        levels = [_level(count / whole) for count in counts]
        shades = sorted(set(levels) - {0})
        cells = [
            tag("path", class_=f"l{level}", d="".join(_runs(levels, level))) for level in shades
        ]
        title = tag("title", self._mostly(counts, whole))
        box = f"0 0 {len(counts) or 1} 1"
        return tag(
            "svg",
            title,
            *cells,
            class_="strip",
            viewBox=box,
            preserveAspectRatio="none",
            role="img",
        )

    def _mostly(self, counts: Sequence[int], whole: int) -> str:
        """The three largest classes in words."""
        words = []
        for place in sorted(range(len(counts)), key=lambda place: -counts[place])[:3]:
            name = self.classes[place] if place < len(self.classes) else str(place)
            if counts[place]:
                words.append(f"{name}: {counts[place]} ({counts[place] / whole:.0%})")
        return ", ".join(words) or "no samples"


def _level(share: float) -> int:
    return sum(share > edge for edge in _LEVELS)


def _runs(levels: Sequence[int], level: int) -> list[str]:
    """Rectangles over neighbouring cells of one shade."""
    rectangles = []
    place = 0
    for own, cells in groupby(levels):
        width = len(list(cells))
        if own == level:
            rectangles.append(f"M{place} 0h{width}v1h-{width}z")
        place += width
    return rectangles


def _shades() -> Html:
    edges = [f"{edge:.0%}" for edge in _LEVELS[1:]]
    words = [f"up to {edges[0]}", *(f"over {edge}" for edge in edges)]
    keys = []
    for level, word in enumerate(words, 1):
        sample = tag("i", class_=f"shade l{level}")
        keys.append(tag("span", sample, word))
    return tag(
        "span", "Shade: share of the device’s own samples in a class. ", *keys, class_="shades"
    )


def _most(devices: Sequence[Device], field: str) -> float:
    return max((figures.number(device, field) or 0.0 for device in devices), default=0.0) or 1.0
