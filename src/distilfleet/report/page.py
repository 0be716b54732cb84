"""One self-contained HTML file for a run, or for several side by side. Loads nothing; complete
without JavaScript."""

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
from .html import Html, join, paragraph, section, tag
from .plan_page import plan_section
from .prediction import prediction_section


def write_page(runs: Sequence[History], path: Path) -> None:
    """Write one run's page, or for several a comparison. Raises ValueError if there is no run."""
    write_atomically(path, page(runs))


def page(runs: Sequence[History]) -> bytes:
    """What `write_page` writes."""
    if not runs:
        raise ValueError("a page needs at least one run; none was given")
    if len(runs) > 1:
        return encoded(document(f"{len(runs)} runs compared", compare.body(runs), Extra()))
    run = runs[0]
    title = f"{figures.names(runs)[0]}: {story.title(run)}"
    return encoded(document(title, _one(run), Extra()))


def encoded(text: str) -> bytes:
    """A lone surrogate in a name has no UTF-8; as a character reference it does no harm."""
    return text.encode(errors="xmlcharrefreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a page that a server shows has beyond one that stands alone."""

    assets: Sequence[str] = ()
    """Style sheets and scripts of this room that it needs besides."""
    policy: str = ""
    """What it may do besides, in the words of a content security policy."""
    referrer: str = "no-referrer"
    """What browsers say of it to whomever it links to."""


def document(title: str, body: Html, extra: Extra) -> str:
    """A whole page: style sheets and scripts are written into it."""
    names = ("style.css", "page.js", *extra.assets)
    styles = [_asset(name) for name in names if name.endswith(".css")]
    scripts = [_asset(name) for name in names if name.endswith(".js")]
    policy = tag(
        "meta", http_equiv="Content-Security-Policy", content=_policy(scripts) + extra.policy
    )
    named = {**_META, "referrer": extra.referrer}
    metas = [tag("meta", name=name, content=content) for name, content in named.items()]
    sheets = [tag("style", style) for style in styles]
    window = tag("title", f"{title} · distilfleet")
    head = tag("head", tag("meta", charset="utf-8"), policy, *metas, window, *sheets)
    whole_body = tag("body", body, *[tag("script", script) for script in scripts])
    whole = tag("html", head, whole_body, lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


_META = {"viewport": "width=device-width, initial-scale=1", "color-scheme": "light dark"}


def _asset(name: str) -> Html:
    return Html(files(__package__).joinpath(name).read_text("utf-8"))


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and no script runs but our own: a second wall behind the escaping."""
    own = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {own}"


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return base64.b64encode(digest).decode()


def _one(run: History) -> Html:
    kicker = f"distilfleet · {figures.names([run])[0]}"
    header = headline.header(kicker, story.title(run), facts(run), headline.standing(run))
    return join(header, tag("main", *sections(run).values()), headline.footer())


def sections(run: History) -> dict[str, Html | None]:
    """What a run's page says, in its order. None: the record has nothing of it."""
    return {
        "story": _story(run),
        "results": _results(run),
        "costs": _costs(run),
        "plan": plan_section(run),
        "prediction": prediction_section(run),
        "fleet": fleet.fleet_section(run),
        "missed": missed.missed_section(run),
        "discounts": missed.discounts_section(run),
        "models": details.models_section(run),
        "savings": details.savings_section(run),
        "disclosure": details.disclosure_section(run),
        "again": details.again_section(run),
        "record": _everything(run),
    }


def _story(run: History) -> Html:
    words = paragraph(" ".join(story.story(run)), "story")
    return join(
        protection(run), headline.notes(run), words, headline.headline(run), headline.modelled(run)
    )


def facts(run: History) -> str:
    """One line: how many devices, since when, which seed."""
    devices = figures.fleet_size(run)
    size = f"{devices:,} devices" if devices else None
    return " · ".join(filter(None, (size, _started(run), _seed(run), _quota(run))))


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
    shown = grid(charts, wide_first=True) if charts else paragraph(_nothing(run), "empty")
    return section("results", "Results", shown)


def _nothing(run: History) -> str:
    if run.rounds:
        return "The record holds rounds, but no accuracy and no loss."
    return "No round has finished yet, so there is nothing to draw. What was set up is shown below."


def _costs(run: History) -> Html | None:
    if not run.rounds:
        return None
    charts = [*costs.cost_charts(run), *costs.extra_charts([run])]
    return section("costs", "What each round took", grid(charts)) if charts else None


def grid(charts: Sequence[Html], wide_first: bool = False) -> Html:
    """Charts in two columns; a wide first one has a line to itself."""
    return tag("div", *charts, class_="grid wide-first" if wide_first else "grid")


def _everything(run: History) -> Html:
    return section(
        "record",
        "Everything on record",
        details.rounds_details(run),
        details.settings_details(run),
        details.data_details(run),
        details.versions_details(run),
    )
