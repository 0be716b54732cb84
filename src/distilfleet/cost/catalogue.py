"""The device catalogue: what each kind of board, phone and server can do, and where every number
comes from.

Figures are a specification's or an estimate's, good to a factor of two; a measured fleet corrects
them. Rows of your own, in a file with the same columns, join those that are shipped and win over
them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..core.errors import ConfigError, did_you_mean
from ..core.types import Device, DeviceId, Link

MOST_MISSING = 5
"""Columns that are named when a file lacks some."""
SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of `devices.csv`. A source is a document, arithmetic, or the word estimate."""

    kind: str
    family: str
    """mcu, sbc, jetson, phone or server."""
    processor: str
    cores: int
    clock_hz: float
    fp32_flops_per_cycle: int
    """Floating-point operations of one core in one cycle."""
    peak_fp32_flops_per_s: float
    peak_fp16_flops_per_s: float
    peak_int8_ops_per_s: float
    measured_fp64_flops_per_s: float | None
    train_efficiency: float
    """Share of the fp32 peak that training sustains."""
    memory_bytes: int
    usable_memory_bytes: int
    """What the system and its other programs leave."""
    memory_bytes_per_s: float
    idle_w: float
    busy_w: float
    """Whole board at full load; a server's accelerator alone."""
    radio: str
    phy_bps: float
    up_bps: float
    """The rate that an application sees, as with `down_bps`."""
    down_bps: float
    latency_s: float
    """Seconds that a message takes one way beside its bytes."""
    transmit_w: float
    can_train: bool
    source_peak: str
    source_measured: str
    source_efficiency: str
    source_memory: str
    source_power: str
    source_radio: str
    source_latency: str
    notes: str


SOURCE_OF: Mapping[str, str] = MappingProxyType(
    {
        "cores": "source_peak",
        "clock_hz": "source_peak",
        "fp32_flops_per_cycle": "source_peak",
        "peak_fp32_flops_per_s": "source_peak",
        "peak_fp16_flops_per_s": "source_peak",
        "peak_int8_ops_per_s": "source_peak",
        "measured_fp64_flops_per_s": "source_measured",
        "train_efficiency": "source_efficiency",
        "memory_bytes": "source_memory",
        "usable_memory_bytes": "source_memory",
        "memory_bytes_per_s": "source_memory",
        "idle_w": "source_power",
        "busy_w": "source_power",
        "phy_bps": "source_radio",
        "up_bps": "source_radio",
        "down_bps": "source_radio",
        "transmit_w": "source_radio",
        "latency_s": "source_latency",
    }
)
"""Field of each number -> field that says where it comes from."""
MAY_BE_ZERO = frozenset({"idle_w", "transmit_w", "latency_s"})


def entries(extra: Path | None = None) -> Mapping[str, Entry]:
    """Every kind of device by name, in the catalogue's order, then those of `extra`. Raises
    ConfigError."""
    shipped = _shipped()
    return shipped if extra is None else MappingProxyType({**shipped, **read(extra)})


def entry(kind: str, extra: Path | None = None) -> Entry:
    """One row. Raises ConfigError for a kind that the catalogue does not have."""
    known = entries(extra)
    found = known.get(kind)
    if found is None:
        raise ConfigError(
            f"no device kind {kind!r} in the catalogue{did_you_mean(kind, known)}; it has "
            f"{', '.join(known)}"
        )
    return found


def trainable_kinds(extra: Path | None = None) -> tuple[str, ...]:
    """Kinds that can train a model and are not servers."""
    return tuple(
        row.kind for row in entries(extra).values() if row.can_train and row.family != SERVER
    )


def device(
    kind: str, device_id: DeviceId, *, quota_bytes: int | None = None, extra: Path | None = None
) -> Device:
    """A fleet member with a row's facts, its memory held to `quota_bytes`. Raises ConfigError."""
    row = entry(kind, extra)
    return Device(
        id=device_id,
        kind=kind,
        speed_flops_per_s=row.peak_fp32_flops_per_s * row.train_efficiency,
        memory_bytes=_within(row.usable_memory_bytes, quota_bytes),
        memory_bytes_per_s=row.memory_bytes_per_s,
        idle_w=row.idle_w,
        busy_w=row.busy_w,
        link=Link(
            up_bps=row.up_bps,
            down_bps=row.down_bps,
            latency_s=row.latency_s,
            transmit_w=row.transmit_w,
        ),
    )


