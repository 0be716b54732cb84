"""A run's page while the run goes on, and the fleet that it runs on: the sections of the report,
each in a slot.

A slot is sent again when its words change; `live.js` puts it in place. Without JavaScript the page
is complete too, and loads itself again now and then.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from ..core.fleet_status import DeviceStatus, Doing, FleetStatus
from ..core.units import pretty_bytes, pretty_s
from ..record.history import History
from ..record.queue import QueuedRun
from . import figures, headline, page, story
from .html import Html, join, paragraph, section, tag
from .html_table import Cells, scrolled
from .table import COLUMNS, Column, Row, rounds_done

MOST_DEVICES = 200
"""How many rows the roster has at most."""
_FEW_DEVICES = 24
"""The number of devices up to which nobody needs to search them."""
_WORDS: dict[Doing, str] = {
    "away": "away",
    "idle": "idle",
    "receiving": "receiving a job",
    "working": "at work",
    "uploading": "uploading",
}
_RECENTLY_S = 20.0
"""A device that is there is heard more often than this."""
MOST_CLASHES = 10
"""How many devices with two agents the page names."""
_REFUSED = {
    "denied": "A device that the fleet file does not name, or that was shut out with `enrol deny`.",
    "version": "A device with another version of the protocol: install the server’s version of "
    "distilfleet there.",
    "protocol": "The device said what no device says, so its session was ended.",
    "lease": "The device was silent for too long. It comes back by itself.",
    "stalled": "An upload stood still and was called off. The device sends it again.",
    "slow or gone": "The device read too slowly, or its connection broke. It comes back by itself.",
    "another agent uses this identity": "Two agents have the identity of one device: stop one, or "
    "enrol it anew.",
    "too many sessions": "A device began session after session. It is let in again within a "
    "minute.",
    "stopped at the device": "The agent was stopped there, and said so. Started again, it goes on.",
    "slow reader": "The device let too many messages pile up. It comes back by itself.",
    "handshake": "No session: whoever it was has no certificate of this fleet that is good now.",
    "enrolment": "Somebody asked to become a device and had no good token.",
    "renewal": "A device that may not come in asked for a new certificate.",
}
_COLUMNS = [
    column
    for column in COLUMNS
    if column.field.startswith(("large_", "small_", "bytes_per", "elapsed"))
]
_ORDER = (
    "story",
    "find",
    "roster",
    "results",
    "costs",
    "missed",
    "discounts",
    "refused",
    "runs",
    "plan",
    "prediction",
    "fleet",
    "disclosure",
    "record",
)
_AGAIN_S = 5
_EXTRA = page.Extra(
    assets=("live.css", "live.js"),
    policy="; connect-src 'self'; form-action 'self'; base-uri 'none'",
    referrer="same-origin",  # with none at all, browsers would not say where a button was pressed
)
_LOST = (
    "No word from the server. What is shown may be old; this page goes on by itself when the "
    "server is back."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to show."""

    moment: FleetStatus
    """The fleet as it stands now."""
    entries: Sequence[QueuedRun]
    """All runs of the server."""
    shown: QueuedRun | None = None
    """The run that the page is about: the one under way, or the last one."""
    run: History | None = None
    """The record of that run, once it has one."""
    rows: Mapping[str, Row] = field(default_factory=dict)
    """The figures of runs that have a record."""
    proof: str = ""
    """A word that goes with every button, so that no other page can press it."""
    find: str = ""
    """What was searched for: words that a device has in its name, its kind or what it does now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """A view as markup."""

    title: str
    """The title of the window."""
    slots: Mapping[str, Html]
    """The parts of the page by name, in its order."""


def paint(view: View, of_run: Mapping[str, Html | None]) -> Painted:
    """The view, with `of_run`: the sections of the run's page, which change with each round and not
    in between."""
    parts = {
        **of_run,
        "find": _finder(view),
        "roster": _roster(view.moment, view.find),
        "refused": _refused(view.moment),
        "runs": _runs(view),
    }
    slots = {name: join(parts.get(name)) for name in _ORDER}
    return Painted(title=_title(view), slots={"top": _top(view), **slots})


def document(painted: Painted) -> str:
    """The whole page."""
    top, *rest = [_slot(name, content) for name, content in painted.slots.items()]
    refresh = tag("noscript", tag("meta", http_equiv="refresh", content=_AGAIN_S))
    body = join(refresh, top, _lost(), tag("main", *rest), _footer())
    return page.document(painted.title, body, _EXTRA)


def _title(view: View) -> str:
    if view.run is None:
        return "Fleet"
    return f"{len(view.run.rounds)}/{figures.asked(view.run)} {story.title(view.run)}"


def _slot(name: str, content: Html) -> Html:
    return tag("div", content, id=f"slot-{name}", class_="slot")


def _lost() -> Html:
    """What is shown while no word comes from the server."""
    words = (tag("strong", "Not live"), paragraph(_LOST))
    return tag("aside", *words, class_="callout", id="lost", role="status", hidden=True)


def _footer() -> Html:
    words = (
        "Shown live by distilfleet serve. This page loads nothing from elsewhere and tells nobody "
        "that you read it."
    )
    return tag("footer", tag("p", words))


# --- the run --------------------------------------------------------------------------------------


def _top(view: View) -> Html:
    if view.run is None or view.shown is None:
        return _top_without_run(view)
    kicker = f"distilfleet · live · {view.shown.name}"
    header = headline.header(
        kicker, story.title(view.run), page.facts(view.run), _standing(view.run, view.shown)
    )
    failed = (
        headline.callout("This run failed", [view.shown.error], "callout failed")
        if view.shown.error
        else None
    )
    progress = _progress(view.run, view.shown, view.moment)
    return join(header, failed, progress, _buttons(view.shown, view.proof))


def _top_without_run(view: View) -> Html:
    waiting = [entry.name for entry in view.entries if entry.state == "waiting"]
    title = f"{waiting[0]} is about to begin" if waiting else "No run yet"
    return headline.header(
        "distilfleet · live", title, f"{len(view.moment.devices):,} devices", None
    )


_BADGES = {
    "under way": "Under way",
    "waiting for devices": "Waiting for devices",
    "stopping": "Stopping after this round",
    "stopped": "Stopped",
    "waiting": "Waiting for its turn",
    "failed": "Failed",
}
"""How far a run is, by its state, where that is not what the record says."""
_BADGE_STYLES = {"under way": "going", "failed": "failed"}


def _standing(run: History, shown: QueuedRun) -> headline.RunBadge:
    words = _BADGES.get(shown.state)
    if words is None:
        return headline.standing(run)
    style = _BADGE_STYLES.get(shown.state, "stopped")
    rounds = f"{len(run.rounds)} of {figures.asked(run)} rounds finished"
    return headline.RunBadge(style=style, words=f"{words}: {rounds}")


def _progress(run: History, shown: QueuedRun, moment: FleetStatus) -> Html | None:
    """How far the run is, and the round under way."""
    if not shown.goes_on:
        return None
    done = len(run.rounds)
    within = (moment.answered + moment.missed) / moment.jobs if moment.jobs else 0.0
    share = min(1.0, (done + within) / max(1, figures.asked(run)))
    filled = tag("i", style=f"width:{100 * share:.1f}%")
    bar = tag("div", filled, class_="progress", aria_hidden="true")
    return tag("div", bar, paragraph(_round_words(shown, moment, done), "sub"), class_="going-on")


def _round_words(shown: QueuedRun, moment: FleetStatus, done: int) -> str:
    if shown.waits:
        return f"{figures.capital(shown.waits)}."
    if moment.run != shown.name or moment.round <= done:
        return f"Round {done + 1} is being prepared."
    if not moment.jobs:
        return f"Round {moment.round}: the server computes."
    missed = f", {moment.missed:,} missed" if moment.missed else ""
    for_s = pretty_s(max(1.0, float(round(moment.since_s))))
    return (
        f"Round {moment.round}: {moment.answered:,} of {moment.jobs:,} answers are in{missed}. "
        f"Asked {for_s} ago."
    )


def _buttons(entry: QueuedRun, proof: str, brief: bool = False) -> Html | None:
    """What may be done with a run, as forms: they work without JavaScript."""
    if entry.state in ("under way", "waiting", "waiting for devices"):
        what = "Stop after this round" if entry.state == "under way" and not brief else "Stop"
        return _form(entry.name, "stop", what, proof)
    if entry.state in ("stopping", "stopped"):
        return _form(
            entry.name, "resume", "Go on after all" if entry.state == "stopping" else "Go on", proof
        )
    return None


def _form(name: str, verb: str, words: str, proof: str) -> Html:
    hidden = tag("input", type="hidden", name="proof", value=proof)
    button = tag("button", words, tag("span", f" {name}", class_="unseen"), type="submit")
    return tag(
        "form", hidden, button, method="post", action=f"/runs/{quote(name)}/{verb}", class_="act"
    )


# --- the fleet ------------------------------------------------------------------------------------


def _finder(view: View) -> Html | None:
    """Beside the roster and not in it, so that nothing takes a word from under who writes it."""
    if len(view.moment.devices) <= _FEW_DEVICES:
        return None
    box = tag(
        "input",
        type="search",
        name="find",
        id="find",
        value=view.find,
        placeholder="away, rpi-4b, pi-07",
    )
    label = tag("label", "Find devices by name, kind or what they do now ", box)
    return tag(
        "form",
        label,
        tag("button", "Find", type="submit"),
        method="get",
        action="/#slot-find",
        class_="act",
    )


_ROSTER_WORDS = (
    "Bytes of its sessions, with the rate while it is busy. Session: how often it has connected "
    "since the server started."
)


def _roster(moment: FleetStatus, find: str) -> Html:
    words = find.split()
    found = [
        device for device in moment.devices if all(word in _searched(device) for word in words)
    ]
    shown = found[:MOST_DEVICES]
    lead = _summary(moment)
    if words:
        lead += f" {len(found):,} fit “{find}”."
    if len(shown) < len(found):
        lead += f" The first {len(shown)} are shown."
    clashes = [paragraph(line, "fine") for line in _clashes(moment)]
    return section(
        "roster",
        "Devices right now",
        paragraph(lead, "lead"),
        *clashes,
        _roster_table(shown),
        paragraph(_ROSTER_WORDS, "fine"),
    )


def _roster_table(shown: Sequence[DeviceStatus]) -> Html:
    """One row for each device; without batteries there is no column for them."""
    battery = any(device.battery_share is not None for device in shown)
    charge = ["Battery"] if battery else []
    heads = ["Device", "Kind", "Now", *charge, "From device", "To device", "Last heard", "Session"]
    return scrolled(heads, [_device(device, battery) for device in shown], "roster")


def _summary(moment: FleetStatus) -> str:
    counts = Counter(device.doing for device in moment.devices)
    here = len(moment.devices) - counts.pop("away", 0)
    parts = ", ".join(
        f"{counts[doing]:,} {word}" for doing, word in _WORDS.items() if counts[doing]
    )
    words = f"{here:,} of {len(moment.devices):,} devices are here"
    if parts:
        words += f": {parts}"
    if moment.uploads_waiting:
        return f"{words}. {moment.uploads_waiting:,} uploads wait for room."
    return f"{words}."


def _clashes(moment: FleetStatus) -> list[str]:
    """The devices whose identity two agents use, the first of many."""
    words = (
        "Two agents use the identity of {} ({:,} times so far): stop one of the two, or enrol one "
        "anew."
    )
    return [
        words.format(device, times) for device, times in list(moment.clashes.items())[:MOST_CLASHES]
    ]


def _device(device: DeviceStatus, battery: bool) -> Cells:
    now = join(tag("i", class_=f"dot {device.doing}"), _now(device))
    charge = [figures.pretty("share", device.battery_share)] if battery else []
    is_busy = device.doing not in ("away", "idle")
    up = _sent(device.up_bytes, device.up_bps if is_busy else 0.0)
    down = _sent(device.down_bytes, device.down_bps if is_busy else 0.0)
    session = str(device.fence) if device.fence else "–"
    return [device.id, device.kind, now, *charge, up, down, _heard(device), session]


def _searched(device: DeviceStatus) -> str:
    """What is looked through for the words of a search."""
    return f"{device.id} {device.kind} {_now(device)}".lower()


def _now(device: DeviceStatus) -> str:
    doing = _WORDS[device.doing]
    return f"{doing}, stopped" if device.stopped else doing


def _sent(size_bytes: int, rate_bps: float) -> Html:
    size = pretty_bytes(size_bytes) if size_bytes else "–"
    rate = tag("small", f" · {pretty_bytes(rate_bps / 8)}/s") if rate_bps else None
    return join(size, rate)


def _heard(device: DeviceStatus) -> str:
    """In steps, so that a row changes only when there is news."""
    if device.silent_s is None:
        return "never"
    if device.silent_s < _RECENTLY_S:
        return "just now"
    step_s = 10 if device.silent_s < 100 else 60
    return f"{pretty_s(device.silent_s // step_s * step_s)} ago"


def _refused(moment: FleetStatus) -> Html | None:
    if not moment.refused and not moment.late:
        return None
    late = f"{moment.late:,} answers came after their round had gone on without them."
    return section(
        "refused",
        "Sessions refused or ended",
        paragraph("By the server, since it started.", "lead"),
        _reasons(moment.refused) if moment.refused else None,
        paragraph(late, "fine") if moment.late else None,
    )


def _reasons(refused: Mapping[str, int]) -> Html:
    """The commonest reason comes first."""
    rows = []
    for reason, count in sorted(refused.items(), key=lambda item: -item[1]):
        kind = reason.partition(":")[0]
        meaning = _REFUSED.get(kind, "Not how a session of a device begins.")
        rows.append([reason, f"{count:,}", meaning])
    return scrolled(("Reason", "How often", "What it means"), rows, "reasons")


# --- all runs -------------------------------------------------------------------------------------


_RUNS = (
    "One run goes on at a time; then comes the one that has waited longest. A stopped one waits "
    "until somebody lets it go on, also when the server is started again."
)
_NO_RUNS = (
    "Nothing was asked of this server yet. On this machine: distilfleet run koala --fleet "
    "fleet.toml"
)


def _runs(view: View) -> Html:
    if not view.entries:
        return section("runs", "Runs of this server", paragraph(_NO_RUNS, "lead"))
    known = view.rows.values()
    columns = [
        column
        for column in _COLUMNS
        if any(getattr(row, column.field) is not None for row in known)
    ]
    heads = ["Run", "State", "", "Rounds", *(figures.capital(column.name) for column in columns)]
    table = scrolled(heads, [_run(view, entry, columns) for entry in view.entries], "final runs")
    return section("runs", "Runs of this server", paragraph(_RUNS, "lead"), table)


def _run(view: View, entry: QueuedRun, columns: Sequence[Column]) -> Cells:
    why = entry.error or entry.waits
    state = f"{entry.state}: {why}" if why else entry.state
    buttons = _buttons(entry, view.proof, brief=True) or ""
    row = view.rows.get(entry.name)
    if row is None:
        return [entry.name, state, buttons, "–", *("–" for _ in columns)]
    is_over = entry.state in ("finished", "stopped", "failed")
    name = tag("a", entry.name, href=f"/runs/{quote(entry.name)}") if is_over else entry.name
    cells = [figures.pretty(column.field, getattr(row, column.field)) for column in columns]
    return [name, state, buttons, rounds_done(row), *cells]
