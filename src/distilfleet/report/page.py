"""One self-contained HTML file for a run, or for several side by side. Loads nothing; complete without JavaScript."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from ..core.disk import write_atomically
from ..core.units import pretty_bytes
from ..record.history import History
from . import compare, costs, curves, details, figures, fleet, headline, missed, story
from .audit import protection
from .html import Html, join, tag
from .plan_page import plan_section
from .prediction import beside_section


def write_page(runs: Sequence[History], path: Path) -> None:
    """Write one run's page, or for several a comparison. Raises ValueError if there is no run."""
    write_atomically(path, page(runs))


def page(runs: Sequence[History]) -> bytes:
    """What `write_page` writes."""
    if not runs:
        raise ValueError("a page needs at least one run; none was given")
    body = _one(runs[0]) if len(runs) == 1 else compare.body(runs)
    title = f"{figures.names(runs)[0]}: {story.title(runs[0])}" if len(runs) == 1 else f"{len(runs)} runs compared"
    return encoded(document(title, body, Extra()))


def encoded(text: str) -> bytes:
    """A lone surrogate in a name has no UTF-8; as a character reference it does no harm."""
    return text.encode(errors="xmlcharrefreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a page that a server shows has beyond one that stands alone."""

    assets: Sequence[str] = ()
    """Style sheets and scripts of this room."""
    policy: str = ""
    """What more it may do."""
    referrer: str = "no-referrer"


def document(title: str, body: Html, extra: Extra) -> str:
    names = ("style.css", "page.js", *extra.assets)
    styles, scripts = ([_asset(name) for name in names if name.endswith(kind)] for kind in (".css", ".js"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(scripts) + extra.policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content=extra.referrer),
        tag("title", f"{title} · distilfleet"),
        *(tag("style", style) for style in styles),
    )
    body = tag("body", body, *(tag("script", script) for script in scripts))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> Html:
    return Html(files(__package__).joinpath(name).read_text("utf-8"))


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and no script runs but our own: a second wall behind the escaping."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    own = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {own}"


def _one(run: History) -> Html:
    return join(
        headline.header(
            f"distilfleet · {figures.names([run])[0]}", story.title(run), facts(run), headline.standing(run)
        ),
        tag("main", *sections(run).values()),
        headline.footer(),
    )


def sections(run: History) -> dict[str, Html | None]:
    """What a run's page says, in its order. None: the record has nothing of it."""
    top = (headline.notes(run), tag("p", " ".join(story.story(run)), class_="story"), headline.headline(run))
    return {
        "story": join(protection(run), *top, headline.modelled(run)),
        "results": _results(run),
        "costs": _costs(run),
        "plan": plan_section(run),
        "beside": beside_section(run),
        "fleet": fleet.fleet_section(run),
        "missed": missed.missed_section(run),
        "discounts": missed.discounts_section(run),
        "savings": details.savings_section(run),
        "disclosure": details.disclosure_section(run),
        "again": details.again_section(run),
        "record": _everything(run),
    }


def facts(run: History) -> str:
    """One line: how many devices, since when, which seed."""
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
