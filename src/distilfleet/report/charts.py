"""Charts as static SVG that stretches to any width, with words as HTML on top so that they keep
their size.

Each mark carries its places (`data-at`) and read-outs (`data-x`, `data-y`), from which page.js
answers a pointer or the arrow keys; without JavaScript the charts stay complete.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .figures import Value
from .html import Html, join, paragraph, tag
from .scale import SPAN, Axis

_FEW = 12
"""The number of points up to which each gets a dot; beyond, only the last."""
_MANY = 60
"""The number of bars from which on they touch, since gaps would flicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, or one colour of a stack of bars. Where `ys` is None there is a gap."""

    name: str
    tone: int
    """The number of its colour in the style sheet."""
    xs: Sequence[float]
    ys: Sequence[Value]
    dashed: bool = False
    band: Sequence[tuple[float, float]] = ()
    """Least and most in each place, of several runs whose mean the line is; empty of one run."""

    @property
    def points(self) -> list[tuple[float, float]]:
        """The places and values that there are, without gaps."""
        return [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if y is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A level worth comparing with."""

    value: float
    name: str
    side: Literal["left", "right"]
    """Where its name stands: where the lines are elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What to draw: marks, axes and the words around them."""

    title: str
    sub: str
    series: Sequence[Series]
    x: Axis
    y: Axis
    say_x: Callable[[float], str]
    """The read-out of a place along the bottom."""
    say_y: Callable[[float], str]
    guides: Sequence[Guide] = ()


def line_chart(chart: Chart) -> Html:
    """Lines over a common bottom axis."""
    lines = [_line(chart, series) for series in chart.series]
    return _figure(chart, join(*lines), "lines")


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
    style = f"key t{tone} dash" if dashed else f"key t{tone}"
    return tag("i", class_=style)


def _figure(chart: Chart, marks: Html, kind: str) -> Html:
    caption = tag("figcaption", tag("h3", chart.title), paragraph(chart.sub, "sub"))
    plot = tag("div", _picture(chart, marks), _words(chart), class_="plot")
    below = tag("p", chart.x.label, class_="below", aria_hidden="true")
    return tag("figure", caption, _legend(chart), plot, below, class_=f"chart {kind}")


def _picture(chart: Chart, marks: Html) -> Html:
    return tag(
        "svg",
        _grid(chart),
        marks,
        viewBox=f"0 0 {SPAN} {SPAN}",
        preserveAspectRatio="none",
        role="img",
        aria_label=_alternative(chart),
    )


def _words(chart: Chart) -> Html:
    """Ticks and names; hidden from screen readers, since the picture's text alternative says the
    same."""
    words = [*_y_ticks(chart.y), *_x_ticks(chart.x), *_guide_labels(chart)]
    return tag("div", *words, class_="ticks", aria_hidden="true")


def _legend(chart: Chart) -> Html:
    entries = [tag("li", key(series.tone, series.dashed), series.name) for series in chart.series]
    return tag("ul", *entries, class_="legend")


def _alternative(chart: Chart) -> str:
    """The picture in words, for those who do not see it."""
    sentences = [chart.title + ".", chart.sub]
    sentences += [_course(chart, series) for series in chart.series]
    sentences += [f"Beside it: {guide.name}." for guide in chart.guides]
    return " ".join(sentences)


def _course(chart: Chart, series: Series) -> str:
    """From where to where a line goes."""
    points = series.points
    if not points:
        return f"{series.name}: no values."
    first_x, first_y = points[0]
    begin = f"{chart.say_y(first_y)} at {chart.say_x(first_x)}"
    if len(points) == 1:
        return f"{series.name}: {begin}."
    last_x, last_y = points[-1]
    end = f"{chart.say_y(last_y)} at {chart.say_x(last_x)}"
    values = [y for _, y in points]
    reach = f"lowest {chart.say_y(min(values))}, highest {chart.say_y(max(values))}"
    return f"{series.name}: from {begin} to {end}, {reach}."


