"""What an audit found, for people and programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..record.history import History
from . import figures
from .html import Html, join, paragraph, tag
from .table import as_json, text_table

PROTECTS = (
    "Split KD protects against outsiders and against whoever reads storage, not against the edge "
    "server, which can look up smashed data in its own tables. Where the server must not read the "
    "text, use KOALA: only trained models or soft labels leave a device there."
)
_NOT_MEASURED = "How much of it is recovered was not measured: distilfleet audit DIR."
_SOURCES = {
    "teacher": "teacher's smashed data",
    "student": "student's smashed data",
    "labels": "labels",
}


def verdict(audit: Mapping[str, Any]) -> str:
    """What the attacks came to, in one sentence."""
    if not audit["applies"]:
        return "No smashed data travelled, so looking up tokens does not apply to this run."
    share = figures.percent(audit["recovered_share"])
    return (
        f"A curious server recovers {share} of tokens ({audit['tokens']:,} tried, after round "
        f"{audit['rounds']})."
    )


def audit_text(run: History) -> str:
    """For a terminal: the verdict, every attack, and what the run cost and reached."""
    audit = run.audit
    lines = [verdict(audit)]
    lines += [_attack_line(row) for row in audit.get("attacks", ())]
    lines += [f"  kept: {kind}" for kind in audit.get("travelled", ())]
    lines += [f"What the server learns: {audit['disclosure']}", "", text_table([run])]
    return "\n".join(lines)


def _attack_line(row: Mapping[str, Any]) -> str:
    share = figures.percent(row["share"])
    return (
        f"  {share:>8}  {_source(row):<30} {row['attack']:<18} {row['recovered']:,} of "
        f"{row['tokens']:,}"
    )


def audit_json(run: History) -> dict[str, Any]:
    """The audit with the run's final figures."""
    return {**run.audit, "run": as_json([run])["runs"][0]}


def protection(run: History) -> Html | None:
    """For the page's top: against whom split KD protects, and what was measured."""
    if not figures.is_split(run):
        return None
    disclosure = str(run.about.get("disclosure", "")).strip()
    lines = [tag("p", tag("b", "Disclosure: "), disclosure, ".")] if disclosure else []
    lines += [paragraph(PROTECTS), paragraph(verdict(run.audit) if run.audit else _NOT_MEASURED)]
    name = "Who can read the data"
    return tag("aside", tag("strong", name), *lines, class_="callout", aria_label=name)


def recovery_rows(run: History) -> Html | None:
    """For the section on disclosure: each attack."""
    rows: Sequence[Mapping[str, Any]] = run.audit.get("attacks", ())
    if not rows:
        return None
    attacks = [tag("li", _attack(row)) for row in rows]
    return join(tag("p", tag("strong", verdict(run.audit))), tag("ul", *attacks))


def _attack(row: Mapping[str, Any]) -> str:
    share = figures.percent(row["share"])
    return f"{share} of {row['tokens']:,} from the {_source(row)}: {row['attack']}."


def _source(row: Mapping[str, Any]) -> str:
    """What an attack started from."""
    cut = "" if row["source"] == "labels" else f", cut {row['cut']}"
    return _SOURCES.get(row["source"], str(row["source"])) + cut
