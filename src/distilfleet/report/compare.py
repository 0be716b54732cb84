"""The comparison page: final figures side by side, one colour for each run, and what sets the runs apart."""

import math
from collections.abc import Sequence

from ..core.units import pretty_bytes, pretty_s
from ..record.history import History
from . import curves, details, figures, headline, story
from .charts import key
from .differences import cautions, differing_settings
from .html import Html, join, tag
from .table import COLUMNS, Column, Row, best_rows, rounds_done, summary


def body(runs: Sequence[History]) -> Html:
    line = ", ".join(dict.fromkeys(story.title(run) for run in runs))
    return join(
        headline.header("distilfleet · comparison", f"{len(runs)} runs compared", line, None),
        tag(
            "main",
            _cautions(runs),
            _notes(runs),
            _final(runs),
            headline.modelled(runs[0]),
            _target(runs),
            _charts("Results", curves.quality_charts(runs), wide_first=True),
            _charts("What each round took", [*curves.cost_lines(runs), *curves.extra_charts(runs)]),
            _differing(runs),
            _each(runs),
        ),
        tag("footer", tag("p", "Written by distilfleet from the run records. This file stands alone: it loads nothing and sends nothing.")),
    )


def _cautions(runs: Sequence[History]) -> Html | None:
    found = cautions(runs)
    return headline.callout("Not like with like", found) if found else None


def _notes(runs: Sequence[History]) -> Html | None:
    labels = figures.names(runs)
    found = [f"{labels[i]}: {note}" for i, run in enumerate(runs) for note in figures.listed(run.about, "notes")]
    return headline.callout("Read this first", found) if found else None


def _charts(name: str, charts: Sequence[Html], wide_first: bool = False) -> Html | None:
    if not charts:
        return None
    grid = tag("div", *charts, class_="grid wide-first" if wide_first else "grid")
    return tag("section", tag("h2", name), grid)


# --- final figures ----------------------------------------------------------------------------------------------


def _final(runs: Sequence[History]) -> Html:
    rows = summary(runs)
    columns = [column for column in COLUMNS if any(getattr(row, column.field) is not None for row in rows)]
    best = {column.field: best_rows(rows, column) for column in columns}
    heads = ["Run", "Recipe", "Rounds", *(column.name[:1].upper() + column.name[1:] for column in columns)]
    cells = [[_name(row, i), row.recipe, rounds_done(row), *(_cell(row, c, i in best[c.field]) for c in columns)]
             for i, row in enumerate(rows)]  # fmt: skip
    return tag("section", tag("h2", "Final figures"), details.scrolled(heads, cells, "final"),
               tag("p", "A dot marks the best of each column. Savings are the least over a run’s small models.", class_="fine"))  # fmt: skip


def _name(row: Row, place: int) -> Html:
    return join(key(row.run, curves.tone(place)), row.run)


def _cell(row: Row, column: Column, best: bool) -> Html:
    shown = figures.pretty(column.field, getattr(row, column.field))
    return tag("b", shown, tag("span", " (best)", class_="unseen")) if best else join(shown)


# --- what it takes to get equally far ---------------------------------------------------------------------------


def _target(runs: Sequence[History]) -> Html | None:
    """What each run spent to reach an accuracy that all of them reach."""
    field = next((f for f in ("large_accuracy", "small_accuracy") if all(figures.has(run, f) for run in runs)), None)
    if field is None:
        return None
    tops = [best[0] for run in runs if (best := figures.best(run, field))]
    goal = math.floor(20 * min(tops) + 1e-9) / 20
    if goal <= 0:
        return None
    which = "large model" if field.startswith("large") else "small models"
    rows = [[_name(row, i), *_spent(run, field, goal)] for i, (row, run) in enumerate(zip(summary(runs), runs, strict=True))]
    return tag(
        "section",
        tag("h2", f"What it took to reach {100 * goal:.0f} %"),
        tag("p", f"First round in which the {which} reached an accuracy that every run reaches.", class_="lead"),
        details.scrolled(("Run", "Round", "Data sent, whole fleet", "Time"), rows, "final"),
    )


def _spent(run: History, field: str, goal: float) -> list[str]:
    place = next(i for i, value in enumerate(figures.series(run, field)) if value is not None and value >= goal)
    sent = figures.cumulative(figures.per_round(run, "up_bytes", "down_bytes"))[place]
    elapsed = figures.number(run.rounds[place], "elapsed_s")
    return [str(figures.round_numbers(run)[place]), pretty_bytes(sent), pretty_s(elapsed) if elapsed is not None else "–"]


# --- what sets the runs apart -----------------------------------------------------------------------------------


def _differing(runs: Sequence[History]) -> Html:
    found = differing_settings(runs)
    if not found:
        return tag("section", tag("h2", "Settings that differ"), tag("p", "None: all settings are the same."))
    labels = figures.names(runs)
    heads = ["Setting", *labels]
    rows = [[setting, *("–" if values[n] is None else details.written(values[n]) for n in labels)]
            for setting, values in found.items()]  # fmt: skip
    return tag("section", tag("h2", "Settings that differ"), details.scrolled(heads, rows))


def _each(runs: Sequence[History]) -> Html:
    return tag("section", tag("h2", "Each run"), *(_run(run, name, i) for i, (run, name) in
               enumerate(zip(runs, figures.names(runs), strict=True))))  # fmt: skip


def _run(run: History, name: str, place: int) -> Html:
    return tag(
        "details",
        tag("summary", key(name, curves.tone(place)), f"{name}: {story.title(run)}. {headline.standing(run)[1]}"),
        tag("p", " ".join(story.story(run))),
        tag("p", tag("strong", "What the server learns: "), str(run.about.get("disclosure", "not stated"))),
        tag("div", tag("pre", tag("code", details.command(run)), tabindex=0), class_="command"),
    )
