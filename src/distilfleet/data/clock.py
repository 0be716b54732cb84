"""When the rows of a table were measured: times as people and loggers write them, in seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from ..core.errors import ConfigError
from . import numbers
from .labels import is_missing, shown
from .numbers import Numbers
from .sheets import Sheet

NAMES = ("time", "timestamp", "datetime", "date_time", "_time", "date", "ts", "t")
"""What columns of times are called."""
SECONDS = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
EPOCHS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""Numbers so large count from 1970 on: in nanoseconds, microseconds, milliseconds."""


def seconds(sheet: Sheet, name: str) -> np.ndarray:
    """A column of times, float64: numbers of seconds (or ms, us, ns since 1970) from the first one
    on, or dates as in ISO 8601.

    Raises ConfigError with the line of what is none.
    """
    cells = sheet.cells[name]
    found = numbers.read(cells)
    if isinstance(found, Numbers):
        if not np.isfinite(found.values).all():
            raise _no_time(sheet, name, int(np.flatnonzero(~np.isfinite(found.values))[0]))
        since: np.ndarray = (found.values - found.values[0]) * _unit(
            found
        )  # no digits are lost to the years since 1970
        return since
    return _dates(sheet, name, cells)


def _unit(found: Numbers) -> float:
    if found.unit in SECONDS:
        return SECONDS[found.unit]
    middle = float(np.median(np.abs(found.values)))
    return next((factor for least, factor in EPOCHS if middle > least), 1.0)


def _dates(sheet: Sheet, name: str, cells: Sequence[str]) -> np.ndarray:
    times = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            raise _no_time(sheet, name, row) from None
        times[row] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return times


def _no_time(sheet: Sheet, name: str, row: int) -> ConfigError:
    cell = sheet.cells[name][row]
    remedy = (
        "fill it or remove the row"
        if is_missing(cell)
        else "write all times so, or name another with --time"
    )
    return ConfigError(
        f"{sheet.place(row)}, time column {shown(name)} holds {shown(cell)}; "
        "expected a number of "
        f"seconds, or a date such as 2026-05-04T12:30:00: {remedy}"
    )
