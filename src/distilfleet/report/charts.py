"""Charts as static SVG that stretches to any width, with words as HTML on top so that they keep their size.

Each mark carries its places (`data-at`) and read-outs (`data-x`, `data-y`), from which page.js answers a pointer
or the arrow keys; without JavaScript the charts stay complete.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .figures import Value
from .html import Html, join, tag
from .scale import SPAN, Axis

_FEW = 12
"""Up to so many points get a dot each; beyond, only the last."""
_MANY = 60
"""From so many bars on they touch, since gaps would flicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, or one colour of a stack of bars. Where `ys` is None there is a gap."""

    name: str
    tone: int
    """Which of the style sheet's colours."""
    xs: Sequence[float]
    ys: Sequence[Value]
    dashed: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if y is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What to draw: marks, axes and the words around them."""

    title: str
    sub: str
    series: Sequence[Series]
    x: Axis
    y: Axis
    say_x: Callable[[float], str]
    """Read-out of a place along the bottom."""
    say_y: Callable[[float], str]
    guides: Sequence[tuple[float, str, str]] = ()
    """Levels worth comparing with, their names, and at which side those stand: where the lines are elsewhere."""


def line_chart(chart: Chart) -> Html:
    """Lines over a common bottom axis."""
    return _figure(chart, join(*(_line(chart, series) for series in chart.series)), "lines")


def bar_chart(chart: Chart) -> Html:
    """Bars, one series stacked on another; all series share the same places along the bottom."""
    base = [0.0] * len(chart.series[0].xs)
    marks: list[Html] = []
    for series in chart.series:
        tops = [low + (y or 0.0) for low, y in zip(base, series.ys, strict=True)]
        marks.append(_bars(chart, series, base, tops))
        base = tops
    return _figure(chart, join(*marks), "bars")


def key(tone: int, dashed: bool = False) -> Html:
    """The sample of a line or bar that stands before its name."""
    return tag("i", class_=f"key t{tone}{' dash' if dashed else ''}")


def _figure(chart: Chart, marks: Html, kind: str) -> Html:
    # hidden from screen readers: the picture's text alternative says the same in one sentence
    words = tag(
        "div", *_y_ticks(chart.y), *_x_ticks(chart.x), *_guide_labels(chart), class_="ticks", aria_hidden="true"
    )
    picture = tag(
        "svg",
        _grid(chart),
        marks,
        viewBox=f"0 0 {SPAN} {SPAN}",
        preserveAspectRatio="none",
        role="img",
        aria_label=_alternative(chart),
    )
    return tag(
        "figure",
        tag("figcaption", tag("h3", chart.title), tag("p", chart.sub, class_="sub")),
        _legend(chart),
        tag("div", picture, words, class_="plot"),
        tag("p", chart.x.label, class_="below", aria_hidden="true"),
        class_=f"chart {kind}",
    )


def _legend(chart: Chart) -> Html:
    return tag("ul", *(_entry(chart, series) for series in chart.series), class_="legend")


def _entry(chart: Chart, series: Series) -> Html:
    return tag("li", key(series.tone, series.dashed), series.name)


def _alternative(chart: Chart) -> str:
    told = " ".join(_told(chart, series) for series in chart.series)
    beside = "".join(f" Beside it: {name}." for _, name, _ in chart.guides)
    return f"{chart.title}. {chart.sub} {told}{beside}"


def _told(chart: Chart, series: Series) -> str:
    points = series.points
    if not points:
        return f"{series.name}: no values."
    (x0, y0), (x1, y1) = points[0], points[-1]
    low, high = min(y for _, y in points), max(y for _, y in points)
    if len(points) == 1:
        return f"{series.name}: {chart.say_y(y0)} at {chart.say_x(x0)}."
    return (
        f"{series.name}: from {chart.say_y(y0)} at {chart.say_x(x0)} to {chart.say_y(y1)} at {chart.say_x(x1)}, "
        f"lowest {chart.say_y(low)}, highest {chart.say_y(high)}."
    )


# --- marks ------------------------------------------------------------------------------------------------------


def _line(chart: Chart, series: Series) -> Html:
    style = f"line t{series.tone}{' dash' if series.dashed else ''}"
    return join(
        tag("path", class_=style, d=" ".join(_strokes(chart, series)), **_read_out(chart, series)),
        tag("path", class_=f"dots t{series.tone}", d="".join(_dots(chart, series))),
    )


def _strokes(chart: Chart, series: Series) -> Iterator[str]:
    pen = "M"
    for x, y in zip(series.xs, series.ys, strict=True):
        if y is None:
            pen = "M"
            continue
        yield f"{pen}{chart.x.place(x)} {SPAN - chart.y.place(y)}"
        pen = "L"


def _dots(chart: Chart, series: Series) -> Iterator[str]:
    """Lines of no length: with round caps they stay circles however the picture is stretched."""
    points = series.points
    for x, y in points if len(points) <= _FEW else points[-1:]:
        yield f"M{chart.x.place(x)} {SPAN - chart.y.place(y)}h0"


def _bars(chart: Chart, series: Series, base: Sequence[float], tops: Sequence[float]) -> Html:
    width = _bar_width(chart)
    path = "".join(
        f"M{chart.x.place(x) - width // 2} {SPAN - chart.y.place(low)}h{width}V{SPAN - chart.y.place(high)}h-{width}z"
        for x, low, high in zip(series.xs, base, tops, strict=True)
        if high > low
    )
    return tag("path", class_=f"bar t{series.tone}", d=path, **_read_out(chart, series))


def _bar_width(chart: Chart) -> int:
    slot = SPAN / (chart.x.high - chart.x.low)
    filled = 0.72 if slot > SPAN / _MANY else 1.0
    return max(1, min(math.ceil(slot * filled), SPAN // 12))


def _read_out(chart: Chart, series: Series) -> dict[str, str]:
    points = series.points
    return {
        "data_name": series.name,
        "data_at": " ".join(str(chart.x.place(x)) for x, _ in points),
        "data_up": " ".join(str(chart.y.place(y)) for _, y in points),
        "data_x": "|".join(chart.say_x(x) for x, _ in points),
        "data_y": "|".join(chart.say_y(y) for _, y in points),
    }


# --- grid and words ---------------------------------------------------------------------------------------------


def _grid(chart: Chart) -> Html:
    lines = "".join(f"M0 {SPAN - chart.y.place(y)}H{SPAN}" for y in chart.y.ticks)
    guides = (tag("path", class_="guide", d=f"M0 {SPAN - chart.y.place(level)}H{SPAN}") for level, _, _ in chart.guides)
    return join(tag("path", class_="grid", d=lines), *guides)


def _guide_labels(chart: Chart) -> list[Html]:
    return [
        tag("span", name, class_=f"gl {side}", style=f"bottom:{chart.y.share(level)}")
        for level, name, side in chart.guides
    ]


def _y_ticks(axis: Axis) -> list[Html]:
    return [tag("span", axis.show(y), class_="yt", style=f"bottom:{axis.share(y)}") for y in axis.ticks]


def _x_ticks(axis: Axis) -> list[Html]:
    return [tag("span", axis.show(x), class_="xt", style=f"left:{axis.share(x)}") for x in axis.ticks]
