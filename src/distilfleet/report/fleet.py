"""The fleet on a page: which boards, which models, how much memory, whose data, and who missed jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.units import pretty_bytes
from ..record.history import History
from . import figures
from .html import Html, join, tag
from .missed import by_device

_LEVELS = (0.0, 0.05, 0.15, 0.3, 0.6)
"""Lower edges of the five shades of a label cell, as a share of the device's samples."""
_MOST_ROWS = 24
"""Up to so many devices are shown at full height; more scroll inside a box."""
_TICKED = 12
"""Up to so many classes have their names over the column."""


def fleet_section(run: History) -> Html | None:
    """Composition and one row for each device that the record shows."""
    devices = figures.tables(run.fleet, "shown")
    total = figures.fleet_size(run)
    if not total:
        return None
    return tag(
        "section",
        tag("h2", "The fleet"),
        tag("p", _summary(run, total), class_="lead"),
        _kinds(run, devices),
        _device_table(run, devices) if devices else None,
        id="fleet",
    )


def _summary(run: History, total: int) -> str:
    server = run.fleet.get("server")
    is_real = "fleet" in figures.part(run.about, "settings")
    quota = figures.number(run.fleet, "quota_bytes")
    words = f"{total:,} device{'' if total == 1 else 's'}" + (
        f" and the server {server}."
        if server
        else ". The fleet file does not name the server's kind, so its energy is left out."
        if is_real
        else "."
    )
    if quota is not None:
        words += (
            f" A memory quota of {pretty_bytes(quota)} was set for every job: no device gets a model that needs more. "
            "It is a limit of this run, not of the boards."
        )
    return words


def _kinds(run: History, devices: Sequence[Mapping[str, Any]]) -> Html | None:
    kinds = {
        str(k): figures.number(figures.part(run.fleet, "kinds"), k) or 0.0 for k in figures.part(run.fleet, "kinds")
    }
    if not kinds:
        return None
    most = max(kinds.values()) or 1.0
    models = _models_by_kind(run, devices)
    rows = (
        tag(
            "tr",
            tag("th", kind, scope="row"),
            tag("td", _meter(count / most), f"{count:,.0f}", class_="bar-cell"),
            tag("td", models.get(kind, "–")),
        )
        for kind, count in sorted(kinds.items(), key=lambda item: -item[1])
    )
    head = tag(
        "tr", *(tag("th", name, scope="col") for name in ("Kind of device", "How many", _runs_what(run, "they run")))
    )
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll narrow")


def _runs_what(run: History, whose: str) -> str:
    return f"What {whose}" if figures.is_split(run) else f"Models {whose}"


def _part(run: History, device: Mapping[str, Any]) -> str:
    """The model on a device; of a split one the part, as planned for the first round."""
    model = str(device["model"]) if device.get("model") else ""
    if not figures.is_split(run):
        return model
    planned = {entry.get("id"): entry.get("cut") for entry in figures.tables(run.plan, "devices")}
    cut = planned.get(device.get("id"), figures.part(run.about, "settings").get("cut"))
    if not isinstance(cut, int):
        return f"front of {model}"
    return f"embedding of {model}" if cut == 0 else f"embedding and {cut} layer{'' if cut == 1 else 's'} of {model}"


