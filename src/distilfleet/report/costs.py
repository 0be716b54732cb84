"""What each round took: bytes, energy and answers, and whatever else a method wrote down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.units import pretty_bytes, pretty_j
from ..record.history import History
from . import figures
from .charts import Chart, Series, bar_chart, line_chart
from .curves import far_apart, say_round, tones
from .figures import Value
from .html import Html
from .scale import Axis, amount_axis, decade_axis, free_axis, round_axis, slot_axis

_SHOWN = frozenset(
    {
        "round",
        "large_accuracy",
        "small_accuracy",
        "large_loss",
        "small_loss",
        "up_bytes",
        "down_bytes",
        "device_energy_j",
        "server_energy_j",
        "elapsed_s",
        "wall_s",
        "devices",
        "asked",
        "jobs",
        "missed",
        "missed_jobs",
        "planned_s",
        "planned_device_energy_j",
        "planned_server_energy_j",
        "cuts_changed",
        "round_s",
        "server_s",
        "kinds",
    }
)
"""Fields that have a place of their own on the page."""
_MOST_EXTRAS = 12
_TITLES = {
    "proxy_kl_nats": "Distance of the large model from its teachers",
    "tokens": "Tokens trained on",
    "teacher_uploads": "Questions to the teacher",
    "noise_nats": "Account of the noise",
    "below_minimum": "Answers that a round wanted and did not get",
    "told_labels": "Devices that told their label counts",
}
_SUBS = {
    "proxy_kl_nats": "KL divergence on the proxy data, nats, from the consensus that the large "
    "model learns.",
    "tokens": "Predicted by the student, all devices.",
    "teacher_uploads": "Samples that were sent for the teacher too, as the server remembered no "
    "answer for them.",
    "below_minimum": "Where fewer devices answered than --minimum asks for. Only a simulated fleet "
    "counts such rounds.",
    "told_labels": "The others’ owners did not agree; each of their classes counts the same.",
    "noise_nats": "The most, in nats, that any one sample’s smashed data may have told so far.",
}
_FROM_NOTHING = frozenset({"tokens", "teacher_uploads", "told_labels", "below_minimum"})
"""Fields that are counts: their axis begins at 0."""
_TONE = 8
"""First of the two shades that stacked bars have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One kind of cost and the fields that add up to it, each with its name in a stack."""

    title: str
    sub: str
    show: Callable[[float], str]
    fields: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Bars of several parts, one for each round."""

    title: str
    sub: str
    values: Mapping[str, Sequence[Value]]
    """The parts by name, the lowest first."""
    show: Callable[[float], str]


_BYTES = Cost(
    title="Data sent in each round",
    sub="Bytes of the encoded messages, whole fleet.",
    show=pretty_bytes,
    fields={"up_bytes": "from devices", "down_bytes": "to devices"},
)
_ENERGY = Cost(
    title="Energy in each round",
    sub="Devices and server together, modelled.",
    show=pretty_j,
    fields={"device_energy_j": "devices", "server_energy_j": "server"},
)


def cost_charts(run: History) -> list[Html]:
    """Bytes, energy and answers of each round, stacked."""
    stacks = [_stack(run, cost) for cost in (_BYTES, _ENERGY) if figures.total(run, *cost.fields)]
    return [*stacks, *_answers(run)]


def _answers(run: History) -> list[Html]:
    """Devices that answered or did not; and missed jobs, where that is another matter."""
    answered = figures.series(run, "devices")
    missed = figures.series(run, "missed")
    silent = figures.silent(run)
    charts = []
    if any(answered) or any(silent):
        stack = Stack(
            title="Answers in each round",
            sub="Devices that were asked for work.",
            values={"did not answer": silent, "answered": answered},
            show=figures.plain,
        )
        charts.append(_stacked(run, stack))
    if any(missed) and missed != silent:
        stack = Stack(
            title="Missed jobs in each round",
            sub="A device has many jobs in a round; after one that it misses it is left out until "
            "the next round.",
            values={"missed jobs": missed},
            show=figures.plain,
        )
        charts.append(_stacked(run, stack))
    return charts


