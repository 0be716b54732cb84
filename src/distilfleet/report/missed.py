"""Jobs that brought no answer, for which reasons, which replies were rejected, and which did not count in full."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from ..record.history import History
from . import figures
from .html import Html, tag

_MEANING = {
    "offline": "The device could not be reached when its job was due.",
    "deadline": "The answer would have come after the round’s deadline.",
    "surplus": "Enough others had answered, so the job was called off. No fault of the device.",
    "memory": "The job needs more memory than the device may use.",
    "rejected": "The reply failed a check before it was used, and was dropped.",
}
_BY = {"norm": "Its update was out of all proportion to the others."}
_MOST_REJECTED = 100


def missed_jobs(run: History) -> Iterator[tuple[int, str, str]]:
    """Round, device and reason of every missed job that the record names."""
    for count, row in zip(figures.round_numbers(run), run.rounds, strict=True):
        for entry in figures.listed(row, "missed_jobs"):
            if isinstance(entry, list | tuple) and len(entry) == 2:
                yield count, str(entry[0]), str(entry[1])


def by_device(run: History) -> dict[str, Counter[str]]:
    """For each device, how often which class of reason."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _, device, reason in missed_jobs(run):
        found[device][_class(reason)] += 1
    return dict(found)


def missed_section(run: History) -> Html | None:
    """Reasons with their meaning, then every rejected reply; None if nothing was missed."""
    counts = Counter(_class(reason) for _, _, reason in missed_jobs(run))
    if not counts:
        return None
    named, missed = counts.total(), figures.total(run, "missed") or 0
    rest = (
        tag("p", f"The record names {named:,} of {missed:,.0f} missed jobs.", class_="fine") if missed > named else None
    )
    return tag("section", tag("h2", "Missed jobs"), _reasons(counts), rest, _rejected(run), id="missed")


def discounts_section(run: History) -> Html | None:
    """Devices whose answers were let in but counted for little; None if all counted alike."""
    found: defaultdict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for count, row in zip(figures.round_numbers(run), run.rounds, strict=True):
        for entry in figures.listed(row, "discounts"):
            if isinstance(entry, list | tuple) and len(entry) == 3 and isinstance(entry[1], int | float):
                found[str(entry[0]), str(entry[2])].append((count, float(entry[1])))
    if not found:
        return None
    rows = [
        tag(
            "tr",
            tag("th", device, scope="row"),
            tag("td", _BY.get(by, f"The rule “{by}”."), class_="words"),
            tag("td", f"{min(kept for _, kept in times):.0%}"),
            tag("td", _some([count for count, _ in times])),
        )
        for (device, by), times in sorted(found.items(), key=lambda item: -len(item[1]))[:_MOST_REJECTED]
    ]
    head = tag("tr", *(tag("th", h, scope="col") for h in ("Device", "What decided", "Counted, at least", "Rounds")))
    return tag(
        "section",
        tag("h2", "Answers that counted for little"),
        tag("p", "Beside the median device of the round. An honest device with unusual data can be among them."),
        tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll"),
        id="discounts",
    )


def _reasons(counts: Counter[str]) -> Html:
    most = max(counts.values())
    rows = (
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", _bar(count / most), f"{count:,}", class_="bar-cell"),
            tag("td", _MEANING.get(name, "A reason that the method gave."), class_="words"),
        )
        for name, count in counts.most_common(20)
    )
    head = tag("tr", *(tag("th", h, scope="col") for h in ("Reason", "Jobs", "What it means")))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll narrow")


def _bar(share: float) -> Html:
    return tag("i", class_="meter", style=f"--w:{100 * share:.3g}%")


def _rejected(run: History) -> Html | None:
    rounds: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for count, device, reason in missed_jobs(run):
        if _class(reason) == "rejected":
            rounds[device, reason.partition(":")[2].strip() or "no reason given"].append(count)
    if not rounds:
        return None
    rows = [
        tag("tr", tag("th", device, scope="row"), tag("td", reason, class_="words"), tag("td", _some(found)))
        for (device, reason), found in sorted(rounds.items(), key=lambda item: -len(item[1]))[:_MOST_REJECTED]
    ]
    head = tag("tr", *(tag("th", h, scope="col") for h in ("Device", "Why its reply was dropped", "Rounds")))
    more = len(rounds) - len(rows)
    return tag(
        "div",
        tag("h3", "Rejected replies"),
        tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll"),
        tag("p", f"{more} more are in metrics.jsonl.", class_="fine") if more else None,
        class_="rejected",
    )


def _some(rounds: list[int]) -> str:
    shown = ", ".join(map(str, rounds[:8]))
    return f"{shown} and {len(rounds) - 8} more" if len(rounds) > 8 else shown


def _class(reason: str) -> str:
    """A reason without its particulars: `rejected: weights hold NaN` is `rejected`."""
    return reason.partition(":")[0].strip() or "no reason given"
