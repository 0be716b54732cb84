"""The machines of a run as flags name them, and who of them takes part in a round."""

from collections.abc import Sequence
from dataclasses import replace

from ..core.chance import stream
from ..core.types import Device, DeviceId
from ..cost import catalogue
from ..plan.sample import Sample
from .flags import Common


def numbered(count: int) -> tuple[DeviceId, ...]:
    """Names of devices without owners."""
    width = len(str(count - 1))
    return tuple(f"device-{i:0{width}d}" for i in range(count))


def enrol(common: Common, ids: Sequence[DeviceId]) -> dict[DeviceId, Device]:
    """A fleet of `--device-kinds` in turn. Raises ConfigError for a kind that no catalogue has."""
    quota_bytes = common.memory_quota_bytes
    extra = common.catalogue
    boards = [
        catalogue.device(kind, "", quota_bytes=quota_bytes, extra=extra)
        for kind in common.device_kinds
    ]
    agree_N = stream(common.seed, "label counts").random(len(ids)) < common.label_counts_share
    return {
        name: replace(boards[i % len(boards)], id=name, shares_label_counts=bool(agree_N[i]))
        for i, name in enumerate(ids)
    }


def sample(common: Common, devices: int) -> Sample:
    """Who takes part in a round, out of so many devices."""
    return Sample(
        per_round=common.per_round or devices,
        seed=common.seed,
        spare=common.spare,
        minimum=common.minimum,
        deadline_s=common.deadline_s,
    )


def part_alone(name: str) -> str:
    """Why the server's part of data that `distilfleet split` divided cannot be simulated."""
    return (
        f"{name}: this is the server's part of divided data, without what devices own: add "
        "--fleet, or name the whole data to simulate"
    )
