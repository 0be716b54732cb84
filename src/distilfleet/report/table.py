"""Final figures of runs: rows for programs, aligned text for terminals, JSON for pipes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.plain import plain
from ..record.history import History
from . import figures, paired, repeats
from .differences import Places, cautions, differing_settings
from .figures import Value

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Final figures of one run; None where its record has nothing."""

    run: str
    recipe: str
    rounds: int
    rounds_asked: int
    devices: int
    large_accuracy: Value
    small_accuracy: Value
    large_loss: Value
    small_loss: Value
    up_bytes: Value
    down_bytes: Value
    bytes_per_device: Value
    elapsed_s: Value
    wall_s: Value
    device_energy_j: Value
    server_energy_j: Value
    missed: Value
    storage_saved: Value
    """The least over the small models, as are the FLOPs."""
    flops_saved: Value
    recovered_share: Value
    """The share of tokens that an audit recovered, of those that it tried."""
    frozen_teacher: bool = False
    """Whether the large model is a teacher that stays as it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How a figure is named, shown and judged."""

    field: str
    name: str
    best: int
    """1: more is better, -1: less is better, 0: neither."""


CHANGED_BY_SEEDS = frozenset(
    {"large_accuracy", "small_accuracy", "large_loss", "small_loss", "recovered_share"}
)
"""Figures of quality: two runs with the same settings differ in them."""


COLUMNS = (
    Column(field="large_accuracy", name="large accuracy", best=1),
    Column(field="small_accuracy", name="small accuracy", best=1),
    Column(field="large_loss", name="large loss (nats)", best=-1),
    Column(field="small_loss", name="small loss (nats)", best=-1),
    Column(field="bytes_per_device", name="data per device", best=-1),
    Column(field="elapsed_s", name="time", best=-1),
    Column(field="device_energy_j", name="device energy", best=-1),
    Column(field="server_energy_j", name="server energy", best=-1),
    Column(field="missed", name="missed jobs", best=0),
    Column(field="storage_saved", name="storage saved", best=1),
    Column(field="flops_saved", name="FLOPs saved", best=1),
    Column(field="recovered_share", name="tokens recovered", best=-1),
)


def summary(runs: Sequence[History]) -> list[Row]:
    """One row for each run, in their order."""
    return [_row(name, run) for name, run in zip(figures.names(runs), runs, strict=True)]


def text_table(runs: Sequence[History]) -> str:
    """Plain text, aligned: a list of figures for one run, a table for several. Ends without a line
    break."""
    rows = summary(runs)
    columns = [
        column for column in COLUMNS if any(getattr(row, column.field) is not None for row in rows)
    ]
    names = [heading(column, runs) for column in columns]
    if len(rows) == 1:
        return _list(rows[0], columns, names)
    return "\n".join([_table(rows, columns, names), *repeats.sentences(runs)])


def as_json(runs: Sequence[History]) -> dict[str, Any]:
    """For `compare --json`: figures that do not apply are absent."""
    return {
        "schema": SCHEMA,
        "runs": [_entry(row, run) for row, run in zip(summary(runs), runs, strict=True)],
        "cautions": cautions(runs),
        "repetitions": repeats.as_rows(runs),
        "paired_differences": paired.as_rows(runs),
        "differing_settings": differing_settings(runs),
    }


def best_rows(rows: Sequence[Row], column: Column, sets: Sequence[Places]) -> set[int]:
    """Places of the best rows in a column, of runs in sets of repetitions.

    None where they cannot be told apart, a teacher stays as it was given, or what seeds change has
    one seed.
    """
    is_given = column.field.startswith("large") and any(row.frozen_teacher for row in rows)
    is_chance = column.field in CHANGED_BY_SEEDS and any(len(places) < 2 for places in sets)
    if column.best == 0 or is_given or is_chance:
        return set()
    known: dict[int, float] = {}
    for place, row in enumerate(rows):
        value = getattr(row, column.field)
        if value is not None:
            known[place] = column.best * value
    return repeats.ahead(known, sets)


def heading(column: Column, runs: Sequence[History]) -> str:
    """A column's name; seconds of a clock and those of a simulation are told apart."""
    measured = [figures.measured(run) for run in runs]
    if column.field != "elapsed_s" or all(measured):
        return column.name
    return "time, some simulated" if any(measured) else f"simulated {column.name}"


def rounds_done(row: Row) -> str:
    """12, or 12 of 30 if it was interrupted."""
    return (
        str(row.rounds) if row.rounds >= row.rounds_asked else f"{row.rounds} of {row.rounds_asked}"
    )


_LAST = ("large_accuracy", "small_accuracy", "large_loss", "small_loss", "elapsed_s", "wall_s")
"""Fields of which a run's last value counts."""
_TOTAL = ("up_bytes", "down_bytes", "device_energy_j", "server_energy_j", "missed")
"""Fields that add up over a run."""
_LEAST = ("storage_saved", "flops_saved")
"""Fields of which the least of the small models counts."""


def _row(name: str, run: History) -> Row:
    last = {field: figures.last(run, field) for field in _LAST}
    totals = {field: figures.total(run, field) for field in _TOTAL}
    savings = {field: figures.savings(run, field) for field in _LEAST}
    least = {field: found[0] if found else None for field, found in savings.items()}
    return Row(
        run=name,
        recipe=figures.recipe(run),
        rounds=len(run.rounds),
        rounds_asked=figures.asked(run),
        devices=figures.fleet_size(run),
        bytes_per_device=figures.per_device(run, "up_bytes", "down_bytes"),
        recovered_share=figures.number(run.audit, "recovered_share"),
        frozen_teacher=figures.frozen_teacher(run),
        **last,
        **totals,
        **least,
    )


def _entry(row: Row, run: History) -> dict[str, Any]:
    facts = {field: getattr(row, field) for field in Row.__slots__}
    known = {field: _whole(value) for field, value in facts.items() if value is not None}
    return {
        **known,
        "path": str(run.path),
        "notes": [str(note) for note in figures.listed(run.about, "notes")],
    }


def _whole(value: Any) -> Any:
    """Counts as whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _list(row: Row, columns: Sequence[Column], names: Sequence[str]) -> str:
    values = {
        "run": plain(row.run),
        "recipe": plain(row.recipe),
        "rounds": rounds_done(row),
        "devices": str(row.devices),
        **dict(zip(names, _cells(row, columns), strict=True)),
    }
    width = max(map(len, values))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in values.items())


def _table(rows: Sequence[Row], columns: Sequence[Column], names: Sequence[str]) -> str:
    lines = [["run", "recipe", "rounds", *names]]
    lines += [[*_who(row), *_cells(row, columns)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _who(row: Row) -> list[str]:
    return [plain(row.run), plain(row.recipe), rounds_done(row)]


def _cells(row: Row, columns: Sequence[Column]) -> list[str]:
    return [figures.pretty(column.field, getattr(row, column.field)) for column in columns]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, figures to the right."""
    padded = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
    padded += [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join(padded).rstrip()
