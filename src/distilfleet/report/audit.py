"""What an audit found, for people and programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..record.history import History
from . import figures
from .html import Html, join, tag
from .table import as_json, text_table

PROTECTS = (
    "Split KD protects against outsiders and against whoever reads storage, not against the edge server, which can "
    "look up smashed data in its own tables. Where the server must not read the text, use KOALA: only trained models "
    "or soft labels leave a device there."
)
_SOURCES = {"teacher": "teacher's smashed data", "student": "student's smashed data", "labels": "labels"}


def verdict(audit: Mapping[str, Any]) -> str:
    """One sentence."""
    if not audit["applies"]:
        return "No smashed data travelled, so looking up tokens does not apply to this run."
    share = figures.percent(audit["recovered_share"])
    return f"A curious server recovers {share} of tokens ({audit['tokens']:,} tried, after round {audit['rounds']})."


def audit_text(run: History) -> str:
    """For a terminal: the verdict, every attack, and what the run cost and reached."""
    audit = run.audit
    lines = [verdict(audit)]
    for row in audit.get("attacks", ()):
        share = figures.percent(row["share"])
        lines.append(f"  {share:>8}  {_what(row):<30} {row['attack']:<18} {row['recovered']:,} of {row['tokens']:,}")
    lines += [f"  kept: {kind}" for kind in audit.get("travelled", ())]
    return "\n".join([*lines, f"What the server learns: {audit['disclosure']}", "", text_table([run])])


def audit_json(run: History) -> dict[str, Any]:
    """The audit with the run's final figures."""
    return {**run.audit, "run": as_json([run])["runs"][0]}


def protection(run: History) -> Html | None:
    """For the page's top: against whom split KD protects, and what was measured."""
    if not figures.is_split(run):
        return None
    said = verdict(run.audit) if run.audit else "How much of it is recovered was not measured: distilfleet audit DIR."
    disclosure = str(run.about.get("disclosure", "")).strip()
    return tag(
        "aside",
        tag("strong", "Who can read the data"),
        tag("p", tag("b", "Disclosure: "), disclosure, ".") if disclosure else None,
        tag("p", PROTECTS),
        tag("p", said),
        class_="callout",
        aria_label="Who can read the data",
    )


def recovery_rows(run: History) -> Html | None:
    """For the section on disclosure: each attack."""
    rows: Sequence[Mapping[str, Any]] = run.audit.get("attacks", ())
    if not rows:
        return None
    shown = [f"{figures.percent(r['share'])} of {r['tokens']:,} from the {_what(r)}: {r['attack']}." for r in rows]
    return join(tag("p", tag("strong", verdict(run.audit))), tag("ul", *(tag("li", line) for line in shown)))


def _what(row: Mapping[str, Any]) -> str:
    cut = "" if row["source"] == "labels" else f", cut {row['cut']}"
    return _SOURCES.get(row["source"], str(row["source"])) + cut
