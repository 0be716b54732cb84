"""Which charts a page has: quality against rounds, bytes and time, and the cost of each round. For one run or several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.units import pretty_bytes, pretty_j, pretty_s
from ..record.history import History
from . import figures
from .charts import Chart, Series, bar_chart, line_chart
from .figures import Value
from .html import Html
from .scale import Axis, accuracy_axis, amount_axis, free_axis, reach_axis, round_axis, slot_axis

KNOWN = frozenset(
    "round large_accuracy small_accuracy large_loss small_loss up_bytes down_bytes device_energy_j server_energy_j "
    "elapsed_s wall_s devices missed missed_jobs".split()
)
"""Fields that a chart, a figure or a table of the page already shows."""
_MOST_EXTRAS = 12
_TITLES = {"proxy_kl_nats": "Distance of the large model from its teachers"}
_SUBS = {"proxy_kl_nats": "KL divergence on the proxy data, nats; falls as the large model takes up what the small ones know."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottom:
    """What quality is drawn against."""

    title: str
    label: str
    places: Callable[[History], Sequence[float]]
    show: Callable[[float], str]


def _round(value: float) -> str:
    return f"round {value:.0f}"


def _cumulative_bytes(run: History) -> list[float]:
    return figures.cumulative(figures.per_round(run, "up_bytes", "down_bytes"))


def _elapsed_s(run: History) -> list[float]:
    found = figures.series(run, "elapsed_s")
    return [value or 0.0 for value in found]


_ROUNDS = Bottom(title="by round", label="round", places=figures.round_numbers, show=_round)
_BYTES = Bottom(title="by data sent", label="bytes over the air so far, whole fleet, up and down",
                places=_cumulative_bytes, show=pretty_bytes)  # fmt: skip
_TIME = Bottom(title="by time", label="modelled time since the start", places=_elapsed_s, show=pretty_s)


def quality_charts(runs: Sequence[History]) -> list[Html]:
    """Against rounds, bytes and time; those for which there is nothing to show are left out."""
    fields = [f for f in _quality_fields(runs) if any(figures.has(run, f) for run in runs)]
    if not fields:
        return []
    bottoms = [_ROUNDS]
    if any(figures.total(run, "up_bytes", "down_bytes") for run in runs):
        bottoms.append(_BYTES)
    if any(figures.has(run, "elapsed_s") for run in runs):
        bottoms.append(_TIME)
    return [_quality_chart(runs, fields, bottom) for bottom in bottoms]


def _quality_fields(runs: Sequence[History]) -> list[str]:
    kind = figures.quality(next((run for run in runs if run.rounds), runs[0]))
    return [f"large_{kind}", f"small_{kind}"]


def _quality_chart(runs: Sequence[History], fields: Sequence[str], bottom: Bottom) -> Html:
    series = [one for place, run in enumerate(runs) for one in _quality_series(runs, run, place, fields, bottom)]
    values = [y for one in series for _, y in one.points]
    accuracy = fields[0].endswith("accuracy")
    y = accuracy_axis(values) if accuracy else free_axis("nats per token", values, figures.plain)
    kind = "Accuracy" if accuracy else "Loss"
    sub = "Share of held-out samples classified right." if accuracy else "Nats per token on held-out text; lower is better."
    chart = Chart(
        title=f"{kind} {bottom.title}", sub=sub, series=series, x=_bottom_axis(runs, bottom), y=y,
        say_x=bottom.show, say_y=figures.percent if accuracy else figures.nats, guide=_chance(runs, y, accuracy),
    )  # fmt: skip
    return line_chart(chart)


def _quality_series(
    runs: Sequence[History], run: History, place: int, fields: Sequence[str], bottom: Bottom
) -> list[Series]:
    several, name = len(runs) > 1, figures.names(runs)[place]
    return [
        Series(
            name=f"{name}, {_who(field)}" if several else _who(field).capitalize(),
            tone=tone(place) if several else int(field.startswith("small")),
            dashed=field.startswith("small"),
            xs=bottom.places(run),
            ys=figures.series(run, field),
        )
        for field in fields
        if figures.has(run, field)
    ]


def tone(place: int) -> int:
    """The colour of a run on a comparison page."""
    return place % 8


def _who(field: str) -> str:
    return "large model" if field.startswith("large") else "small models, mean"


def _bottom_axis(runs: Sequence[History], bottom: Bottom) -> Axis:
    ends = [place for run in runs for place in bottom.places(run)]
    if bottom is _ROUNDS:
        return round_axis(int(min(ends)), int(max(ends)))
    return reach_axis(bottom.label, max(ends), bottom.show)


def _chance(runs: Sequence[History], y: Axis, accuracy: bool) -> tuple[float, str] | None:
    """The accuracy of guessing, where it is known and on the chart."""
    counts = {len(figures.listed(figures.part(run.about, "data"), "classes")) for run in runs}
    classes = counts.pop()
    if not accuracy or counts or classes < 2 or not y.low < 1 / classes < y.high:
        return None
    return 1 / classes, f"guessing, {figures.percent(1 / classes)}"


# --- cost of each round -----------------------------------------------------------------------------------------


def cost_charts(run: History) -> list[Html]:
    """Bytes, energy and answers of each round, stacked."""
    energy = "Devices and server together, modelled."
    stacks = [
        ("Data sent in each round", "Bytes of the encoded messages, whole fleet.", pretty_bytes,
         {"up_bytes": "from devices", "down_bytes": "to devices"}),
        ("Energy in each round", energy, pretty_j, {"device_energy_j": "devices", "server_energy_j": "server"}),
        ("Answers in each round", "Devices that were asked for work.", figures.plain,
         {"devices": "answered", "missed": "missed"}),
    ]  # fmt: skip
    return [_stack(run, *stack) for stack in stacks if figures.total(run, *stack[3])]


def _stack(run: History, title: str, sub: str, show: Callable[[float], str], fields: dict[str, str]) -> Html:
    rounds = figures.round_numbers(run)
    series = [
        Series(name=name, tone=8 + place, xs=rounds, ys=figures.series(run, field))
        for place, (field, name) in enumerate(fields.items())
        if figures.total(run, field)
    ]
    most = max(value or 0.0 for value in figures.per_round(run, *fields))
    return bar_chart(
        Chart(title=title, sub=sub, series=series, x=slot_axis(rounds[0], rounds[-1]),
              y=amount_axis(title, most, show), say_x=_round, say_y=show)
    )  # fmt: skip


def cost_lines(runs: Sequence[History]) -> list[Html]:
    """Bytes and energy of each round, a line for each run."""
    kinds = [
        ("Data sent in each round", "Bytes of the encoded messages, whole fleet, up and down.", pretty_bytes,
         ("up_bytes", "down_bytes")),
        ("Energy in each round", "Devices and server together, modelled.", pretty_j,
         ("device_energy_j", "server_energy_j")),
    ]  # fmt: skip
    return [_lines(runs, *kind) for kind in kinds if any(figures.total(run, *kind[3]) for run in runs)]


def _lines(
    runs: Sequence[History], title: str, sub: str, show: Callable[[float], str], fields: tuple[str, ...]
) -> Html:
    names = figures.names(runs)
    series = [
        Series(name=names[i], tone=tone(i), xs=figures.round_numbers(run), ys=figures.per_round(run, *fields))
        for i, run in enumerate(runs)
        if run.rounds
    ]
    most = max(y for one in series for _, y in one.points)
    return line_chart(
        Chart(title=title, sub=sub, series=series, x=_bottom_axis(runs, _ROUNDS), y=amount_axis(title, most, show),
              say_x=_round, say_y=show)
    )  # fmt: skip


def extra_charts(runs: Sequence[History]) -> list[Html]:
    """Whatever else a method wrote down, one chart for each field."""
    fields = sorted({f for run in runs for row in run.rounds for f in row if f not in KNOWN and figures.has(run, f)})
    return [_extra(runs, field) for field in fields[:_MOST_EXTRAS]]


def _extra(runs: Sequence[History], field: str) -> Html:
    names = figures.names(runs) if len(runs) > 1 else [field]
    series: list[Series] = []
    for place, run in enumerate(runs):
        ys: list[Value] = figures.series(run, field)
        if figures.has(run, field):
            series.append(Series(name=names[place], tone=tone(place), xs=figures.round_numbers(run), ys=ys))
    values = [y for one in series for _, y in one.points]
    return line_chart(
        Chart(title=_TITLES.get(field, field), sub=_SUBS.get(field, "As the method wrote it down."), series=series, x=_bottom_axis(runs, _ROUNDS),
              y=free_axis(field, values, figures.plain), say_x=_round, say_y=figures.plain)
    )  # fmt: skip
