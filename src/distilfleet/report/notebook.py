"""What a notebook shows of runs: a line for a progress bar, a table of final figures, a figure of
matplotlib."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..core.units import pretty_bytes
from ..record.history import History
from . import curves, figures
from .table import text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIELDS = ("large_accuracy", "small_accuracy", "large_loss", "small_loss")
SIZE_INCHES = (10.0, 3.8)
MEGABYTE = 1e6


def standing(metrics: Mapping[str, Any]) -> str:
    """The quality of a round, and what travelled in it, if anything did: round 0 is a start."""
    known = [
        f"{field.replace('_', ' ')} {figures.pretty(field, metrics[field])}"
        for field in FIELDS
        if field in metrics
    ]
    sent = [f"sent {pretty_bytes(metrics['up_bytes'])}"] if "up_bytes" in metrics else []
    return ", ".join([*known, *sent])


def final_table(runs: Sequence[History]) -> str:
    """The final figures as HTML."""
    return f"<pre>{escape(text_table(runs))}</pre>"


def figure(runs: Sequence[History]) -> "Figure":
    """Quality by round, and by megabytes sent so far: solid for large models, dashed for small
    ones.

    The colours are those of the page: one for each run where there are several, else one for each
    size of model.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=SIZE_INCHES, layout="constrained")
    by_round, by_bytes = drawn.subplots(1, 2, sharey=True)
    for place, run in enumerate(runs):
        rounds = [float(number) for number in figures.round_numbers(run)]
        sent_bytes = figures.cumulative(figures.per_round(run, "up_bytes", "down_bytes"))
        sent_mb = [sent / MEGABYTE for sent in sent_bytes]
        for axes, xs in ((by_round, rounds), (by_bytes, sent_mb)):
            _draw(axes, runs, place, xs)
    kind = figures.quality(runs[0])
    by_round.set(xlabel="round", ylabel="accuracy" if kind == "accuracy" else "nats per token")
    by_bytes.set(xlabel="MB sent so far, whole fleet")
    for axes in (by_round, by_bytes):
        axes.grid(color=_colour("rule"))
        axes.spines[["top", "right"]].set_visible(False)
    by_round.legend(frameon=False)
    return drawn


def _draw(axes: "Axes", runs: Sequence[History], place: int, xs: Sequence[float]) -> None:
    """The lines of one run."""
    for field, label in _lines(runs, place):
        is_small = field.startswith("small")
        tone = curves.tones(runs)[place] if len(runs) > 1 else int(is_small)
        ys = [float("nan") if y is None else y for y in figures.series(runs[place], field)]
        style = "--" if is_small else "-"
        axes.plot(xs, ys, style, color=_colour(f"t{tone}"), label=label)


def _lines(runs: Sequence[History], place: int) -> Iterator[tuple[str, str]]:
    """The fields of quality that a run has, and what its lines are called."""
    run = runs[place]
    for size in ("large", "small"):
        field = f"{size}_{figures.quality(run)}"
        who = figures.who(run, size)
        if figures.has(run, field):
            yield field, f"{figures.names(runs)[place]}, {who}" if len(runs) > 1 else who


def _colour(name: str) -> str:
    """A colour of the page, as it is on white."""
    return _colours()[name]


@cache
def _colours() -> Mapping[str, str]:
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    light = style[: style.index("@media")]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))
