"""A device of a real fleet: what it trains on, what its owner allows, and the worker that a `RunSpec` names.

Nothing here needs torch until a run asks for training: a device that runs embedding modules alone installs without it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from ..core.errors import ConfigError
from ..core.types import Dataset, Device, RunSpec, Worker
from ..cost import catalogue, meters
from ..data.arrays import open_npz
from ..methods.splitkd.device import Front, SplitWorker
from ..methods.splitkd.settings import Split
from ..net import agent as agents
from ..net.agent import Agent, Caps
from ..net.bench import DeclinedError
from ..net.identity import Token

EMBEDDING_ONLY = "splitkd"
"""The method of which agents have the half that needs no torch."""


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
    from_hour: int = 0
    """Work from this hour of the day on."""
    to_hour: int = 24
    """Work until this hour of the day."""
    own_models: bool = False
    """Let the server ask for models from files and modules of this machine, by name."""

    @property
    def caps(self) -> Caps:
        return Caps(jobs=self.most_jobs, busy_s=self.most_busy_s, hours=(self.from_hour, self.to_hour))


def join(asked: AgentFlags) -> None:
    """Enrol if there is a token, then serve until stopped. Raises ConfigError."""
    token, folder = asked.token, asked.state
    badge = asyncio.run(agents.enrol(Token.read(token), folder)) if token else agents.badge_of(folder)
    if not asked.data:
        raise ConfigError("say with --data what this device trains on; it stays here")
    device = catalogue.device(badge.kind, badge.device)
    build, meter = builder(device, own_data(asked.data), asked.own_models), meters.find(Path("/sys"))
    asyncio.run(Agent(badge=badge, folder=folder, device=device, build=build, caps=asked.caps, meter=meter).serve())


def own_data(path: str) -> Dataset:
    """A device's: a part that `split` wrote, as it is, or anything that `run --data` takes, scaled by itself."""
    if path.endswith(".npz") and Path(path).is_file():
        arrays = open_npz(Path(path))
        if "prepared_x" in arrays:
            return Dataset(arrays["prepared_x"], arrays.get("prepared_y"))
    from ..data.sources import load

    return load(path).train


def builder(device: Device, data: Dataset, own_models: bool = False) -> Callable[[RunSpec], Worker]:
    """What an agent hands to its loop. With `own_models`, models may come from files and modules of this machine."""

    def build(spec: RunSpec) -> Worker:
        if spec.method == EMBEDDING_ONLY:
            return _embedding_only(spec, device, data)
        try:
            from .deploy import build_worker
        except ModuleNotFoundError as fault:
            raise ConfigError(
                f"{spec.method} trains on devices and needs {fault.name} here; this one has none"
            ) from None
        return build_worker(spec, device, data, own_models)

    return build


def _embedding_only(spec: RunSpec, device: Device, data: Dataset) -> Worker:
    here = version("distilfleet")
    if spec.versions.get("distilfleet") != here:
        raise ConfigError(f"the server has distilfleet {spec.versions.get('distilfleet')}, this device {here}")
    try:
        split = msgspec.convert(spec.settings, Split)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise ConfigError(f"the settings of {spec.method} do not fit the version here: {fault}") from None
    return SplitWorker(device=device, data=data, split=split, seed=spec.seed, front_of=_no_layers)


def _no_layers(whose: str, layers: int) -> Front:
    raise DeclinedError(f"declined: this device runs embedding modules alone, not {layers} layers of the {whose}")
