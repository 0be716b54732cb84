"""The top of a page: how far the run came, what to be careful about, and the figures that most people came for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..core.units import pretty_bytes, pretty_j, pretty_s
from ..record.history import History
from . import figures
from .html import Html, join, tag
from .missed import missed_jobs

_COUNTERFACTUAL = "counterfactual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One headline number: what, how much, and the line beneath."""

    label: str
    value: str
    note: str


def standing(run: History) -> tuple[str, str]:
    """How far the run came: a style class and words."""
    done, asked = len(run.rounds), figures.asked(run)
    if not done:
        return "stopped", f"No round finished, of {asked} asked for"
    if done < asked:
        return "stopped", f"Interrupted: {done} of {asked} rounds finished"
    return "finished", f"Finished: {done} of {asked} rounds"


def notes(run: History) -> Html | None:
    """What the run itself wants to be known, where nobody can miss it."""
    return noted([str(note) for note in figures.listed(run.about, "notes")])


def noted(lines: Sequence[str]) -> Html | None:
    """Notes of one run or several. Those on a counterfactual, which no real fleet could do, stand out."""
    grave = [line for line in lines if _COUNTERFACTUAL in line.lower()]
    rest = [line for line in lines if line not in grave]
    return join(
        callout("Read this first", grave) if grave else None,
        callout("Note" if len(rest) == 1 else "Notes", rest, "callout quiet") if rest else None,
    )


def callout(name: str, lines: Sequence[str], style: str = "callout") -> Html:
    return tag("aside", tag("strong", name), *(tag("p", line) for line in lines), class_=style, aria_label=name)


def headline(run: History) -> Html:
    """The figures, in the order in which they are asked for."""
    cells = (
        tag("div", tag("dt", f.label), tag("dd", f.value, class_="value"), tag("dd", f.note, class_="note"))
        for f in _figures(run)
    )
    return tag("dl", *cells, class_="figures")


def modelled(run: History) -> Html:
    """What is measured and what is not."""
    if figures.measured(run):
        words = (
            "Quality is measured on held-out data, seconds are those of the fleet’s clock, and bytes are those of the "
            "encoded messages. Joules are modelled from the device catalogue unless a device reports them."
        )
    else:
        words = (
            "Quality is measured on held-out data, and bytes are those of the encoded messages. Seconds and joules are "
            "modelled from the device catalogue in simulation; no board and no radio was measured."
        )
    return tag("p", words, class_="fine")


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
    field, name = f"{size}_{figures.quality(run)}", figures.who(run, size).capitalize()
    final, best = figures.last(run, field), figures.best(run, field)
    if final is None or best is None:
        return
    mean = "their mean; " if size == "small" and not figures.frozen_teacher(run) else ""
    note = f"{mean}best {figures.pretty(field, best[0])} in round {best[1]}"
    if size == "large" and figures.frozen_teacher(run):
        note = "stays as it was before round 1"
    kind = "accuracy" if field.endswith("accuracy") else "loss, nats per token"
    yield Figure(label=f"{name}, {kind}", value=figures.pretty(field, final), note=note)


def _bytes(run: History) -> Iterator[Figure]:
    each = figures.per_device(run, "up_bytes", "down_bytes")
    whole = figures.total(run, "up_bytes", "down_bytes")
    if each is None or whole is None:
        return
    up, down = (pretty_bytes(figures.per_device(run, f) or 0.0) for f in ("up_bytes", "down_bytes"))
    note = f"{up} up, {down} down; {pretty_bytes(whole)} over the fleet"
    yield Figure(label="Data sent per device", value=pretty_bytes(each), note=note)


def _time(run: History) -> Iterator[Figure]:
    elapsed, wall = figures.last(run, "elapsed_s"), figures.last(run, "wall_s")
    if elapsed is None:
        return
    label = "Time on the fleet" if figures.measured(run) else "Simulated time"
    note = f"{pretty_s(elapsed / len(run.rounds))} a round"
    computed = f"; computed in {pretty_s(wall)} here" if wall is not None and not figures.measured(run) else ""
    yield Figure(label=label, value=pretty_s(elapsed), note=note + computed)


def _energy(run: History) -> Iterator[Figure]:
    each, server = figures.per_device(run, "device_energy_j"), figures.total(run, "server_energy_j")
    if each is None:
        return
    whole = pretty_j(figures.total(run, "device_energy_j") or 0.0)
    rest = f"; server {pretty_j(server)}" if server is not None else ""
    yield Figure(label="Energy per device", value=pretty_j(each), note=f"all devices {whole}{rest}")


def _savings(run: History) -> Iterator[Figure]:
    for field, label, note in (
        ("storage_saved", "Storage saved on devices", "small model against the large one"),
        ("flops_saved", "Compute saved on devices", "FLOPs of a forward pass, small against large"),
    ):
        found = figures.savings(run, field)
        if found:
            yield Figure(label=label, value=figures.saved_span(*found), note=note)


def _missed(run: History) -> Iterator[Figure]:
    missed, jobs = figures.total(run, "missed"), figures.jobs(run)
    if missed is None or not jobs:
        return
    share = figures.percent(missed / jobs)
    surplus = sum(reason == "surplus" for _, _, reason in missed_jobs(run))
    spare = f"; {surplus:,} only because enough others had answered" if surplus else ""
    note = f"{missed:,.0f} of {jobs:,.0f}{spare}" if missed else "every device that was asked answered"
    yield Figure(label="Jobs missed", value=share if missed else "none", note=note)


def header(kicker: str, title: str, line: str, badge: tuple[str, str] | None) -> Html:
    """Name of the page, and one line of facts."""
    state = badge and tag("span", badge[1], class_=f"badge {badge[0]}")
    return tag(
        "header", tag("p", kicker, class_="kicker"), tag("h1", title), tag("p", join(line, " ", state), class_="facts")
    )


def footer() -> Html:
    words = "Written by distilfleet from the run record. This file stands alone: it loads nothing and sends nothing."
    return tag("footer", tag("p", words))
