"""One self-contained HTML file for a run, or for several side by side. Loads nothing; complete without JavaScript."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from ..core.units import pretty_bytes
from ..record.history import History
from . import compare, costs, curves, details, figures, fleet, headline, missed, story
from .audit import protection
from .html import Html, join, tag
from .plan_page import plan_section


def write_page(runs: Sequence[History], path: Path) -> None:
    """Write one run's page, or for several a comparison. Raises ValueError if there is no run."""
    if not runs:
        raise ValueError("a page needs at least one run; none was given")
    body = _one(runs[0]) if len(runs) == 1 else compare.body(runs)
    title = f"{figures.names(runs)[0]}: {story.title(runs[0])}" if len(runs) == 1 else f"{len(runs)} runs compared"
    # a lone surrogate in a name has no UTF-8; as a character reference it does no harm
    path.write_text(_document(title, body), encoding="utf-8", errors="xmlcharrefreplace")


def _document(title: str, body: Html) -> str:
    style, script = (Html(files(__package__).joinpath(name).read_text("utf-8")) for name in ("style.css", "page.js"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{title} · distilfleet"),
        tag("style", style),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body, tag('script', script)), lang='en')}\n"


def _policy(script: str) -> str:
    """Nothing is loaded, and no script runs but our own: a second wall behind the escaping."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _one(run: History) -> Html:
    return join(
        headline.header(
            f"distilfleet · {figures.names([run])[0]}", story.title(run), _facts(run), headline.standing(run)
        ),
        tag(
            "main",
            protection(run),
            headline.notes(run),
            tag("p", " ".join(story.story(run)), class_="story"),
            headline.headline(run),
            headline.modelled(run),
            _results(run),
            _costs(run),
            plan_section(run),
            fleet.fleet_section(run),
            missed.missed_section(run),
            missed.discounts_section(run),
            details.savings_section(run),
            details.disclosure_section(run),
            details.again_section(run),
            _everything(run),
        ),
        headline.footer(),
    )


def _facts(run: History) -> str:
    devices = figures.fleet_size(run)
    words = [f"{devices:,} devices" if devices else None, _started(run), _seed(run), _quota(run)]
    return " · ".join(word for word in words if word)


def _started(run: History) -> str | None:
    try:
        started = datetime.fromisoformat(str(run.about.get("started")))
    except ValueError:
        return None
    zone = f" {started.tzname()}" if started.tzinfo else ""
    return f"started {started.day} {started:%B %Y, %H:%M}{zone}"


def _seed(run: History) -> str | None:
    return f"seed {run.about['seed']}" if "seed" in run.about else None


def _quota(run: History) -> str | None:
    quota = figures.number(run.fleet, "quota_bytes")
    return None if quota is None else f"memory quota {pretty_bytes(quota)}"


def _results(run: History) -> Html:
    charts = curves.quality_charts([run])
    if not charts:
        return tag("section", tag("h2", "Results"), tag("p", _nothing(run), class_="empty"), id="results")
    return tag("section", tag("h2", "Results"), grid(charts, wide_first=True), id="results")


def _nothing(run: History) -> str:
    if run.rounds:
        return "The record holds rounds, but no accuracy and no loss."
    return "No round has finished yet, so there is nothing to draw. What was set up is shown below."


def _costs(run: History) -> Html | None:
    charts = [*costs.cost_charts(run), *costs.extra_charts([run])] if run.rounds else []
    return tag("section", tag("h2", "What each round took"), grid(charts), id="costs") if charts else None


def grid(charts: Sequence[Html], wide_first: bool = False) -> Html:
    return tag("div", *charts, class_="grid wide-first" if wide_first else "grid")


def _everything(run: History) -> Html:
    return tag(
        "section",
        tag("h2", "Everything on record"),
        details.rounds_details(run),
        details.settings_details(run),
        details.data_details(run),
        details.versions_details(run),
        id="record",
    )
