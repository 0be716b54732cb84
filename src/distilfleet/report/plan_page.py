"""The plan of cuts on a run's page: what each device was given, the proof, and what a step then took."""

from collections.abc import Callable, Mapping
from typing import Any

from ..record.history import History
from . import figures
from .details import scrolled
from .html import Html, join, tag
from .plan import STAGES, cut, facts, plan_figure, short_j, short_s

MOST_ROWS = 200
_HEADS = (
    *("Device", "Kind", "Cut", "Bits", "Share of uplink", "Share of downlink", "Share of server"),
    *("Computes", "Sends", "Server works", "Receives", "Whole step", "Energy of the device"),
)


def plan_section(run: History) -> Html | None:
    """None for a run without cuts to plan."""
    if not run.plan:
        return None
    devices = figures.tables(run.plan, "devices")
    return tag(
        "section",
        tag("h2", "The plan"),
        tag("p", _lead(run), class_="lead"),
        tag("dl", *(_fact(name, words) for name, words in _facts(run)), class_="facts-list"),
        tag("div", plan_figure(run.plan), _against(run), class_="grid") if devices else None,
        _devices(run, devices) if devices else None,
        id="plan",
    )


def _lead(run: History) -> str:
    asked = figures.part(run.about, "settings").get("cut")
    chose = "bits and shares" if asked is not None else "a cut, bits on the wire and shares"
    given = f" The cut itself, {asked}, was set for all." if asked is not None else ""
    return (
        f"Before the first round the planner chose {chose} for each device, from what was then known of boards and "
        f"channels.{given} A cut is how many of the small model’s layers a device runs; with 0 it runs the embedding "
        "alone."
    )


def _facts(run: History) -> list[tuple[str, str]]:
    told = [*facts(run.plan), *(_named(str(note)) for note in figures.listed(run.plan, "notes"))]
    return [*told, *_changes(run)]


def _named(note: str) -> tuple[str, str]:
    """A line of the terminal: its first word is its name."""
    name, _, words = note.partition(" ")
    return name, words.strip()


def _changes(run: History) -> list[tuple[str, str]]:
    """Whether later rounds were cut otherwise."""
    changed = [value for value in figures.series(run, "cuts_changed") if value is not None]
    if not changed:
        return []
    other = sum(value > 0 for value in changed)
    if not other:
        return [("later", "every round was planned anew, and kept these cuts and bits")]
    return [
        (
            "later",
            f"every round was planned anew: in {other} of {len(changed)} another cut or other bits were best for some "
            f"devices, at most for {max(changed):,.0f} at once",
        )
    ]


def _fact(name: str, words: str) -> Html:
    return tag("div", tag("dt", name[:1].upper() + name[1:]), tag("dd", words[:1].upper() + words[1:]))


# --- predicted and simulated ------------------------------------------------------------------------------------


def _against(run: History) -> Html | None:
    """Seconds and joules of a step, as planned and as they came."""
    steps = figures.number(figures.part(run.about, "settings"), "steps")
    if not steps or not run.rounds:
        return None
    taken = steps * len(run.rounds)
    elapsed_s = (figures.last(run, "elapsed_s") or 0.0) / taken
    rows = [["Delay", _expected(run, "planned_s", "delay_s", short_s), short_s(elapsed_s)]]
    for who, field in (("all devices", "device_energy_j"), ("server", "server_energy_j")):
        used_j = (figures.total(run, field) or 0.0) / taken
        rows.append([f"Energy, {who}", _expected(run, f"planned_{field}", field, short_j), short_j(used_j)])
    clock = "On the fleet" if figures.measured(run) else "Simulated"
    words = (
        "Mean over all rounds. The plan prices one step after the other, asks the teacher each time, and leaves out "
        "the server’s idling. What came has a round’s start and end in it, parts of steps that were under way at once, "
        "and answers of the teacher that the server remembered."
    )
    return tag(
        "div",
        tag("h3", "A step, predicted and as it came"),
        scrolled(("Of one step", "Predicted", clock), rows),
        tag("p", words, class_="fine"),
    )


def _expected(run: History, each: str, first: str, show: Callable[[float], str]) -> str:
    """Mean over the rounds' forecasts; of records without them, the first round's."""
    found = [value for value in figures.series(run, each) if value is not None]
    value = sum(found) / len(found) if found else figures.number(run.plan, first)
    return "–" if value is None else show(value)


# --- device by device -------------------------------------------------------------------------------------------


def _devices(run: History, devices: list[Mapping[str, Any]]) -> Html:
    shown = devices[:MOST_ROWS]
    which = f"The first {len(shown)} of {len(devices):,} devices." if len(shown) < len(devices) else "Every device."
    if len(devices) < figures.fleet_size(run):
        which = f"{which.removesuffix('.')} that took part in the first round: {len(devices):,} of the fleet’s."
    words = (
        f"{which} Predicted for one step of the first round; joules are those of the device, the server’s beside it."
    )
    table = scrolled(_HEADS, [_row(entry) for entry in shown], "numbers planned", tall=len(shown) > 24)
    return tag(
        "div", tag("div", tag("h3", "What each device was given"), tag("p", words, class_="sub")), table, class_="block"
    )


def _row(entry: Mapping[str, Any]) -> list[str | Html]:
    shares = (figures.number(entry, name) for name in ("uplink_share", "downlink_share", "server_share"))
    bits = figures.number(entry, "bits")
    return [
        str(entry.get("id", "")),
        str(entry.get("kind", "–")),
        cut(entry),
        figures.pretty("", bits),
        *(figures.pretty("share", share) for share in shares),
        *(_stage(entry, stage) for stage in STAGES),
        short_s(figures.number(entry, "delay_s") or 0.0),
        short_j(figures.number(entry, "energy_j") or 0.0),
    ]


def _stage(entry: Mapping[str, Any], stage: str) -> Html:
    """Seconds, and beside them joules."""
    stages = figures.part(entry, "stages")
    seconds, joules = (figures.number(stages, f"{stage}_{unit}") for unit in "sj")
    return join(short_s(seconds or 0.0), tag("small", f" · {short_j(joules or 0.0)}"))
