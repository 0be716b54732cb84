"""What a device's owner can set; reading it loads nothing of what an agent needs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError
from ..data.reading import Axis, Decimal, Missing, Reading, Separator

if TYPE_CHECKING:
    from ..net.caps import Caps

VARIABLE = "DISTILFLEET_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a device's owner agrees to."""

    label_counts: bool = False
    """That labels, or how many there are of each class, leave the device."""
    data: bool = False
    """That its data do, for methods that pool data."""
    own_models: bool = False
    """That the server names models in files and modules of this machine, or on a hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFlags:
    """A device of a real fleet: enrols once with a token, then trains on its own data until it is
    stopped."""

    data: str = ""
    """The device's data: a part that `distilfleet split` wrote, or whatever `run --data` takes."""
    label: str | None = None
    """Column or key of the labels in it. Default: what the run calls it, or `label`."""
    rename: tuple[str, ...] = ()
    """Columns that the run calls otherwise: --rename temp=temperature load=weight."""
    rename_class: tuple[str, ...] = ()
    """Classes that the run calls otherwise: --rename-class laufen=run."""
    rename_value: tuple[str, ...] = ()
    """Categories of a column that the run calls otherwise: --rename-value place:loft=attic."""
    columns: tuple[str, ...] = ()
    """What the inputs are, in order, where the file or the run has no names for them."""
    units: tuple[str, ...] = ()
    """Columns in another unit than the run's, with factor and offset to it: --units
    temp=0.5556,-17.78."""
    any_range: bool = False
    """Take values as they are that lie so far from the run's that they seem to be in another
    unit."""
    skip_unknown: bool = False
    """Leave samples out whose class or category the run does not know, instead of declining it."""
    fit_pictures: bool = False
    """Bring pictures to the size and colours of the run's."""
    decimal: Decimal | None = None
    """Decimal mark of a table's numbers, where they can be read in two ways."""
    separator: Separator | None = None
    """What parts the fields of a table. Default: what parts all rows alike."""
    missing: Missing = "refuse"
    """Samples without a number or label: refuse the data, drop such samples, or take such a label
    as a class."""
    channels_axis: Axis | None = None
    """Which axis of a sample has the channels. Default: as in the run."""
    window: str | None = None
    """Cut long series into windows of so many steps or seconds. Default: as in the run."""
    hop: str | None = None
    """Steps or seconds from the start of a window to that of the next. Default: as in the run."""
    time: str | None = None
    """Column of a table with the time of each row, where series are cut."""
    rate_hz: float | None = None
    """Steps per second, where the file does not say it."""
    text: str | None = None
    """Column or key of the texts in it, for a run that classifies texts. Default: what the run
    calls it."""
    catalogue: Path | None = None
    """CSV file with this board's row, as `distilfleet calibrate` writes it, where the fleet names a
    kind of its own."""
    token: str | None = None
    """Token that `distilfleet enrol create` printed; needed once. All users of a machine can read
    a command line: prefer --token-file, or the variable DISTILFLEET_TOKEN."""
    token_file: Path | None = None
    """File with the token."""
    state: Path = Path("agent-state")
    """Folder for keys and answers."""
    most_jobs: int | None = None
    """Jobs after which everything is declined."""
    most_busy_s: float | None = None
    """Seconds of work after which everything is declined."""
    most_job_s: float | None = None
    """Seconds that the work of one job may take, by this board's row of the catalogue; a longer one
    is declined."""
    most_bytes: int | None = None
    """Bytes to and from the server after which jobs are declined."""
    most_bytes_a_day: int | None = None
    """The same on each day."""
    from_hour: int = 0
    """Work from this hour of the day on."""
    to_hour: int = 24
    """Work until this hour; before --from-hour, it is that of the next day."""
    own_models: bool = False
    """Let the server ask for models from files and modules of this machine, or from a hub, by
    name."""
    share_label_counts: bool = False
    """Let labels, or how many samples of each class there are, leave this device."""
    share_data: bool = False
    """Let this device's data leave it, for recipes that pool data."""

    @property
    def token_text(self) -> str | None:
        """The token of the flags, of the file that they name, or of the environment, if there is
        one. Raises ConfigError for a file that cannot be read."""
        if self.token and self.token_file:
            raise ConfigError("give --token or --token-file, not both")
        if self.token_file is None:
            return self.token or os.environ.get(VARIABLE) or None
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigError(
                f"{self.token_file}: no token can be read there ({fault}): copy the file that "
                "`enrol create --all` wrote"
            ) from None

    @property
    def consent(self) -> Consent:
        return Consent(
            label_counts=self.share_label_counts, data=self.share_data, own_models=self.own_models
        )

    @property
    def reading(self) -> Reading:
        return Reading(
            decimal=self.decimal,
            separator=self.separator,
            missing=self.missing,
            channels_axis=self.channels_axis,
            window=self.window,
            hop=self.hop,
            time=self.time,
            rate_hz=self.rate_hz,
            text=self.text,
        )

    @property
    def caps(self) -> "Caps":
        from ..net.caps import Caps

        return Caps(
            jobs=self.most_jobs,
            busy_s=self.most_busy_s,
            job_s=self.most_job_s,
            total_bytes=self.most_bytes,
            day_bytes=self.most_bytes_a_day,
            hours=(self.from_hour, self.to_hour),
        )
