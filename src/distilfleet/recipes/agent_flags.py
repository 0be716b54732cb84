"""What a device's owner can set; reading it loads nothing of what an agent needs."""

from dataclasses import dataclass
from pathlib import Path

from ..net.caps import Caps


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
    """A device of a real fleet: enrols once with a token, then trains on its own data until it is stopped."""

    data: str = ""
    """The device's data: a part that `distilfleet split` wrote, or whatever `run --data` takes."""
    token: str | None = None
    """From `distilfleet enrol create`; needed once."""
    state: Path = Path("agent-state")
    """Folder for keys and answers."""
    most_jobs: int | None = None
    """Jobs after which everything is declined."""
    most_busy_s: float | None = None
    """Seconds of work after which everything is declined."""
    most_job_s: float | None = None
    """Seconds that the work of one job may take, by this board's row of the catalogue; a longer one is declined."""
    most_bytes: int | None = None
    """Bytes to and from the server after which jobs are declined."""
    most_bytes_a_day: int | None = None
    """The same on each day."""
    from_hour: int = 0
    """Work from this hour of the day on."""
    to_hour: int = 24
    """Work until this hour; before --from-hour, it is that of the next day."""
    own_models: bool = False
    """Let the server ask for models from files and modules of this machine, or from a hub, by name."""
    share_label_counts: bool = False
    """Let labels, or how many samples of each class there are, leave this device."""
    share_data: bool = False
    """Let this device's data leave it, for recipes that pool data."""

    @property
    def consent(self) -> Consent:
        return Consent(label_counts=self.share_label_counts, data=self.share_data, own_models=self.own_models)

    @property
    def caps(self) -> Caps:
        return Caps(
            jobs=self.most_jobs,
            busy_s=self.most_busy_s,
            job_s=self.most_job_s,
            total_bytes=self.most_bytes,
            day_bytes=self.most_bytes_a_day,
            hours=(self.from_hour, self.to_hour),
        )
