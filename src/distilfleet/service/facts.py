"""What the record of a real fleet says of the fleet file: its devices with their kinds, and the
server's, if named."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..plan.split import SplitPlanner
from ..recipes.flags import Common
from ..training.experiment import Experiment
from ..training.facts import fleet_facts
from .fleet_file import FleetFile


def facts_of(experiment: Experiment, file: FleetFile) -> dict[str, Any]:
    """`fleet.json`: all devices with their kinds, and the first ones in full; of the server, what
    the file says."""
    return {**fleet_facts(experiment), "devices": dict(file.devices), "server": file.server}


def taken_for(experiment: Experiment, server: str) -> tuple[str, ...]:
    """A note on what a plan of cuts takes the server for, where the fleet file names no kind."""
    if server or not isinstance(experiment.planner, SplitPlanner):
        return ()
    usual = Common().server
    return (
        f"Cuts and shares are planned as if the server were a {usual}, and so are its predicted "
        "seconds and joules: the fleet file names no kind. Write there, for example, server = "
        f"'{usual}'; see `distilfleet devices`.",
    )


def about_of(about: Mapping[str, Any], fleet: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """`run.toml`: run on this fleet, with notes of its server."""
    noted = [*about.get("notes", ()), *notes]
    return {**about, "notes": noted, "settings": {**about["settings"], "fleet": fleet}}
