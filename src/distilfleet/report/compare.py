"""The comparison page: final figures side by side, one colour for each run, and what sets the runs
apart."""

import math
from collections.abc import Sequence

from ..core.units import pretty_bytes, pretty_s
from ..record.history import History
from . import costs, curves, details, figures, headline, repeats, story
from .audit import PROTECTS
from .charts import key
from .differences import cautions, differing_settings, groups
from .html import Html, join, paragraph, tag
from .html_table import scrolled
from .table import COLUMNS, Column, Row, best_rows, heading, rounds_done, summary

_BOTH = (
    "One colour for each run. Solid: the large model. Dashed: the small models, their mean, or the "
    "one student."
)
_ONE = "One colour for each run: its small models, their mean, or its one student."


def body(runs: Sequence[History]) -> Html:
    """The page of several runs, without head and scripts."""
    line = ", ".join(dict.fromkeys(story.title(run) for run in runs))
    header = headline.header("distilfleet · comparison", f"{len(runs)} runs compared", line, None)
    sections = [
        _cautions(runs),
        _protection(runs),
        _notes(runs),
        _final(runs),
        headline.modelled(runs[0]),
        _target(runs),
        _results(runs),
        _costs(runs),
        _differing(runs),
        _each(runs),
    ]
    return join(header, tag("main", *sections), headline.footer())


def _cautions(runs: Sequence[History]) -> Html | None:
    found = cautions(runs)
    return headline.callout("Not like with like", found) if found else None


def _notes(runs: Sequence[History]) -> Html | None:
    """Those of all runs once, then those of some."""
    notes = [_own_notes(run) for run in runs]
    common = [note for note in dict.fromkeys(notes[0]) if all(note in own for own in notes)]
    lines = [f"all runs: {note}" for note in common]
    for name, own in zip(figures.names(runs), notes, strict=True):
        lines += [f"{name}: {note}" for note in own if note not in common]
    return headline.noted(lines)


def _own_notes(run: History) -> list[str]:
    return [str(note) for note in figures.listed(run.about, "notes")]


def _protection(runs: Sequence[History]) -> Html | None:
    """What the server learns in each run, where a split one is among them."""
    if not any(figures.is_split(run) for run in runs):
        return None
    disclosures = []
    for name, run in zip(figures.names(runs), runs, strict=True):
        disclosures.append(f"{name}: {run.about.get('disclosure', 'not stated')}.")
    return headline.callout("Who can read the data", [*disclosures, PROTECTS])


def _results(runs: Sequence[History]) -> Html | None:
    charts = curves.quality_charts(runs)
    if not charts:
        return None
    lead = paragraph(_BOTH if curves.draws_large(runs) else _ONE, "lead")
    return tag("section", tag("h2", "Results"), lead, tag("div", *charts, class_="grid wide-first"))


def _costs(runs: Sequence[History]) -> Html | None:
    charts = [*costs.cost_lines(runs), *costs.extra_charts(runs)]
    if not charts:
        return None
    return tag("section", tag("h2", "What each round took"), tag("div", *charts, class_="grid"))


# --- final figures --------------------------------------------------------------------------------


_LEGEND = (
    "A dot marks what is best in its column by more than seeds differ. Savings are the least over "
    "a run’s small models."
)


def _final(runs: Sequence[History]) -> Html:
    lines = [paragraph(line) for line in repeats.sentences(runs)]
    return tag(
        "section",
        tag("h2", "Final figures"),
        _final_table(runs),
        *lines,
        paragraph(_LEGEND, "fine"),
    )


def _final_table(runs: Sequence[History]) -> Html:
    rows = summary(runs)
    columns = [
        column for column in COLUMNS if any(getattr(row, column.field) is not None for row in rows)
    ]
    heads = [figures.capital(heading(column, runs)) for column in columns]
    sets = groups(runs)
    best = {column.field: best_rows(rows, column, sets) for column in columns}
    tones = curves.tones(runs)
    lines = []
    for place, row in enumerate(rows):
        cells = [_cell(row, column, place in best[column.field]) for column in columns]
        lines.append([_name(row, tones[place]), row.recipe, rounds_done(row), *cells])
    return scrolled(["Run", "Recipe", "Rounds", *heads], lines, "final recipes")


def _name(row: Row, tone: int) -> Html:
    return join(key(tone), row.run)


