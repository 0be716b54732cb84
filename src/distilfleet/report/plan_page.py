"""The plan of cuts on a run's page: what each device was given, the proof, and what a step then
took."""

from collections.abc import Callable, Sequence

from ..record.history import History
from . import figures
from .html import Html, block, join, paragraph, section, tag
from .html_table import scrolled
from .plan import STAGES, Entry, cut, facts, plan_figure, short_j, short_s

MOST_ROWS = 200
_HEADS = (
    *("Device", "Kind", "Cut", "Bits", "Share of uplink", "Share of downlink", "Share of server"),
    *("Computes", "Sends", "Server works", "Receives", "Whole step", "Energy of the device"),
)


def plan_section(run: History) -> Html | None:
    """None for a run without cuts to plan."""
    if not run.plan:
        return None
    listed = tag("dl", *(_fact(name, words) for name, words in _facts(run)), class_="facts-list")
    lead = paragraph(_lead(run), "lead")
    devices = figures.tables(run.plan, "devices")
    if not devices:
        return section("plan", "The plan", lead, listed)
    figure = tag("div", plan_figure(run.plan), _against(run), class_="grid")
    return section("plan", "The plan", lead, listed, figure, _devices(run, devices))


def _lead(run: History) -> str:
    asked = figures.part(run.about, "settings").get("cut")
    chose = "bits and shares" if asked is not None else "a cut, bits on the wire and shares"
    given = f" The cut itself, {asked}, was set for all." if asked is not None else ""
    return (
        f"Before the first round the planner chose {chose} for each device, from what was then "
        f"known of boards and channels.{given} A cut is how many of the small model’s layers a "
        "device runs; with 0 it runs the embedding alone."
    )


def _facts(run: History) -> list[tuple[str, str]]:
    notes = [_named(str(note)) for note in figures.listed(run.plan, "notes")]
    return [*facts(run.plan), *notes, *_changes(run)]


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
    words = "every round was planned anew, and kept these cuts and bits"
    if other:
        words = (
            f"every round was planned anew: in {other} of {len(changed)} another cut or other bits "
            f"were best for some devices, at most for {max(changed):,.0f} at once"
        )
    return [("later", words)]


def _fact(name: str, words: str) -> Html:
    return tag("div", tag("dt", figures.capital(name)), tag("dd", figures.capital(words)))


# --- predicted and simulated ----------------------------------------------------------------------

_AGAINST = (
    "Mean over all rounds. The plan prices one step after the other, asks the teacher each time, "
    "and leaves out the server’s idling. What came has a round’s start and end in it, parts of "
    "steps that were under way at once, and answers of the teacher that the server remembered."
)


def _against(run: History) -> Html | None:
    """Seconds and joules of a step, as planned and as they came."""
    steps = figures.number(figures.part(run.about, "settings"), "steps")
    if not steps or not run.rounds:
        return None
    taken = int(steps) * len(run.rounds)
    clock = "On the fleet" if figures.measured(run) else "Simulated"
    rows = [
        _delay(run, taken),
        _energy(run, taken, "all devices", "device_energy_j"),
        _energy(run, taken, "server", "server_energy_j"),
    ]
    table = scrolled(("Of one step", "Predicted", clock), rows)
    return tag(
        "div", tag("h3", "A step, predicted and as it came"), table, paragraph(_AGAINST, "fine")
    )


def _delay(run: History, steps: int) -> list[str]:
    elapsed_s = figures.last(run, "elapsed_s") or 0.0
    return ["Delay", _expected(run, "planned_s", "delay_s", short_s), short_s(elapsed_s / steps)]


def _energy(run: History, steps: int, who: str, field: str) -> list[str]:
    used_j = figures.total(run, field) or 0.0
    return [
        f"Energy, {who}",
        _expected(run, f"planned_{field}", field, short_j),
        short_j(used_j / steps),
    ]


def _expected(run: History, each: str, first: str, show: Callable[[float], str]) -> str:
    """The mean over the rounds' forecasts; of records without them, the first round's."""
    found = [value for value in figures.series(run, each) if value is not None]
    value = sum(found) / len(found) if found else figures.number(run.plan, first)
    return "–" if value is None else show(value)


# --- device by device -----------------------------------------------------------------------------


def _devices(run: History, devices: Sequence[Entry]) -> Html:
    shown = devices[:MOST_ROWS]
    words = f"{_which(run, len(shown), len(devices))} Predicted for one step of the first round; "
    words += "joules are those of the device, the server’s beside it."
    table = scrolled(_HEADS, [_row(entry) for entry in shown], "numbers planned")
    return block("What each device was given", words, table)


def _which(run: History, shown: int, planned: int) -> str:
    """Of which devices the table is."""
    which = f"The first {shown} of {planned:,} devices" if shown < planned else "Every device"
    if planned < figures.fleet_size(run):
        return f"{which} that took part in the first round: {planned:,} of the fleet’s."
    return f"{which}."


def _row(entry: Entry) -> list[str]:
    cells = [str(entry.get("id", "")), str(entry.get("kind", "–")), cut(entry)]
    cells.append(figures.pretty("", figures.number(entry, "bits")))
    shares = [
        figures.number(entry, name) for name in ("uplink_share", "downlink_share", "server_share")
    ]
    cells += [figures.pretty("share", share) for share in shares]
    cells += [_stage(entry, stage) for stage in STAGES]
    cells.append(short_s(figures.number(entry, "delay_s") or 0.0))
    cells.append(short_j(figures.number(entry, "energy_j") or 0.0))
    return cells


def _stage(entry: Entry, stage: str) -> Html:
    """Seconds, and beside them joules."""
    stages = figures.part(entry, "stages")
    spent_s = figures.number(stages, f"{stage}_s") or 0.0
    energy_j = figures.number(stages, f"{stage}_j") or 0.0
    return join(short_s(spent_s), tag("small", f" · {short_j(energy_j)}"))
