"""Quality against rounds, bytes and time, for one run or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from ..core.units import pretty_bytes, pretty_s
from ..record.history import History
from . import figures
from .charts import Chart, Guide, Series, line_chart
from .differences import Places, groups
from .figures import Value
from .html import Html
from .scale import Axis, accuracy_axis, decade_axis, free_axis, reach_axis, round_axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottom:
    """What quality is drawn against."""

    title: str
    sub: str
    label: str
    places: Callable[[History], Sequence[float]]
    """Where a run's rounds stand along the bottom."""
    show: Callable[[float], str]
    """A place along the bottom in words."""


def say_round(value: float) -> str:
    """The read-out of a round."""
    return f"round {value:.0f}"


def _cumulative_bytes(run: History) -> list[float]:
    return figures.cumulative(figures.per_round(run, "up_bytes", "down_bytes"))


def _elapsed_s(run: History) -> list[float]:
    return list(accumulate((value or 0.0 for value in figures.series(run, "elapsed_s")), max))


_ROUNDS = Bottom(
    title="by round", sub="", label="round", places=figures.round_numbers, show=say_round
)
_BYTES = Bottom(
    title="by data sent",
    sub="Against all bytes that travelled so far, whole fleet, up and down.",
    label="bytes so far",
    places=_cumulative_bytes,
    show=pretty_bytes,
)
_TIME = Bottom(
    title="by time",
    sub="Against the fleet’s time since the start.",
    label="time so far",
    places=_elapsed_s,
    show=pretty_s,
)
_TONES = 8
"""Colours that lines have."""
_FAR_APART = 20
"""The ratio between runs from which on amounts are drawn on a logarithmic axis."""


def quality_charts(runs: Sequence[History]) -> list[Html]:
    """Against rounds, bytes and time; those for which there is nothing to show are left out."""
    fields = [
        field for field in _quality_fields(runs) if any(_draws(runs, run, field) for run in runs)
    ]
    if not fields:
        return []
    bottoms = [_ROUNDS]
    if any(figures.total(run, "up_bytes", "down_bytes") for run in runs):
        bottoms.append(_BYTES)
    if any(any(_elapsed_s(run)) for run in runs):
        bottoms.append(_TIME)
    return [_quality_chart(runs, fields, bottom) for bottom in bottoms]


def _quality_fields(runs: Sequence[History]) -> list[str]:
    kind = figures.quality(next((run for run in runs if run.rounds), runs[0]))
    return [f"large_{kind}", f"small_{kind}"]


def _quality_chart(runs: Sequence[History], fields: Sequence[str], bottom: Bottom) -> Html:
    sets = _equally_far(runs)
    series = [line for places in sets for line in _quality_series(runs, places, fields, bottom)]
    teacher = common_teacher(runs)
    values = [y for line in series for _, y in line.points]
    values += [edge for line in series for edges in line.band for edge in edges]
    if teacher is not None:
        values.append(teacher)
    kind = _ACCURACY if fields[0].endswith("accuracy") else _LOSS
    y = kind.axis(values)
    chance = _chance(runs, y) if kind is _ACCURACY else []
    chart = Chart(
        title=f"{kind.title} {bottom.title}",
        sub=bottom.sub or kind.sub,
        series=series,
        x=_bottom_axis(runs, bottom),
        y=y,
        say_x=bottom.show,
        say_y=kind.show,
        guides=[*chance, *_teacher(teacher, fields[0])],
    )
    return line_chart(chart)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quality:
    """How a kind of quality is drawn."""

    title: str
    sub: str
    axis: Callable[[Sequence[float]], Axis]
    show: Callable[[float], str]


_ACCURACY = _Quality(
    title="Accuracy",
    sub="Share of held-out samples classified right.",
    axis=accuracy_axis,
    show=figures.percent,
)
_LOSS = _Quality(
    title="Loss",
    sub="Nats per token on held-out text; lower is better.",
    axis=lambda values: free_axis("nats per token", values, figures.plain),
    show=figures.nats,
)


def _quality_series(
    runs: Sequence[History], places: Places, fields: Sequence[str], bottom: Bottom
) -> list[Series]:
    """The lines of one run, or of runs that repeat one another: their mean, in a band of all.

    One colour for each setting where there are several, else one for each size of model.
    """
    is_alone = len(places) == len(runs)
    lines = []
    for field in fields:
        own = [runs[place] for place in places if _draws(runs, runs[place], field)]
        xs = _means([_places(run, bottom) for run in own])
        if not own or (bottom is not _ROUNDS and not any(xs)):
            continue
        is_small = field.startswith("small")
        who = _who(own[0], field)
        ys = [_drawn(xs, [*_start(run, field), *figures.series(run, field)], bottom) for run in own]
        line = Series(
            name=who.capitalize() if len(runs) == 1 else f"{_name_of(runs, places)}, {who}",
            tone=int(is_small) if is_alone else tones(runs)[places[0]],
            dashed=is_small,
            xs=xs,
            ys=_mean_values(ys),
            band=_band(ys),
        )
        lines.append(line)
    return lines


