"""The top of a page: how far the run came, what to be careful about, and the figures that most
people came for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.units import pretty_bytes, pretty_j, pretty_s
from ..record.history import History
from . import figures
from .html import Html, join, paragraph, tag
from .missed import missed_jobs

_COUNTERFACTUAL = "counterfactual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One headline number: what, how much, and the line beneath."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBadge:
    """How far a run came: words, and a class of the style sheet."""

    style: str
    words: str


def standing(run: History) -> RunBadge:
    """How far the run came."""
    done = len(run.rounds)
    asked = figures.asked(run)
    if not done:
        return RunBadge(style="stopped", words=f"No round finished, of {asked} asked for")
    if done < asked:
        return RunBadge(style="stopped", words=f"Interrupted: {done} of {asked} rounds finished")
    return RunBadge(style="finished", words=f"Finished: {done} of {asked} rounds")


def notes(run: History) -> Html | None:
    """What the run itself wants to be known, where nobody can miss it."""
    return noted([figures.capital(str(note)) for note in figures.listed(run.about, "notes")])


def noted(lines: Sequence[str]) -> Html | None:
    """Notes of one run or several. Those on a counterfactual, which no real fleet could do, stand
    out."""
    grave = [line for line in lines if _COUNTERFACTUAL in line.lower()]
    rest = [line for line in lines if line not in grave]
    first = callout("Read this first", grave) if grave else None
    name = "Note" if len(rest) == 1 else "Notes"
    others = callout(name, rest, "callout quiet") if rest else None
    return join(first, others)


def callout(name: str, lines: Sequence[str], style: str = "callout") -> Html:
    """Lines that stand out from the page, under a name."""
    return tag("aside", tag("strong", name), *map(paragraph, lines), class_=style, aria_label=name)


def headline(run: History) -> Html:
    """The figures, in the order in which they are asked for."""
    return tag("dl", *map(_figure, _figures(run)), class_="figures")


def _figure(figure: Figure) -> Html:
    value = tag("dd", figure.value, class_="value")
    return tag("div", tag("dt", figure.label), value, tag("dd", figure.note, class_="note"))


_MEASURED = (
    "Quality is measured on held-out data, seconds are those of the fleet’s clock, and bytes are "
    "those of the encoded messages. Joules are modelled from the device catalogue unless a device "
    "reports them."
)
_SIMULATED = (
    "Quality is measured on held-out data, and bytes are those of the encoded messages. Seconds "
    "and joules are modelled from the device catalogue in simulation; no board and no radio was "
    "measured."
)


def modelled(run: History) -> Html:
    """What is measured and what is not."""
    return paragraph(_MEASURED if figures.measured(run) else _SIMULATED, "fine")


def _figures(run: History) -> Iterator[Figure]:
    yield from _quality(run)
    yield from _bytes(run)
    yield from _time(run)
    yield from _energy(run)
    yield from _savings(run)
    yield from _missed(run)


def _quality(run: History) -> Iterator[Figure]:
    """A student comes before the teacher that it is held against."""
    for size in ("small", "large") if figures.frozen_teacher(run) else ("large", "small"):
        yield from _quality_of(run, size)


def _quality_of(run: History, size: str) -> Iterator[Figure]:
    field = f"{size}_{figures.quality(run)}"
    final = figures.last(run, field)
    best = figures.best(run, field)
    if final is None or best is None:
        return
    name = figures.who(run, size).capitalize()
    kind = "accuracy" if field.endswith("accuracy") else "loss, nats per token"
    value, number = best
    note = f"best {figures.pretty(field, value)} in round {number}"
    began = figures.number(run.start, field)
    if began is not None:
        note = f"began at {figures.pretty(field, began)}; {note}"
    if figures.frozen_teacher(run):
        note = note if size == "small" else "stays as it was before round 1"
    elif size == "small":
        note = f"their mean; {note}"
    yield Figure(label=f"{name}, {kind}", value=figures.pretty(field, final), note=note)


def _bytes(run: History) -> Iterator[Figure]:
    each = figures.per_device(run, "up_bytes", "down_bytes")
    whole = figures.total(run, "up_bytes", "down_bytes")
    if each is None or whole is None:
        return
    up = pretty_bytes(figures.per_device(run, "up_bytes") or 0.0)
    down = pretty_bytes(figures.per_device(run, "down_bytes") or 0.0)
    note = f"{up} up, {down} down; {pretty_bytes(whole)} over the fleet"
    yield Figure(label="Data sent per device", value=pretty_bytes(each), note=note)


def _time(run: History) -> Iterator[Figure]:
    elapsed_s = figures.last(run, "elapsed_s")
    if elapsed_s is None:
        return
    note = f"{pretty_s(elapsed_s / len(run.rounds))} a round"
    if figures.measured(run):
        yield Figure(label="Time on the fleet", value=pretty_s(elapsed_s), note=note)
        return
    wall_s = figures.last(run, "wall_s")
    computed = "" if wall_s is None else f"; computed in {pretty_s(wall_s)} here"
    yield Figure(label="Simulated time", value=pretty_s(elapsed_s), note=note + computed)


def _energy(run: History) -> Iterator[Figure]:
    each_j = figures.per_device(run, "device_energy_j")
    if each_j is None:
        return
    whole = pretty_j(figures.total(run, "device_energy_j") or 0.0)
    server_j = figures.total(run, "server_energy_j")
    rest = "" if server_j is None else f"; server {pretty_j(server_j)}"
    yield Figure(
        label="Energy per device", value=pretty_j(each_j), note=f"all devices {whole}{rest}"
    )


_SAVINGS = (
    ("storage_saved", "Storage saved on devices", "small model against the large one"),
    ("flops_saved", "Compute saved on devices", "FLOPs of a forward pass, small against large"),
)


def _savings(run: History) -> Iterator[Figure]:
    for field, label, note in _SAVINGS:
        found = figures.savings(run, field)
        if found:
            yield Figure(label=label, value=figures.saved_span(*found), note=note)


def _missed(run: History) -> Iterator[Figure]:
    missed = figures.total(run, "missed")
    jobs = figures.jobs(run)
    if missed is None or not jobs:
        return
    if not missed:
        yield Figure(label="Jobs missed", value="none", note="every device that was asked answered")
        return
    surplus = sum(reason == "surplus" for _, _, reason in missed_jobs(run))
    spare = f"; {surplus:,} only because enough others had answered" if surplus else ""
    note = f"{missed:,.0f} of {jobs:,.0f}{spare}"
    yield Figure(label="Jobs missed", value=figures.percent(missed / jobs), note=note)


def header(kicker: str, title: str, line: str, badge: RunBadge | None) -> Html:
    """The name of the page, and one line of facts."""
    state = None if badge is None else tag("span", badge.words, class_=f"badge {badge.style}")
    facts = tag("p", join(line, " ", state), class_="facts")
    return tag("header", paragraph(kicker, "kicker"), tag("h1", title), facts)


def footer() -> Html:
    """Where the page comes from, and that it stands alone."""
    words = (
        "Written by distilfleet from the run record. This file stands alone: it loads nothing and "
        "sends nothing."
    )
    return tag("footer", paragraph(words))