def _models_by_kind(run: History, devices: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for device in devices:
        if device.get("model"):
            counts.setdefault(str(device.get("kind")), Counter())[_part(run, device)] += 1
    return {
        kind: ", ".join(f"{model} × {count}" for model, count in found.most_common()) for kind, found in counts.items()
    }


# --- one row for each device ------------------------------------------------------------------------------------


def _device_table(run: History, devices: Sequence[Mapping[str, Any]]) -> Html:
    classes = [str(name) for name in figures.listed(figures.part(run.about, "data"), "classes")]
    table = _Table(run, devices, classes)
    total = figures.fleet_size(run)
    shown = f"The first {len(devices)} of {total:,} devices." if len(devices) < total else "Every device."
    words = join(shown, " ", _shades() if table.labels else None)
    return tag(
        "div",
        tag("div", tag("h3", "Device by device"), tag("p", words, class_="sub")),
        tag(
            "div",
            tag("table", table.head(), table.body(), class_="devices"),
            class_="scroll tall" if len(devices) > _MOST_ROWS else "scroll",
            tabindex=0,
            role="region",
            aria_label="Device by device",
        ),
        class_="block",
    )


class _Table:
    """Columns that the record has facts for."""

    def __init__(self, run: History, devices: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> None:
        self.run = run
        self.devices = devices
        self.classes = classes
        self.labels = any(figures.listed(device, "labels") for device in devices) and bool(classes)
        self.samples = any("samples" in device for device in devices)
        self.quota = figures.number(run.fleet, "quota_bytes") is not None
        self.missed = by_device(run)
        self.most_samples = _most(devices, "samples")
        self.most_memory = _most(devices, "memory_bytes")

    def head(self) -> Html:
        memory = "Memory quota" if self.quota else "Memory for a job"
        labels = tag("th", "Its data, by class", self._class_names(), scope="col") if self.labels else None
        names = [tag("th", name, scope="col") for name in ("Device", "Kind", *self._what())]
        rest = [tag("th", name, scope="col") for name in (memory, "Missed jobs")]
        return tag("thead", tag("tr", *names, labels, *rest))

    def _what(self) -> tuple[str, ...]:
        model = "What it runs" if figures.is_split(self.run) else "Model"
        return (model, f"{figures.sample(self.run).capitalize()}s") if self.samples else (model,)

    def body(self) -> Html:
        return tag("tbody", *(self._row(device) for device in self.devices))

    def _row(self, device: Mapping[str, Any]) -> Html:
        name = str(device.get("id", ""))
        return tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", str(device.get("kind", "–"))),
            tag("td", _part(self.run, device) or "–"),
            self._samples(device) if self.samples else None,
            tag("td", self._strip(device)) if self.labels else None,
            tag("td", self._memory(device), class_="bar-cell"),
            tag("td", self._missed_words(name), class_="missed"),
        )

    def _samples(self, device: Mapping[str, Any]) -> Html:
        samples = figures.number(device, "samples")
        share = (samples or 0.0) / self.most_samples
        return tag("td", _meter(share), figures.pretty("", samples), class_="bar-cell")

    def _memory(self, device: Mapping[str, Any]) -> Html:
        memory, board = figures.number(device, "memory_bytes"), figures.number(device, "board_memory_bytes")
        if memory is None:
            return join("–")
        limit = f"{pretty_bytes(memory)}{' quota' if self.quota else ''}"
        whole = tag("small", f" · board {pretty_bytes(board)}") if board is not None else None
        return join(_meter(memory / self.most_memory), limit, whole)

    def _missed_words(self, device: str) -> str:
        found = self.missed.get(device)
        return ", ".join(f"{reason} × {count}" for reason, count in found.most_common()) if found else "–"

    def _class_names(self) -> Html | None:
        if len(self.classes) > _TICKED or max(map(len, self.classes)) > 2:
            return None
        return tag("span", *(tag("i", name) for name in self.classes), class_="classes", aria_hidden="true")

    def _strip(self, device: Mapping[str, Any]) -> Html:
        counts = [c if isinstance(c, int) and c > 0 else 0 for c in figures.listed(device, "labels")]
        whole = sum(counts) or 1
        levels = [_level(count / whole) for count in counts]
        cells = (
            tag("path", class_=f"l{level}", d="".join(_runs(levels, level)))
            for level in range(1, len(_LEVELS) + 1)
            if level in levels
        )
        return tag(
            "svg",
            tag("title", self._mostly(counts, whole)),
            *cells,
            class_="strip",
            viewBox=f"0 0 {len(counts) or 1} 1",
            preserveAspectRatio="none",
            role="img",
        )

    def _mostly(self, counts: Sequence[int], whole: int) -> str:
        """The three largest classes in words."""
        ranked = sorted(range(len(counts)), key=lambda place: -counts[place])[:3]
        names = [self.classes[p] if p < len(self.classes) else str(p) for p in ranked]
        told = [
            f"{name}: {counts[p]} ({counts[p] / whole:.0%})" for name, p in zip(names, ranked, strict=True) if counts[p]
        ]
        return ", ".join(told) or "no samples"


def _level(share: float) -> int:
    return sum(share > edge for edge in _LEVELS)


def _runs(levels: Sequence[int], level: int) -> list[str]:
    """Rectangles over neighbouring cells of one shade."""
    starts = [i for i, own in enumerate(levels) if own == level and (i == 0 or levels[i - 1] != level)]
    ends = [i + 1 for i, own in enumerate(levels) if own == level and (i + 1 == len(levels) or levels[i + 1] != level)]
    return [f"M{start} 0h{end - start}v1h-{end - start}z" for start, end in zip(starts, ends, strict=True)]


def _shades() -> Html:
    edges = ["0", *(f"{edge:.0%}" for edge in _LEVELS[1:])]
    words = [f"up to {edges[1]}", *(f"over {edge}" for edge in edges[1:])]
    keys = (tag("span", tag("i", class_=f"shade l{level}"), word) for level, word in enumerate(words, 1))
    return tag("span", "Shade: share of the device’s own samples in a class. ", *keys, class_="shades")


def _meter(share: float) -> Html:
    return tag("i", class_="meter", style=f"--w:{100 * share:.3g}%")


def _most(devices: Sequence[Mapping[str, Any]], field: str) -> float:
    return max((figures.number(device, field) or 0.0 for device in devices), default=0.0) or 1.0
