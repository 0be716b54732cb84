"""From flags to a simulated fleet and what surrounds it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core.chance import stream
from ..core.types import Device, DeviceId
from ..cost import catalogue
from ..cost.pathloss import INDOOR, UMA, UMI
from ..cost.presets import PRESETS
from ..cost.surroundings import Setting, Surroundings
from ..sim.fleet import World
from .flags import Common

SCENES = {"street": UMI, "city": UMA, "office": INDOOR}


def numbered(count: int) -> tuple[DeviceId, ...]:
    """Names of devices without owners."""
    width = len(str(count - 1))
    return tuple(f"device-{i:0{width}d}" for i in range(count))


def enrol(common: Common, ids: Sequence[DeviceId]) -> dict[DeviceId, Device]:
    """A fleet of `--device-kinds` in turn. Raises ConfigError for a kind that no catalogue has."""
    quota_bytes, extra = common.memory_quota_bytes, common.catalogue
    boards = [catalogue.device(kind, "", quota_bytes=quota_bytes, extra=extra) for kind in common.device_kinds]
    agree_N = stream(common.seed, "label counts").random(len(ids)) < common.label_counts_share
    return {
        name: replace(boards[i % len(boards)], id=name, shares_label_counts=bool(agree_N[i]))
        for i, name in enumerate(ids)
    }


def board_memory_bytes(common: Common, device: Device) -> int:
    """What the board has, whatever the quota."""
    return catalogue.entry(device.kind, common.catalogue).usable_memory_bytes


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
