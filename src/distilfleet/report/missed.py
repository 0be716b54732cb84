"""Jobs that brought no answer, for which reasons, which replies were rejected, and which did not
count in full."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeVar

from ..record.history import History
from . import figures
from .html import Html, paragraph, section, tag
from .html_table import Cells, meter, scrolled, words

_MEANING = {
    "offline": "The device could not be reached when its job was due.",
    "deadline": "The answer would have come after the round’s deadline.",
    "surplus": "Enough others had answered, so the job was called off. No fault of the device.",
    "memory": "The job needs more memory than the device may use.",
    "rejected": "The reply failed a check before it was used, and was dropped.",
}
_BY = {"norm": "Its update was out of all proportion to the others."}
_MOST_REASONS = 20
_MOST_ROWS = 100
_MOST_ROUNDS = 8
T = TypeVar("T")
DeviceAndReason = tuple[str, str]


def missed_jobs(run: History) -> Iterator[tuple[int, str, str]]:
    """The round, device and reason of every missed job that the record names."""
    for number, row in zip(figures.round_numbers(run), run.rounds, strict=True):
        for entry in figures.listed(row, "missed_jobs"):
            if isinstance(entry, list | tuple) and len(entry) == 2:
                device, reason = entry
                yield number, str(device), str(reason)


def by_device(run: History) -> dict[str, Counter[str]]:
    """How often each device missed a job, by class of reason."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _, device, reason in missed_jobs(run):
        found[device][_class(reason)] += 1
    return dict(found)


def missed_section(run: History) -> Html | None:
    """Reasons with their meaning, then every rejected reply; None if nothing was missed."""
    counts = Counter(_class(reason) for _, _, reason in missed_jobs(run))
    if not counts:
        return None
    named = counts.total()
    missed = figures.total(run, "missed") or 0
    rest = f"The record names {named:,} of {missed:,.0f} missed jobs."
    unnamed = paragraph(rest, "fine") if missed > named else None
    return section("missed", "Missed jobs", _reasons(counts), unnamed, _rejected(run))


def _reasons(counts: Counter[str]) -> Html:
    most = max(counts.values())
    rows: list[Cells] = []
    for name, count in counts.most_common(_MOST_REASONS):
        meaning = _MEANING.get(name, "A reason that the method gave.")
        rows.append([name, meter(count / most, f"{count:,}"), words(meaning)])
    return scrolled(("Reason", "Jobs", "What it means"), rows, box="narrow")


def _rejected(run: History) -> Html | None:
    """Replies that were dropped, by device and by what was wrong with them."""
    rounds: defaultdict[DeviceAndReason, list[int]] = defaultdict(list)
    for number, device, reason in missed_jobs(run):
        if _class(reason) == "rejected":
            fault = reason.partition(":")[2].strip()
            rounds[device, fault or "no reason given"].append(number)
    if not rounds:
        return None
    rows: list[Cells] = [
        [device, words(fault), _some(found)] for (device, fault), found in _longest_first(rounds)
    ]
    table = scrolled(("Device", "Why its reply was dropped", "Rounds"), rows)
    more = len(rounds) - len(rows)
    rest = paragraph(f"{more} more are in metrics.jsonl.", "fine") if more else None
    return tag("div", tag("h3", "Rejected replies"), table, rest, class_="rejected")


def discounts_section(run: History) -> Html | None:
    """Devices whose answers were let in but counted for little; None if all counted alike."""
    found: defaultdict[DeviceAndReason, list[tuple[int, float]]] = defaultdict(list)
    for number, device, kept, by in _discounts(run):
        found[device, by].append((number, kept))
    if not found:
        return None
    rows: list[Cells] = []
    for (device, by), times in _longest_first(found):
        least = min(kept for _, kept in times)
        rounds = _some([number for number, _ in times])
        rows.append([device, words(_BY.get(by, f"The rule “{by}”.")), f"{least:.0%}", rounds])
    lead = (
        "Beside the median device of the round. An honest device with unusual data can be among "
        "them."
    )
    table = scrolled(("Device", "What decided", "Counted, at least", "Rounds"), rows)
    return section("discounts", "Answers that counted for little", paragraph(lead, "lead"), table)


def _discounts(run: History) -> Iterator[tuple[int, str, float, str]]:
    """The round, device, share that counted, and what decided so, of each discount."""
    for number, row in zip(figures.round_numbers(run), run.rounds, strict=True):
        for entry in figures.listed(row, "discounts"):
            if (
                isinstance(entry, list | tuple)
                and len(entry) == 3
                and isinstance(entry[1], int | float)
            ):
                device, kept, by = entry
                yield number, str(device), float(kept), str(by)


def _longest_first(
    found: Mapping[DeviceAndReason, list[T]],
) -> list[tuple[DeviceAndReason, list[T]]]:
    """Whatever came up most often comes first; the rest is cut off."""
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return ordered[:_MOST_ROWS]


def _some(rounds: list[int]) -> str:
    shown = ", ".join(map(str, rounds[:_MOST_ROUNDS]))
    more = len(rounds) - _MOST_ROUNDS
    return f"{shown} and {more} more" if more > 0 else shown


def _class(reason: str) -> str:
    """A reason without its particulars: `rejected: weights hold NaN` is `rejected`."""
    return reason.partition(":")[0].strip() or "no reason given"