def cost_lines(runs: Sequence[History]) -> list[Html]:
    """Bytes and energy of each round, a line for each run."""
    return [
        _lines(runs, cost)
        for cost in (_BYTES, _ENERGY)
        if any(figures.total(run, *cost.fields) for run in runs)
    ]


def extra_charts(runs: Sequence[History]) -> list[Html]:
    """Whatever else a method wrote down, one chart for each field."""
    fields = {field for run in runs for field in _extra_fields(run)}
    return [_extra(runs, field) for field in sorted(fields)[:_MOST_EXTRAS]]


def _extra_fields(run: History) -> set[str]:
    """Fields with numbers that have no place of their own."""
    written = {field for row in run.rounds for field in row}
    return {field for field in written - _SHOWN if figures.has(run, field)}


def _stack(run: History, cost: Cost) -> Html:
    values = {name: figures.series(run, field) for field, name in cost.fields.items()}
    return _stacked(run, Stack(title=cost.title, sub=cost.sub, values=values, show=cost.show))


def _stacked(run: History, stack: Stack) -> Html:
    rounds = figures.round_numbers(run)
    series = []
    for place, (name, ys) in enumerate(stack.values.items()):
        if any(ys):
            series.append(Series(name=name, tone=_TONE + place, xs=rounds, ys=ys))
    sums = [
        sum(value or 0.0 for value in column) for column in zip(*stack.values.values(), strict=True)
    ]
    x = slot_axis(rounds[0], rounds[-1])
    y = amount_axis("", max(sums), stack.show)
    return bar_chart(_chart(stack.title, stack.sub, series, x, y))


def _lines(runs: Sequence[History], cost: Cost) -> Html:
    spent = [[value or None for value in figures.per_round(run, *cost.fields)] for run in runs]
    series = _by_run(runs, figures.names(runs), spent)
    y = _amounts(series, cost.show)
    sub = f"{cost.sub} {y.label}".strip()
    return line_chart(_chart(cost.title, sub, series, _rounds(series), y))


def _amounts(series: Sequence[Series], show: Callable[[float], str]) -> Axis:
    values = [y for one in series for _, y in one.points]
    if far_apart([one.points[-1][1] for one in series]):
        return decade_axis("Logarithmic.", min(values), max(values), show)
    return amount_axis("", max(values), show)


def _extra(runs: Sequence[History], field: str) -> Html:
    names = figures.names(runs) if len(runs) > 1 else [field.replace("_", " ")]
    series = _by_run(runs, names, [figures.series(run, field) for run in runs])
    values = [y for one in series for _, y in one.points]
    if field in _FROM_NOTHING:
        y = amount_axis(field, max(values), figures.plain)
    else:
        y = free_axis(field, values, figures.plain)
    sub = _SUBS.get(field, "As the method wrote it down.")
    return line_chart(_chart(_TITLES.get(field, field), sub, series, _rounds(series), y))


def _by_run(
    runs: Sequence[History], names: Sequence[str], values: Sequence[Sequence[Value]]
) -> list[Series]:
    """One line for each run that has values."""
    lines = []
    for run, name, ys, tone in zip(runs, names, values, tones(runs), strict=True):
        if any(y is not None for y in ys):
            xs = figures.round_numbers(run)
            lines.append(Series(name=name, tone=tone, xs=xs, ys=ys))
    return lines


def _rounds(series: Sequence[Series]) -> Axis:
    ends = [x for one in series for x in one.xs]
    return round_axis(int(min(ends)), int(max(ends)))


def _chart(title: str, sub: str, series: Sequence[Series], x: Axis, y: Axis) -> Chart:
    return Chart(title=title, sub=sub, series=series, x=x, y=y, say_x=say_round, say_y=y.show)
