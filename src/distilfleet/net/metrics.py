"""What a server counts, for Prometheus. Reasons and states are of a closed list.

A device is named only where two agents use its identity, which somebody has to look after.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from ..core.fleet_status import Doing, FleetStatus
from .wave import LATER

REASONS = frozenset({"offline", "deadline", "surplus", "memory", "rejected", "declined", LATER})
"""Classes of reasons for missed jobs. A device may say anything, so all else is `other`."""
Labelled = Mapping[str, float]


@dataclass(slots=True)
class Totals:
    """Sums over the rounds that this server has finished since it started."""

    rounds: int = 0
    lasting_s: float = 0.0
    answered: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    device_j: float = 0.0
    server_j: float = 0.0

    def add(self, line: Mapping[str, Any], took_s: float) -> None:
        """A round, as the record has it in a line."""
        classes = Counter(_class(reason) for _, reason in line["missed_jobs"])
        classes["other"] += line["missed"] - classes.total()
        self.rounds = self.rounds + 1
        self.lasting_s = self.lasting_s + took_s
        self.answered += line["jobs"] - line["missed"]
        self.missed += classes
        self.device_j += line["device_energy_j"]
        self.server_j += line.get("server_energy_j", 0.0)


def exposition(
    status: FleetStatus, totals: Totals, page_refused: Mapping[int, int] | None = None
) -> bytes:
    """In the text format; of requests for the page that were refused, how many by status."""
    refused = {str(code): times for code, times in dict(page_refused or {}).items()}
    pages = _by(
        CounterMetricFamily,
        "page_requests_refused",
        "Requests for the page, refused",
        "status",
        refused,
    )
    registry = CollectorRegistry()
    registry.register(_Collected((*_families(status, totals), pages)))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)
class _Collected:
    """Families of one status, as a registry asks for them."""

    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _families(status: FleetStatus, totals: Totals) -> Iterator[Metric]:
    yield from _of_sessions(status)
    yield from _of_rounds(status, totals)
    yield GaugeMetricFamily(
        "distilfleet_uploads_bytes", "Room that uploads take now", status.uploading_bytes
    )
    yield GaugeMetricFamily(
        "distilfleet_uploads_waiting", "Uploads that wait for room", status.uploads_waiting
    )


def _of_sessions(status: FleetStatus) -> Iterator[Metric]:
    doing = dict.fromkeys(get_args(Doing), 0.0) | Counter(device.doing for device in status.devices)
    up_bytes = sum(device.up_bytes for device in status.devices)
    down_bytes = sum(device.down_bytes for device in status.devices)
    traffic = {"up": up_bytes, "down": down_bytes}
    here = len(status.devices) - doing["away"]
    yield GaugeMetricFamily("distilfleet_sessions_open", "Devices with a session", here)
    yield _by(GaugeMetricFamily, "devices", "Devices by what they do now", "state", doing)
    yield _by(
        CounterMetricFamily,
        "sessions_refused",
        "Sessions refused or ended",
        "reason",
        status.refused,
    )
    yield _by(
        CounterMetricFamily,
        "identity_clashes",
        "Two agents with one identity",
        "device",
        status.clashes,
    )
    yield _by(CounterMetricFamily, "traffic_bytes", "Bytes of sessions", "direction", traffic)


def _of_rounds(status: FleetStatus, totals: Totals) -> Iterator[Metric]:
    missed = dict(totals.missed)
    joules = {"devices": totals.device_j, "server": totals.server_j}
    metered = "As measured, or modelled where there is no meter"
    yield CounterMetricFamily("distilfleet_jobs_answered", "Answers that counted", totals.answered)
    yield _by(
        CounterMetricFamily, "jobs_missed", "Jobs without an answer that counts", "reason", missed
    )
    yield CounterMetricFamily(
        "distilfleet_answers_late", "Answers that came after their wave", status.late
    )
    yield _by(CounterMetricFamily, "energy_joules", metered, "who", joules)
    yield CounterMetricFamily("distilfleet_rounds", "Finished rounds", totals.rounds)
    yield SummaryMetricFamily(
        "distilfleet_round_seconds", "Of finished rounds", totals.rounds, totals.lasting_s
    )
    yield GaugeMetricFamily(
        "distilfleet_jobs_under_way", "Jobs of the waves under way", status.jobs
    )


def _by(kind: Any, name: str, words: str, label: str, values: Labelled) -> Metric:
    family: Metric = kind(f"distilfleet_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)  # type: ignore[attr-defined]
    return family


def _class(reason: str) -> str:
    name = reason.partition(":")[0]
    return name if name in REASONS else "other"