def _equally_far(runs: Sequence[History]) -> list[Places]:
    """Runs that repeat one another and have as many rounds, each set of them for one line."""
    sets: dict[tuple[int, int, bool], list[int]] = {}
    for number, places in enumerate(groups(runs)):
        for place in places:
            run = runs[place]
            sets.setdefault((number, len(run.rounds), bool(run.start)), []).append(place)
    return list(sets.values())


def _name_of(runs: Sequence[History], places: Places) -> str:
    name = figures.names(runs)[places[0]]
    return name if len(places) == 1 else f"{name} and {len(places) - 1} more"


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    """Place by place."""
    return [fmean(values) for values in zip(*rows, strict=True)]


def _mean_values(rows: Sequence[Sequence[Value]]) -> list[Value]:
    """The mean where all have a value."""
    known = [[value for value in values if value is not None] for values in zip(*rows, strict=True)]
    return [fmean(values) if len(values) == len(rows) else None for values in known]


def _band(rows: Sequence[Sequence[Value]]) -> list[tuple[float, float]]:
    """Least and most in each place; nothing of one run, or where a value is missing."""
    if len(rows) < 2:
        return []
    columns = [
        [value for value in values if value is not None] for values in zip(*rows, strict=True)
    ]
    if any(len(values) < len(rows) for values in columns):
        return []
    return [(min(values), max(values)) for values in columns]


def _places(run: History, bottom: Bottom) -> list[float]:
    """Where the rounds stand along the bottom, from round 0 where that was measured."""
    return [*([0.0] if run.start else []), *bottom.places(run)]


def _start(run: History, field: str) -> list[Value]:
    """Round 0 of a line, where that was measured."""
    return [figures.number(run.start, field)] if run.start else []


def draws_large(runs: Sequence[History]) -> bool:
    """Whether some large model has a line of its own."""
    return any(_draws(runs, run, field) for run in runs for field in _quality_fields(runs)[:1])


def common_teacher(runs: Sequence[History]) -> Value:
    """The quality of the one teacher that stays as it is, of all runs that have such a one; else
    None."""
    kind = figures.quality(next((run for run in runs if run.rounds), runs[0]))
    found = {figures.teacher(run) for run in runs if figures.has(run, f"large_{kind}")} - {None}
    return found.pop() if len(found) == 1 else None


def _draws(runs: Sequence[History], run: History, field: str) -> bool:
    """A teacher that stays as it is needs no line of its own, if it is the only one."""
    common = (
        field.startswith("large")
        and figures.frozen_teacher(run)
        and common_teacher(runs) is not None
    )
    return figures.has(run, field) and not common


def _drawn(xs: Sequence[float], ys: Sequence[Value], bottom: Bottom) -> list[Value]:
    """Without what was reached before anything travelled, which has no place on a logarithmic
    axis."""
    return [y if x > 0 or bottom is not _BYTES else None for x, y in zip(xs, ys, strict=True)]


def tones(runs: Sequence[History]) -> list[int]:
    """The colour of each run on a comparison page; runs that repeat one another share theirs."""
    of_run = [0] * len(runs)
    for number, places in enumerate(groups(runs)):
        for place in places:
            of_run[place] = number % _TONES
    return of_run


def _who(run: History, field: str) -> str:
    size = "large" if field.startswith("large") else "small"
    who = figures.who(run, size)
    return f"{who}, mean" if size == "small" and not figures.frozen_teacher(run) else who


def _bottom_axis(runs: Sequence[History], bottom: Bottom) -> Axis:
    places = [place for run in runs for place in _places(run, bottom)]
    if bottom is _ROUNDS:
        return round_axis(int(min(places)), int(max(places)))
    ends = [max(bottom.places(run), default=0.0) for run in runs]
    if bottom is _BYTES and far_apart(ends):
        least = min(filter(None, places))
        return decade_axis(f"{bottom.label}, logarithmic", least, max(places), bottom.show)
    return reach_axis(bottom.label, max(places), bottom.show)


def far_apart(amounts: Sequence[float]) -> bool:
    """Whether a logarithmic axis is needed to see them all."""
    some = [amount for amount in amounts if amount > 0]
    return bool(some) and max(some) > _FAR_APART * min(some)


def _teacher(level: Value, field: str) -> list[Guide]:
    """At the left, since a student comes near it at the right."""
    if level is None:
        return []
    return [Guide(value=level, name=f"teacher, {figures.pretty(field, level)}", side="left")]


def _chance(runs: Sequence[History], y: Axis) -> list[Guide]:
    """The accuracy of guessing, where it is the same for all runs and on the chart."""
    counts = {len(figures.listed(figures.part(run.about, "data"), "classes")) for run in runs}
    classes = counts.pop()
    if counts or classes < 2 or not y.low < 1 / classes < y.high:
        return []
    return [
        Guide(value=1 / classes, name=f"guessing, {figures.percent(1 / classes)}", side="right")
    ]
