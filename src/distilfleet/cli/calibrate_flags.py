"""What a person can set of a measurement; reading it loads nothing that measures."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrate:
    """Measure this machine for half a minute and write its own row of the catalogue."""

    kind: str = "this-board"
    """Name of the row."""
    out: Path = Path("own-devices.csv")
    """File of rows; other rows in it stay."""
    like: str | None = None
    """Kind in the catalogue that gives what is not measured, as an estimate. Default: the board
    nearest in speed."""
    idle_w: float | None = None
    """Watts of the idle board, from a plug or data sheet. Default: its own meter, or an
    estimate."""
    busy_w: float | None = None
    """Watts of the board at full load."""
    up_bps: float | None = None
    """What an application sees of the uplink. Default: an estimate."""
    down_bps: float | None = None
    """And of the downlink."""
    lasting_s: float = 30.0
    """Seconds that the measurement takes, about."""
