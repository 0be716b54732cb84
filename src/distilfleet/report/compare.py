"""The comparison page: final figures side by side, one colour for each run, and what sets the runs apart."""

import math
from collections.abc import Sequence

from ..core.units import pretty_bytes, pretty_s
from ..record.history import History
from . import costs, curves, details, figures, headline, repeats, story
from .audit import PROTECTS
from .charts import key
from .differences import cautions, differing_settings, groups
from .html import Html, join, tag
from .table import COLUMNS, Column, Row, best_rows, heading, rounds_done, summary

_BOTH = "One colour for each run. Solid: the large model. Dashed: the small models, their mean, or the one student."
_ONE = "One colour for each run: its small models, their mean, or its one student."


def body(runs: Sequence[History]) -> Html:
    line = ", ".join(dict.fromkeys(story.title(run) for run in runs))
    return join(
        headline.header("distilfleet · comparison", f"{len(runs)} runs compared", line, None),
        tag(
            "main",
            _cautions(runs),
            _protection(runs),
            _notes(runs),
            _final(runs),
            headline.modelled(runs[0]),
            _target(runs),
            _charts("Results", curves.quality_charts(runs), _BOTH if curves.draws_large(runs) else _ONE),
            _charts("What each round took", [*costs.cost_lines(runs), *costs.extra_charts(runs)]),
            _differing(runs),
            _each(runs),
        ),
        headline.footer(),
    )


def _cautions(runs: Sequence[History]) -> Html | None:
    found = cautions(runs)
    return headline.callout("Not like with like", found) if found else None


def _notes(runs: Sequence[History]) -> Html | None:
    """Those of all runs once, then those of some."""
    labels, said = figures.names(runs), [[str(note) for note in figures.listed(run.about, "notes")] for run in runs]
    common = [note for note in dict.fromkeys(said[0]) if all(note in own for own in said)]
    rest = [f"{labels[i]}: {note}" for i, own in enumerate(said) for note in own if note not in common]
    return headline.noted([*(f"all runs: {note}" for note in common), *rest])


def _protection(runs: Sequence[History]) -> Html | None:
    """What the server learns in each run, where a split one is among them."""
    if not any(figures.is_split(run) for run in runs):
        return None
    labels = figures.names(runs)
    told = [f"{labels[i]}: {run.about.get('disclosure', 'not stated')}." for i, run in enumerate(runs)]
    return headline.callout("Who can read the data", [*told, PROTECTS])


def _charts(name: str, charts: Sequence[Html], lead: str | None = None) -> Html | None:
    if not charts:
        return None
    grid = tag("div", *charts, class_="grid wide-first" if lead else "grid")
    return tag("section", tag("h2", name), tag("p", lead, class_="lead") if lead else None, grid)


# --- final figures ----------------------------------------------------------------------------------------------


def _final(runs: Sequence[History]) -> Html:
    rows = summary(runs)
    columns = [column for column in COLUMNS if any(getattr(row, column.field) is not None for row in rows)]
    sets = groups(runs)
    best = {column.field: best_rows(rows, column, sets) for column in columns}
    names = [heading(column, runs) for column in columns]
    heads = ["Run", "Recipe", "Rounds", *(name[:1].upper() + name[1:] for name in names)]
    cells = [
        [_name(row, i), row.recipe, rounds_done(row), *(_cell(row, c, i in best[c.field]) for c in columns)]
        for i, row in enumerate(rows)
    ]
    legend = (
        "A dot marks what is best in its column by more than seeds differ. Savings are the least over a run’s small "
        "models."
    )
    table = details.scrolled(heads, cells, "final recipes")
    lines = [tag("p", line) for line in repeats.told(runs)]
    return tag("section", tag("h2", "Final figures"), table, *lines, tag("p", legend, class_="fine"))


def _name(row: Row, place: int) -> Html:
    return join(key(curves.tone(place)), row.run)


def _cell(row: Row, column: Column, best: bool) -> Html:
    shown = figures.pretty(column.field, getattr(row, column.field))
    return tag("b", shown, tag("span", " (best)", class_="unseen")) if best else join(shown)