def _cell(row: Row, column: Column, best: bool) -> Html:
    shown = figures.pretty(column.field, getattr(row, column.field))
    return tag("b", shown, tag("span", " (best)", class_="unseen")) if best else join(shown)


# --- what it takes to get equally far -------------------------------------------------------------


def _target(runs: Sequence[History]) -> Html | None:
    """What each run spent to reach a quality that all of them reach."""
    field = _judged(runs)
    goal = _goal(runs, field)
    if goal is None:
        return None
    rows = []
    for row, run, tone in zip(summary(runs), runs, curves.tones(runs), strict=True):
        if figures.has(run, field):
            rows.append([_name(row, tone), *_spent(run, field, goal)])
    is_accuracy = field.endswith("accuracy")
    which = "large model" if field.startswith("large") else "small models"
    what = "an accuracy" if is_accuracy else "a loss"
    lead = (
        f"First round in which the {which} reached {what} that every run with such a model reaches."
    )
    shown = f"{100 * goal:.0f} %" if is_accuracy else f"{goal:.1f} nats per token"
    table = scrolled(("Run", "Round", "Data sent, whole fleet", _clock(runs)), rows, "final")
    return tag(
        "section", tag("h2", f"What it took to reach {shown}"), paragraph(lead, "lead"), table
    )


def _clock(runs: Sequence[History]) -> str:
    name = next(heading(column, runs) for column in COLUMNS if column.field == "elapsed_s")
    return figures.capital(name)


def _judged(runs: Sequence[History]) -> str:
    """The field that most runs learn."""
    fields = [f"{size}_{kind}" for kind in ("accuracy", "loss") for size in ("large", "small")]
    return max(fields, key=lambda field: sum(_learns(run, field) for run in runs))


def _learns(run: History, field: str) -> bool:
    """Whether the run has the field and learns it; a teacher that stays as it is says nothing about
    a run."""
    is_teacher = field.startswith("large") and figures.frozen_teacher(run)
    return figures.has(run, field) and not is_teacher


def _goal(runs: Sequence[History], field: str) -> float | None:
    """What all runs reach, in steps of 5 % or of a tenth of a nat; None where fewer than two have
    the field."""
    reached = [best[0] for run in runs if (best := figures.best(run, field))]
    if len(reached) < 2:
        return None
    if field.endswith("accuracy"):
        goal = math.floor(20 * min(reached) + 1e-9) / 20
    else:
        goal = math.ceil(10 * max(reached) - 1e-9) / 10
    return goal if goal > 0 else None


def _spent(run: History, field: str, value: float) -> list[str]:
    """The round in which the run reached the value, and what it had spent by then."""
    sign = 1 if field.endswith("accuracy") else -1
    found = enumerate(figures.series(run, field))
    place = next(i for i, own in found if own is not None and sign * own >= sign * value)
    sent = figures.cumulative(figures.per_round(run, "up_bytes", "down_bytes"))
    elapsed = figures.number(run.rounds[place], "elapsed_s")
    clock = pretty_s(elapsed) if elapsed is not None else "–"
    return [str(figures.round_numbers(run)[place]), pretty_bytes(sent[place]), clock]


# --- what sets the runs apart ---------------------------------------------------------------------


def _differing(runs: Sequence[History]) -> Html:
    heading = tag("h2", "Settings that differ")
    found = differing_settings(runs)
    if not found:
        return tag("section", heading, paragraph("None: all settings are the same."))
    labels = figures.names(runs)
    rows = []
    for setting, values in found.items():
        own = [values[name] for name in labels]
        rows.append([setting, *("–" if value is None else details.written(value) for value in own)])
    return tag("section", heading, scrolled(["Setting", *labels], rows))


def _each(runs: Sequence[History]) -> Html:
    named = zip(runs, figures.names(runs), curves.tones(runs), strict=True)
    folds = [_run(run, name, tone) for run, name, tone in named]
    return tag("section", tag("h2", "Each run"), *folds)


def _run(run: History, name: str, tone: int) -> Html:
    line = f"{name}: {story.title(run)}. {headline.standing(run).words}"
    disclosure = str(run.about.get("disclosure", "not stated"))
    return tag(
        "details",
        tag("summary", key(tone), line),
        paragraph(" ".join(story.story(run))),
        tag("p", tag("strong", "What the server learns: "), disclosure),
        details.command_box(run),
    )
