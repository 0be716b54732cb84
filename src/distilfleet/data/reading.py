"""What a person can settle about a file. Where it is left open it is guessed, and the guess is said
in a note."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal

Decimal = Literal["point", "comma"]
Separator = Literal["comma", "semicolon", "tab", "pipe"]
Kind = Literal["table", "series", "image"]
Axis = Literal["first", "last"]
Missing = Literal["refuse", "drop", "class"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a file is to be read, beyond the names of its label and owner."""

    decimal: Decimal | None = None
    """Decimal mark of a table's numbers, for columns such as 1,234 that can be read in two ways."""
    separator: Separator | None = None
    """What parts the fields of a table. Default: what parts all rows alike."""
    leave_out: tuple[str, ...] = ()
    """Columns of a table that are to be no inputs."""
    missing: Missing = "refuse"
    """Rows without a number or label (blank, NA, nan, null, none, ?, -): refuse them, drop them, or
    drop those without a number and take such a label as a class of its own."""
    sample_kind: Kind | None = None
    """What the samples of an array are. Default: by its shape."""
    channels_axis: Axis | None = None
    """Which axis of a sample has the channels. Default: by its shape."""
    window: str | None = None
    """Cut long series into windows of so many steps (128), or seconds where the sampling rate is
    known (2.5s). A window has the label that most of its steps have."""
    hop: str | None = None
    """Steps or seconds from the start of a window to that of the next. Default: a window, so that
    none overlap."""
    time: str | None = None
    """Column of a table with the time of each row; windows do not cross its gaps. Default: one
    called time, if any."""
    rate_hz: float | None = None
    """Steps per second, where the file does not say it; sound of another rate is resampled to
    it."""
    text: str | None = None
    """Column or key of the texts that are to be classified. Default: by its name and what it
    holds."""

    def settled(self, allowed: Collection[str] = ()) -> str | None:
        """The first flag that is set and not allowed; None if there is none."""
        names = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return next((f"--{name.replace('_', '-')}" for name in names if name not in allowed), None)


GUESSED = Reading()
