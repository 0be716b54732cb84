"""One round of a real fleet in time: who computed, and when something was on its way. From
`times.jsonl`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..record.history import History
from . import figures
from .charts import key
from .html import Html, block, paragraph, tag
from .plan import short_s

SPAN = 1000
"""The width of a lane in its own units."""
MOST_LANES = 16
DEVICE_TONE = 8
LINK_TONE = 2
SERVER_TONE = 9
Spans = list[tuple[float, float]]
"""Begin and end of each span, in order, apart from each other; in seconds since the round began."""
JobTimes = Mapping[str, Any]
"""A job as `times.jsonl` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Busy:
    """When anything of each kind went on in the round."""

    devices: Spans
    links: Spans
    server: Spans

    @property
    def last_s(self) -> float:
        """When the last of it ended; 0 if there was nothing."""
        return max(
            (spans[-1][1] for spans in (self.devices, self.links, self.server) if spans),
            default=0.0,
        )


def overlap_block(run: History) -> Html | None:
    """None without times, or if nothing in them can be told."""
    jobs = figures.tables(run.times, "jobs")
    worked = by_device(jobs, _work)
    linked = by_device(jobs, _ways)
    busy = _Busy(
        devices=union(chain.from_iterable(worked.values())),
        links=union(chain.from_iterable(linked.values())),
        server=union(_pairs(figures.listed(run.times, "server_s"))),
    )
    if busy.last_s <= 0:
        return None
    names = sorted(worked)
    lanes = [_lane("server", busy.last_s, {SERVER_TONE: busy.server})]
    for name in names[:MOST_LANES]:
        layers = {LINK_TONE: linked[name], DEVICE_TONE: worked[name]}
        lanes.append(_lane(name, busy.last_s, layers))
    legend = tag("p", *_keys(), class_="bars lane-keys")
    table = tag("table", *lanes, class_="lanes")
    heading = f"Round {run.times.get('round', '')} in time"
    return block(heading, _summary(busy), legend, table, paragraph(_more(len(names)), "fine"))


def by_device(jobs: Sequence[JobTimes], spans_of: Callable[[JobTimes], Spans]) -> dict[str, Spans]:
    """The spans of each device's jobs together."""
    found: dict[str, Spans] = {}
    for job in jobs:
        device = str(job.get("device", ""))
        found.setdefault(device, []).extend(spans_of(job))
    return {device: union(spans) for device, spans in found.items()}


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    """When at least one of them goes on."""
    joined: Spans = []
    for begin_s, end_s in sorted(spans):
        if joined and begin_s <= joined[-1][1]:
            first_s, last_s = joined[-1]
            joined[-1] = (first_s, max(last_s, end_s))
        else:
            joined.append((begin_s, end_s))
    return joined


def both(one: Spans, other: Spans) -> Spans:
    """When both go on."""
    common: Spans = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin_s = max(one[i][0], other[j][0])
        end_s = min(one[i][1], other[j][1])
        if begin_s < end_s:
            common.append((begin_s, end_s))
        if one[i][1] <= other[j][1]:
            i += 1
        else:
            j += 1
    return common


def lasting_s(spans: Spans) -> float:
    """How long they last together."""
    return sum(end_s - begin_s for begin_s, end_s in spans)


def _work(job: JobTimes) -> Spans:
    return _between(job, "begun_s", "done_s")


def _ways(job: JobTimes) -> Spans:
    down = _between(job, "sent_s", "received_s")
    up = _between(job, "offered_s", "uploaded_s")
    return down + up


def _between(job: JobTimes, first: str, last: str) -> Spans:
    begin_s = figures.number(job, first)
    end_s = figures.number(job, last)
    if begin_s is None or end_s is None or end_s < begin_s:
        return []
    return [(begin_s, end_s)]


def _pairs(found: Sequence[Any]) -> Spans:
    """Those entries that are pairs of numbers."""
    spans: Spans = []
    for entry in found:
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            continue
        begin_s, end_s = entry
        if isinstance(begin_s, int | float) and isinstance(end_s, int | float):
            spans.append((float(begin_s), float(end_s)))
    return spans


def _summary(busy: _Busy) -> str:
    device_s = short_s(lasting_s(busy.devices))
    link_s = short_s(lasting_s(busy.links))
    server_s = short_s(lasting_s(busy.server))
    device_and_server_s = short_s(lasting_s(both(busy.devices, busy.server)))
    link_and_server_s = short_s(lasting_s(both(busy.links, busy.server)))
    link_and_device_s = short_s(lasting_s(both(busy.links, busy.devices)))
    return (
        f"Of {short_s(busy.last_s)}, at least one device computed for {device_s}, something was on "
        f"its way for {link_s}, and the server computed for {server_s}. At the same time: devices "
        f"and server for {device_and_server_s}, links and server for {link_and_server_s}, links "
        f"and devices for {link_and_device_s}."
    )


_LEGEND = {
    SERVER_TONE: "server computes",
    DEVICE_TONE: "device computes",
    LINK_TONE: "job or answer on its way",
}


def _keys() -> list[Html]:
    return [tag("span", key(tone), words) for tone, words in _LEGEND.items()]


def _lane(name: str, last_s: float, layers: Mapping[int, Spans]) -> Html:
    """One row of the picture: spans by tone, one layer on another."""
    marks = [
        tag("path", class_=f"t{tone}", d=_path(spans, last_s))
        for tone, spans in layers.items()
        if spans
    ]
    busy = [f"busy for {short_s(lasting_s(spans))}" for spans in layers.values()]
    title = tag("title", f"{name}: {'; '.join(busy)}")
    picture = tag(
        "svg", title, *marks, viewBox=f"0 0 {SPAN} 1", preserveAspectRatio="none", role="img"
    )
    return tag("tr", tag("th", name, scope="row"), tag("td", picture))


def _path(spans: Spans, last_s: float) -> str:
    """Rectangles, none too narrow to be seen."""
    rectangles = []
    for begin_s, end_s in spans:
        left = round(SPAN * begin_s / last_s)
        width = max(1, round(SPAN * (end_s - begin_s) / last_s))
        rectangles.append(f"M{left} 0h{width}v1h-{width}z")
    return "".join(rectangles)


def _more(count: int) -> str:
    shown = f"The first {MOST_LANES} of {count:,} devices. " if count > MOST_LANES else ""
    return (
        f"{shown}On the server’s clock; a device’s work begins when it says that it began, counted "
        "from when it had the job. What is on its way includes waiting for room on the server."
    )