# --- marks ----------------------------------------------------------------------------------------


def _line(chart: Chart, series: Series) -> Html:
    style = f"line t{series.tone} dash" if series.dashed else f"line t{series.tone}"
    strokes = tag(
        "path", class_=style, d=" ".join(_strokes(chart, series)), **_read_out(chart, series)
    )
    dots = tag("path", class_=f"dots t{series.tone}", d="".join(_dots(chart, series)))
    return join(_band(chart, series), strokes, dots)


def _band(chart: Chart, series: Series) -> Html:
    """A pale area under a line, from the least to the most."""
    if not series.band:
        return join()
    across = [chart.x.place(x) for x in series.xs]
    there = [
        (x, SPAN - chart.y.place(low)) for x, (low, _) in zip(across, series.band, strict=True)
    ]
    back = [
        (x, SPAN - chart.y.place(high)) for x, (_, high) in zip(across, series.band, strict=True)
    ]
    outline = "L".join(f"{x} {y}" for x, y in [*there, *reversed(back)])
    return tag("path", class_=f"band t{series.tone}", d=f"M{outline}z")


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
    shown = points if len(points) <= _FEW else points[-1:]
    for x, y in shown:
        yield f"M{chart.x.place(x)} {SPAN - chart.y.place(y)}h0"


def _bars(chart: Chart, series: Series, base: Sequence[float], tops: Sequence[float]) -> Html:
    width = _bar_width(chart)
    bars = []
    for x, low, high in zip(series.xs, base, tops, strict=True):
        if high > low:
            left = chart.x.place(x) - width // 2
            bottom = SPAN - chart.y.place(low)
            top = SPAN - chart.y.place(high)
            bars.append(f"M{left} {bottom}h{width}V{top}h-{width}z")
    return tag("path", class_=f"bar t{series.tone}", d="".join(bars), **_read_out(chart, series))


def _bar_width(chart: Chart) -> int:
    slot = SPAN / (chart.x.high - chart.x.low)
    filled = 0.72 if slot > SPAN / _MANY else 1.0
    return max(1, min(math.ceil(slot * filled), SPAN // 12))


def _read_out(chart: Chart, series: Series) -> dict[str, str]:
    """What page.js shows under the pointer: places in the picture, and their words."""
    xs = [x for x, _ in series.points]
    ys = [y for _, y in series.points]
    across = [str(chart.x.place(x)) for x in xs]
    upward = [str(chart.y.place(y)) for y in ys]
    return {
        "data_name": series.name,
        "data_at": " ".join(across),
        "data_up": " ".join(upward),
        "data_x": "|".join(map(chart.say_x, xs)),
        "data_y": "|".join(map(chart.say_y, ys)),
    }


# --- grid and words -------------------------------------------------------------------------------


def _grid(chart: Chart) -> Html:
    lines = [_level(chart, y) for y in chart.y.ticks]
    guides = [tag("path", class_="guide", d=_level(chart, guide.value)) for guide in chart.guides]
    return join(tag("path", class_="grid", d="".join(lines)), *guides)


def _level(chart: Chart, value: float) -> str:
    """A line all across the picture."""
    return f"M0 {SPAN - chart.y.place(value)}H{SPAN}"


def _guide_labels(chart: Chart) -> list[Html]:
    labels = []
    for guide in chart.guides:
        place = f"bottom:{chart.y.share(guide.value)}"
        labels.append(tag("span", guide.name, class_=f"gl {guide.side}", style=place))
    return labels


def _y_ticks(axis: Axis) -> list[Html]:
    return [
        tag("span", axis.show(y), class_="yt", style=f"bottom:{axis.share(y)}") for y in axis.ticks
    ]


def _x_ticks(axis: Axis) -> list[Html]:
    return [
        tag("span", axis.show(x), class_="xt", style=f"left:{axis.share(x)}") for x in axis.ticks
    ]