def read(path: Path) -> dict[str, Entry]:
    """Rows of a CSV file with the catalogue's columns, in its order.

    Raises ConfigError with file, line and column for a missing column, a value of the wrong kind, a
    number that is not positive, a number without a source, and a kind that comes twice.
    """
    found: dict[str, Entry] = {}
    for row in _rows(path):
        if row.kind in found:
            raise ConfigError(f"{path}: {row.kind!r} comes twice")
        found[row.kind] = row
    return found


def _rows(path: Path) -> list[Entry]:
    try:
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        _check_columns(lines.fieldnames or (), path)
        return [_checked(row, f"{path}, line {lines.line_num}") for row in lines]
    except OSError as fault:
        raise ConfigError(
            f"the catalogue {path} cannot be read: {fault.strerror}; give its path"
        ) from None
    except (UnicodeDecodeError, csv.Error) as fault:
        raise ConfigError(f"{path} is not a CSV file: {fault}") from None


def _check_columns(names: Iterable[str], path: Path) -> None:
    there = set(names)
    missing = [field.name for field in fields(Entry) if field.name not in there]
    if not missing:
        return
    named = ", ".join(missing[:MOST_MISSING])
    more = f" and {len(missing) - MOST_MISSING} more" if len(missing) > MOST_MISSING else ""
    raise ConfigError(
        f"{path}: the catalogue's columns {named}{more} are missing; "
        f"`distilfleet calibrate` writes a file that has all of them"
    )


def as_csv(rows: Iterable[Entry]) -> str:
    """What `read` reads, with the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in asdict(row).items()} for row in rows)
    return text.getvalue()


@cache
def _shipped() -> Mapping[str, Entry]:
    table = files(__package__).joinpath("devices.csv").read_text(encoding="utf-8")
    return MappingProxyType({row["kind"]: _read(row) for row in csv.DictReader(table.splitlines())})


def _within(usable_bytes: int, quota_bytes: int | None) -> int:
    if quota_bytes is None:
        return usable_bytes
    if quota_bytes < 1:
        raise ConfigError(f"a memory quota is at least 1 byte, got {quota_bytes}")
    return min(usable_bytes, quota_bytes)


_READERS: Mapping[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    float | None: lambda text: float(text) if text else None,
    bool: lambda text: {"yes": True, "no": False}[text],
}


def _read(row: Mapping[str, str]) -> Entry:
    return Entry(**{field.name: _READERS[field.type](row[field.name]) for field in fields(Entry)})


def _checked(row: Mapping[str, str | None], where: str) -> Entry:
    """A row of a user's; the shipped ones are checked by tests."""
    values = {
        field.name: _value(field.type, field.name, row[field.name], where)
        for field in fields(Entry)
    }
    for name in SOURCE_OF:
        if values[name] is not None:
            _check_number(name, values, where)
    if not values["kind"]:
        raise ConfigError(f"{where}: kind is empty; give the device a name")
    return Entry(**values)


def _check_number(name: str, values: Mapping[str, Any], where: str) -> None:
    """A number is positive, and says where it is from."""
    value = values[name]
    positive = 0 < value < inf
    if not positive and not (value == 0 and name in MAY_BE_ZERO):
        raise ConfigError(f"{where}: {name} is {value:g}; it must be above 0 and finite")
    source = SOURCE_OF[name]
    if not values[source].strip():
        raise ConfigError(
            f"{where}: {name} is given, but not where it is from: fill {source}, or write estimate"
        )


def _value(wanted: Any, name: str, text: str | None, where: str) -> Any:
    try:
        return _READERS[wanted]((text or "").strip())
    except (ValueError, KeyError):
        words = {int: "a whole number", bool: "yes or no"}.get(wanted, "a number")
        raise ConfigError(f"{where}: {name} is {text!r}; expected {words}") from None


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)
