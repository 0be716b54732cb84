"""The device catalogue as a table for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ..core.plain import plain
from ..core.units import pretty_bytes

Row = Mapping[str, Any]
PIPED_WIDTH = 160
"""The width for programs that read the table, in columns: wide enough for every row."""


def print_catalogue(rows: Sequence[Row]) -> None:
    """One line per kind of device."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("kind", no_wrap=True)
    table.add_column("processor", ratio=1)
    for name in ("trains at", "usable memory", "idle", "full load", "up", "down"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("trains")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    console.print(
        "Sources of all figures: distilfleet devices --json. Set your fleet with --device-kinds."
    )


def catalogue_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The catalogue for programs, with the source of every figure."""
    return {"schema": 1, "devices": [dict(row) for row in rows]}


def _cells(row: Row) -> list[str]:
    speed = row["peak_fp32_flops_per_s"] * row["train_efficiency"]
    cells = [plain(row["kind"]), plain(row["processor"]), f"{speed / 1e9:,.1f} GFLOP/s"]
    cells.append(pretty_bytes(row["usable_memory_bytes"]))
    cells += [f"{row[power]:g} W" for power in ("idle_w", "busy_w")]
    cells += [f"{row[rate] / 1e6:g} Mbit/s" for rate in ("up_bps", "down_bps")]
    return [*cells, "yes" if row["can_train"] else "no"]
