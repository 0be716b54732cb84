"""What an operator can say to the verbs of a real fleet's server; reading it loads nothing of the
server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFlags:
    """The server of a real fleet: owns models and journal, takes runs from `distilfleet
    run RECIPE --fleet FILE`."""

    fleet: Path
    """The fleet file, for example fleet.toml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolFlags:
    """`enrol create` prints a one-time token for a device; `enrol deny` shuts it out until it gets
    a new one."""

    what: Literal["create", "deny"]
    """What to do."""
    device: str = ""
    """Id of the device, as the fleet file has it."""
    all: bool = False
    """A token for every device of the fleet file, each in a file of its own in --out."""
    out: Path | None = None
    """Folder for those files, which nobody else may read: DEVICE.token."""
    fleet: Path = Path("fleet.toml")
    """The fleet file."""
    hours: int = 24
    """That the token is good for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFlags:
    """Runs of a server: lists them, stops one after the round under way, or lets a stopped one go
    on."""

    what: Annotated[Literal["list", "stop", "resume"], Positional] = "list"
    """What to do."""
    name: Annotated[str, Positional] = ""
    """The run, for stop and resume."""
    fleet: Path = Path("fleet.toml")
    """The fleet file."""
    json: bool = False
    """Print the list as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackUp:
    """Copy a server's folder to another one, while the server runs or not. Keep it secret: it holds
    keys."""

    to: Path
    """The copy; must not hold anything yet. To restore, put it where the server's folder was."""
    fleet: Path = Path("fleet.toml")
    """The fleet file."""
