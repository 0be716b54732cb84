"""From flags to what surrounds a simulated fleet."""

from collections.abc import Mapping

from ..core.types import Device, DeviceId
from ..cost.pathloss import INDOOR, UMA, UMI
from ..cost.presets import PRESETS
from ..cost.surroundings import Setting, Surroundings
from ..sim.fleet import World
from .flags import Common

SCENES = {"street": UMI, "city": UMA, "office": INDOOR}


def world(common: Common, devices: Mapping[DeviceId, Device], server: Device, *, ignore_memory: bool = False) -> World:
    """Of `--channels`, `--bandwidth-hz`, `--offline-share`, `--cohorts` and `--seed`."""
    return World(
        server=server,
        offline_share=common.offline_share,
        cohorts=common.cohorts == "on",
        seed=common.seed,
        ignore_memory=ignore_memory,
        surroundings=_surroundings(common, devices),
    )


def _surroundings(common: Common, devices: Mapping[DeviceId, Device]) -> Surroundings | None:
    if common.channels == "own":
        return None
    setting = Setting(
        scene=SCENES.get(common.channels, UMI),
        preset=PRESETS.get(common.channels),
        bandwidth_hz=common.bandwidth_hz,
    )
    return Surroundings(devices, setting, common.seed)
