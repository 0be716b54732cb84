"""One round of a real fleet in time: who computed, and when something was on its way. From `times.jsonl`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ..record.history import History
from . import figures
from .charts import key
from .html import Html, tag
from .plan import short_s

SPAN = 1000
"""Width of a lane in its own units."""
MOST_LANES = 16
DEVICE, LINK, SERVER = 8, 2, 9
"""Tones."""
Spans = list[tuple[float, float]]
"""From when to when, in order, apart from each other; in seconds since the round began."""


def overlap_block(run: History) -> Html | None:
    """None without times, or if nothing in them can be told."""
    jobs = figures.tables(run.times, "jobs")
    worked, linked = by_device(jobs, _work), by_device(jobs, _ways)
    served = union(_pairs(figures.listed(run.times, "server_s")))
    all_worked, all_linked = (union(chain.from_iterable(one.values())) for one in (worked, linked))
    ends = [end_s for spans in (all_worked, all_linked, served) for _, end_s in spans[-1:]]
    if not ends or max(ends) <= 0:
        return None
    last_s, names = max(ends), sorted({str(job.get("device", "")) for job in jobs})
    lanes = [_lane(name, last_s, (linked[name], LINK), (worked[name], DEVICE)) for name in names[:MOST_LANES]]
    return tag(
        "div",
        tag("h3", f"Round {run.times.get('round', '')} in time"),
        tag("p", _words(last_s, (all_worked, all_linked, served)), class_="sub"),
        tag("p", *_keys(), class_="bars lane-keys"),
        tag("table", _lane("server", last_s, (served, SERVER)), *lanes, class_="lanes"),
        tag("p", _more(len(names)), class_="fine"),
        class_="block",
    )


def by_device(jobs: Sequence[Mapping[str, Any]], of: Any) -> dict[str, Spans]:
    found: dict[str, Spans] = {}
    for job in jobs:
        found.setdefault(str(job.get("device", "")), []).extend(of(job))
    return {device: union(spans) for device, spans in found.items()}


def union(spans: Iterable[tuple[float, float]]) -> Spans:
    joined: Spans = []
    for begin_s, end_s in sorted(spans):
        if joined and begin_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s)
        else:
            joined.append((begin_s, end_s))
    return joined


def both(one: Spans, other: Spans) -> Spans:
    """When both go on."""
    common: Spans = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin_s, end_s = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if begin_s < end_s:
            common.append((begin_s, end_s))
        i, j = (i + 1, j) if one[i][1] <= other[j][1] else (i, j + 1)
    return common


def lasting_s(spans: Spans) -> float:
    return sum(end_s - begin_s for begin_s, end_s in spans)


def _work(job: Mapping[str, Any]) -> Spans:
    return _between(job, "begun_s", "done_s")


def _ways(job: Mapping[str, Any]) -> Spans:
    return [*_between(job, "sent_s", "received_s"), *_between(job, "offered_s", "uploaded_s")]


def _between(job: Mapping[str, Any], first: str, last: str) -> Spans:
    begin_s, end_s = figures.number(job, first), figures.number(job, last)
    return [] if begin_s is None or end_s is None or end_s < begin_s else [(begin_s, end_s)]


def _pairs(found: Sequence[Any]) -> Spans:
    pairs = [one for one in found if isinstance(one, list | tuple) and len(one) == 2]
    return [(float(a), float(b)) for a, b in pairs if isinstance(a, int | float) and isinstance(b, int | float)]


def _words(last_s: float, spans: tuple[Spans, Spans, Spans]) -> str:
    worked, linked, served = spans
    device_s, link_s, server_s = (short_s(lasting_s(one)) for one in spans)
    apart = both(worked, served), both(linked, served), both(linked, worked)
    with_server_s, link_with_server_s, link_with_device_s = (short_s(lasting_s(one)) for one in apart)
    return (
        f"Of {short_s(last_s)}, at least one device computed for {device_s}, something was on its way for {link_s}, "
        f"and the server computed for {server_s}. At the same time: devices and server for {with_server_s}, links and "
        f"server for {link_with_server_s}, links and devices for {link_with_device_s}."
    )


def _keys() -> list[Html]:
    named = ((SERVER, "server computes"), (DEVICE, "device computes"), (LINK, "job or answer on its way"))
    return [tag("span", key(tone), words) for tone, words in named]


def _lane(name: str, last_s: float, *layers: tuple[Spans, int]) -> Html:
    marks = (tag("path", class_=f"t{tone}", d=_path(spans, last_s)) for spans, tone in layers if spans)
    said = "; ".join(f"busy for {short_s(lasting_s(spans))}" for spans, _ in layers)
    picture = tag(
        "svg",
        tag("title", f"{name}: {said}"),
        *marks,
        viewBox=f"0 0 {SPAN} 1",
        preserveAspectRatio="none",
        role="img",
    )
    return tag("tr", tag("th", name, scope="row"), tag("td", picture))


def _path(spans: Spans, last_s: float) -> str:
    """Rectangles, none too narrow to be seen."""
    edges = (
        (round(SPAN * begin_s / last_s), max(1, round(SPAN * (end_s - begin_s) / last_s))) for begin_s, end_s in spans
    )
    return "".join(f"M{left} 0h{width}v1h-{width}z" for left, width in edges)


def _more(count: int) -> str:
    shown = f"The first {MOST_LANES} of {count:,} devices. " if count > MOST_LANES else ""
    return (
        f"{shown}On the server’s clock; a device’s work begins when it says that it began, counted from when it had "
        "the job. What is on its way includes waiting for room on the server."
    )