# --- what it takes to get equally far ---------------------------------------------------------------------------


def _target(runs: Sequence[History]) -> Html | None:
    """What each run spent to reach a quality that all of them reach."""
    field = _judged(runs)
    tops = [best[0] for run in runs if (best := figures.best(run, field))]
    goal = _goal(field, tops)
    if len(tops) < 2 or goal <= 0:
        return None
    which = "large model" if field.startswith("large") else "small models"
    what = "an accuracy" if field.endswith("accuracy") else "a loss"
    lead = f"First round in which the {which} reached {what} that every run with such a model reaches."
    rows = [
        [_name(row, i), *_spent(run, field, goal)]
        for i, (row, run) in enumerate(zip(summary(runs), runs, strict=True))
        if figures.has(run, field)
    ]
    shown = f"{100 * goal:.0f} %" if field.endswith("accuracy") else f"{goal:.1f} nats per token"
    return tag(
        "section",
        tag("h2", f"What it took to reach {shown}"),
        tag("p", lead, class_="lead"),
        details.scrolled(("Run", "Round", "Data sent, whole fleet", _clock(runs)), rows, "final"),
    )


def _clock(runs: Sequence[History]) -> str:
    name = next(heading(column, runs) for column in COLUMNS if column.field == "elapsed_s")
    return name[:1].upper() + name[1:]


def _judged(runs: Sequence[History]) -> str:
    """The field that most runs learn; a teacher that stays as it is says nothing about a run."""
    fields = [f"{size}_{kind}" for kind in ("accuracy", "loss") for size in ("large", "small")]
    learnt = {
        field: sum(
            figures.has(run, field) and not (field.startswith("large") and figures.frozen_teacher(run)) for run in runs
        )
        for field in fields
    }
    return max(fields, key=lambda field: learnt[field])


def _goal(field: str, tops: Sequence[float]) -> float:
    """In steps of 5 %, or of a tenth of a nat."""
    if field.endswith("accuracy"):
        return math.floor(20 * min(tops, default=0.0) + 1e-9) / 20
    return math.ceil(10 * max(tops, default=0.0) - 1e-9) / 10


def _spent(run: History, field: str, value: float) -> list[str]:
    sign = 1 if field.endswith("accuracy") else -1
    place = next(
        i for i, found in enumerate(figures.series(run, field)) if found is not None and sign * found >= sign * value
    )
    sent = figures.cumulative(figures.per_round(run, "up_bytes", "down_bytes"))[place]
    elapsed = figures.number(run.rounds[place], "elapsed_s")
    return [
        str(figures.round_numbers(run)[place]),
        pretty_bytes(sent),
        pretty_s(elapsed) if elapsed is not None else "–",
    ]


# --- what sets the runs apart -----------------------------------------------------------------------------------


def _differing(runs: Sequence[History]) -> Html:
    found = differing_settings(runs)
    if not found:
        return tag("section", tag("h2", "Settings that differ"), tag("p", "None: all settings are the same."))
    labels = figures.names(runs)
    heads = ["Setting", *labels]
    rows = [
        [setting, *("–" if values[n] is None else details.written(values[n]) for n in labels)]
        for setting, values in found.items()
    ]
    return tag("section", tag("h2", "Settings that differ"), details.scrolled(heads, rows))


def _each(runs: Sequence[History]) -> Html:
    return tag(
        "section",
        tag("h2", "Each run"),
        *(_run(run, name, i) for i, (run, name) in enumerate(zip(runs, figures.names(runs), strict=True))),
    )


def _run(run: History, name: str, place: int) -> Html:
    return tag(
        "details",
        tag("summary", key(curves.tone(place)), f"{name}: {story.title(run)}. {headline.standing(run)[1]}"),
        tag("p", " ".join(story.story(run))),
        tag("p", tag("strong", "What the server learns: "), str(run.about.get("disclosure", "not stated"))),
        tag("div", tag("pre", tag("code", details.command(run)), tabindex=0), class_="command"),
    )
