"""A run's page while the run goes on, and the fleet that it runs on: the sections of the report, each in a slot.

A slot is sent again when its words change; `live.js` puts it in place. Without JavaScript the page is complete too, and
loads itself again now and then.
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
from .details import scrolled
from .html import Html, join, tag
from .table import COLUMNS, Column, Row, rounds_done

MOST_DEVICES = 200
"""Rows of the roster."""
_MOST_ROWS = 24
"""Up to so many devices are shown at full height; more scroll inside a box."""
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
"""Devices with two agents that the page names."""
_REFUSED = {
    "denied": "A device that the fleet file does not name, or that was shut out with `enrol deny`.",
    "version": "A device with another version of the protocol: install the server’s version of distilfleet there.",
    "protocol": "The device said what no device says, so its session was ended.",
    "lease": "The device was silent for too long. It comes back by itself.",
    "stalled": "An upload stood still and was called off. The device sends it again.",
    "slow or gone": "The device read too slowly, or its connection broke. It comes back by itself.",
    "another agent uses this identity": "Two agents have the identity of one device: stop one, or enrol it anew.",
    "too many sessions": "A device began session after session. It is let in again within a minute.",
    "stopped at the device": "The agent was stopped there, and said so. Started again, it goes on.",
    "slow reader": "The device let too many messages pile up. It comes back by itself.",
    "handshake": "No session: whoever it was has no certificate of this fleet that is good now.",
    "enrolment": "Somebody asked to become a device and had no good token.",
    "renewal": "A device that may not come in asked for a new certificate.",
}
_COLUMNS = [column for column in COLUMNS if column.field.startswith(("large_", "small_", "bytes_per", "elapsed"))]
_ORDER = (
    "story",
    "find",
    "roster",
    "results",
    "costs",
    "missed",
    "refused",
    "runs",
    "plan",
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
_LOST = "No word from the server. What is shown may be old; this page goes on by itself when the server is back."


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to show."""

    moment: FleetStatus
    entries: Sequence[QueuedRun]
    shown: QueuedRun | None = None
    """The run that the page is about: the one under way, or the last one."""
    run: History | None = None
    """Its record, once it has one."""
    rows: Mapping[str, Row] = field(default_factory=dict)
    """Figures of runs that have a record."""
    proof: str = ""
    """Goes with every button, so that no other page can press it."""
    find: str = ""
    """Words that the roster's devices have in their name, kind or what they do now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """A view as markup."""

    title: str
    slots: Mapping[str, Html]
    """By name, in the order of the page."""


def paint(view: View, of_run: Mapping[str, Html | None]) -> Painted:
    """`of_run`: the sections of the run's page, which change with each round and not in between."""
    live = {
        "find": _finder(view),
        "roster": _roster(view.moment, view.find),
        "refused": _refused(view.moment),
        "runs": _runs(view),
    }
    slots = {"top": _top(view), **{name: join({**of_run, **live}.get(name)) for name in _ORDER}}
    return Painted(title=_title(view), slots=slots)


def document(painted: Painted) -> str:
    """The whole page."""
    top, *rest = (_slot(name, content) for name, content in painted.slots.items())
    refresh = tag("noscript", tag("meta", http_equiv="refresh", content=_AGAIN_S))
    words = tag("strong", "Not live"), tag("p", _LOST)
    lost = tag("aside", *words, class_="callout", id="lost", role="status", hidden=True)
    body = join(refresh, top, lost, tag("main", *rest), _footer())
    return page.document(painted.title, body, _EXTRA)


def _title(view: View) -> str:
    if view.run is None:
        return "Fleet"
    return f"{len(view.run.rounds)}/{figures.asked(view.run)} {story.title(view.run)}"


def _slot(name: str, content: Html) -> Html:
    return tag("div", content, id=f"slot-{name}", class_="slot")


def _footer() -> Html:
    words = "Shown live by distilfleet serve. This page loads nothing from elsewhere and tells nobody that you read it."
    return tag("footer", tag("p", words))


# --- the run ----------------------------------------------------------------------------------------------------


def _top(view: View) -> Html:
    if view.run is None or view.shown is None:
        waiting = next((entry.name for entry in view.entries if entry.state == "waiting"), None)
        name = f"{waiting} is about to begin" if waiting else "No run yet"
        return headline.header("distilfleet · live", name, f"{len(view.moment.devices):,} devices", None)
    facts = page.facts(view.run)
    header = headline.header(f"distilfleet · live · {view.shown.name}", story.title(view.run), facts, _standing(view))
    failed = headline.callout("This run failed", [view.shown.error]) if view.shown.error else None
    return join(header, failed, _progress(view.run, view.shown, view.moment), _buttons(view.shown, view.proof))


def _standing(view: View) -> tuple[str, str]:
    assert view.run is not None and view.shown is not None
    rounds = f"{len(view.run.rounds)} of {figures.asked(view.run)} rounds finished"
    words = {
        "under way": ("going", f"Under way: {rounds}"),
        "waiting for devices": ("stopped", f"Waiting for devices: {rounds}"),
        "stopping": ("stopped", f"Stopping after this round: {rounds}"),
        "stopped": ("stopped", f"Stopped: {rounds}"),
        "waiting": ("stopped", f"Waiting for its turn: {rounds}"),
        "failed": ("stopped", f"Failed: {rounds}"),
    }
    return words.get(view.shown.state) or headline.standing(view.run)


def _progress(run: History, shown: QueuedRun, moment: FleetStatus) -> Html | None:
    """How far the run is, and the round under way."""
    if not shown.goes_on:
        return None
    done, asked = len(run.rounds), figures.asked(run)
    within = (moment.answered + moment.missed) / moment.jobs if moment.jobs else 0.0
    share = min(1.0, (done + within) / max(1, asked))
    bar = tag("div", tag("i", style=f"width:{100 * share:.1f}%"), class_="progress", aria_hidden="true")
    return tag("div", bar, tag("p", _round_words(shown, moment, done), class_="sub"), class_="going-on")


def _round_words(shown: QueuedRun, moment: FleetStatus, done: int) -> str:
    if shown.waits:
        return f"{shown.waits[:1].upper()}{shown.waits[1:]}."
    if moment.run != shown.name or moment.round <= done:
        return f"Round {done + 1} is being prepared."
    if not moment.jobs:
        return f"Round {moment.round}: the server computes."
    missed = f", {moment.missed:,} missed" if moment.missed else ""
    for_s = pretty_s(max(1.0, float(round(moment.since_s))))
    return f"Round {moment.round}: {moment.answered:,} of {moment.jobs:,} answers are in{missed}. Asked {for_s} ago."


def _buttons(entry: QueuedRun, proof: str, brief: bool = False) -> Html | None:
    """What may be done with a run, as forms: they work without JavaScript."""
    if entry.state in ("under way", "waiting", "waiting for devices"):
        what = "Stop after this round" if entry.state == "under way" and not brief else "Stop"
        return _form(entry.name, "stop", what, proof)
    if entry.state in ("stopping", "stopped"):
        return _form(entry.name, "resume", "Go on after all" if entry.state == "stopping" else "Go on", proof)
    return None


def _form(name: str, verb: str, words: str, proof: str) -> Html:
    hidden = tag("input", type="hidden", name="proof", value=proof)
    button = tag("button", words, tag("span", f" {name}", class_="unseen"), type="submit")
    return tag("form", hidden, button, method="post", action=f"/runs/{quote(name)}/{verb}", class_="act")


# --- the fleet --------------------------------------------------------------------------------------------------


def _finder(view: View) -> Html | None:
    """Beside the roster and not in it, so that nothing takes a word from under who writes it."""
    if len(view.moment.devices) <= _MOST_ROWS:
        return None
    box = tag("input", type="search", name="find", id="find", value=view.find, placeholder="away, rpi-4b, pi-07")
    label = tag("label", "Find devices by name, kind or what they do now ", box)
    return tag("form", label, tag("button", "Find", type="submit"), method="get", action="/#slot-find", class_="act")


def _roster(moment: FleetStatus, find: str) -> Html:
    words = find.split()
    found = [seen for seen in moment.devices if all(word in _spoken(seen) for word in words)]
    shown = found[:MOST_DEVICES]
    battery = any(seen.battery_share is not None for seen in shown)
    heads = [
        "Device",
        "Kind",
        "Now",
        *(["Battery"] if battery else []),
        "From device",
        "To device",
        "Last heard",
        "Session",
    ]
    rows = [_device(seen, battery) for seen in shown]
    table = scrolled(heads, rows, "roster", tall=len(rows) > _MOST_ROWS)
    cut = f" {len(found):,} fit “{find}”." if words else ""
    cut += f" The first {len(shown)} are shown." if len(shown) < len(found) else ""
    told = (
        "Bytes of its sessions, with the rate while it is busy. Session: how often it has connected since the server "
        "started."
    )
    return tag(
        "section",
        tag("h2", "Devices right now"),
        tag("p", _summary(moment), cut, class_="lead"),
        *(tag("p", line, class_="fine") for line in _clashes(moment)),
        table,
        tag("p", told, class_="fine"),
        id="roster",
    )


def _summary(moment: FleetStatus) -> str:
    counts = Counter(seen.doing for seen in moment.devices)
    here = len(moment.devices) - counts["away"]
    parts = ", ".join(
        f"{counts[doing]:,} {word}" for doing, word in _WORDS.items() if counts[doing] and doing != "away"
    )
    line = f" {moment.uploads_waiting:,} uploads wait for room." if moment.uploads_waiting else ""
    return f"{here:,} of {len(moment.devices):,} devices are here{': ' if parts else ''}{parts}.{line}"


def _clashes(moment: FleetStatus) -> list[str]:
    told = "Two agents use the identity of {} ({:,} times so far): stop one of the two, or enrol one anew."
    return [told.format(device, times) for device, times in list(moment.clashes.items())[:MOST_CLASHES]]


def _device(seen: DeviceStatus, battery: bool) -> list[str | Html]:
    doing = join(tag("i", class_=f"dot {seen.doing}"), _now(seen))
    charge = [figures.pretty("share", seen.battery_share)] if battery else []
    busy = seen.doing not in ("away", "idle")
    sent = [_sent(seen.up_bytes, busy * seen.up_bps), _sent(seen.down_bytes, busy * seen.down_bps)]
    return [seen.id, seen.kind, doing, *charge, *sent, _heard(seen), str(seen.fence) if seen.fence else "–"]


def _spoken(seen: DeviceStatus) -> str:
    return f"{seen.id} {seen.kind} {_now(seen)}".lower()


def _now(seen: DeviceStatus) -> str:
    return f"{_WORDS[seen.doing]}, stopped" if seen.stopped else _WORDS[seen.doing]


def _sent(size_bytes: int, rate_bps: float) -> Html:
    rate = tag("small", f" · {pretty_bytes(rate_bps / 8)}/s") if rate_bps else None
    return join(pretty_bytes(size_bytes) if size_bytes else "–", rate)


def _heard(seen: DeviceStatus) -> str:
    """In steps, so that a row changes only when there is news."""
    if seen.silent_s is None:
        return "never"
    if seen.silent_s < _RECENTLY_S:
        return "just now"
    step_s = 10 if seen.silent_s < 100 else 60
    return f"{pretty_s(seen.silent_s // step_s * step_s)} ago"


def _refused(moment: FleetStatus) -> Html | None:
    if not moment.refused and not moment.late:
        return None
    rows = [
        [reason, f"{count:,}", _REFUSED.get(reason.partition(":")[0], "Not how a session of a device begins.")]
        for reason, count in sorted(moment.refused.items(), key=lambda item: -item[1])
    ]
    late = f"{moment.late:,} answers came after their round had gone on without them." if moment.late else None
    return tag(
        "section",
        tag("h2", "Sessions refused or ended"),
        tag("p", "By the server, since it started.", class_="lead"),
        scrolled(("Reason", "How often", "What it means"), rows, "reasons") if rows else None,
        tag("p", late, class_="fine") if late else None,
        id="refused",
    )


# --- all runs ---------------------------------------------------------------------------------------------------


def _runs(view: View) -> Html:
    lead = (
        "One run goes on at a time; then comes the one that has waited longest. A stopped one waits until somebody "
        "lets it go on, also when the server is started again."
    )
    if not view.entries:
        lead = "Nothing was asked of this server yet. On this machine: distilfleet run koala --fleet fleet.toml"
    columns = [c for c in _COLUMNS if any(getattr(row, c.field) is not None for row in view.rows.values())]
    heads = ["Run", "State", "", "Rounds", *(c.name[:1].upper() + c.name[1:] for c in columns)]
    rows = [_run(view, entry, columns) for entry in view.entries]
    table = scrolled(heads, rows, "final runs") if rows else None
    return tag("section", tag("h2", "Runs of this server"), tag("p", lead, class_="lead"), table, id="runs")


def _run(view: View, entry: QueuedRun, columns: Sequence[Column]) -> list[str | Html]:
    row = view.rows.get(entry.name)
    over = entry.state in ("finished", "stopped", "failed") and row is not None
    name = tag("a", entry.name, href=f"/runs/{quote(entry.name)}") if over else join(entry.name)
    cells = [figures.pretty(c.field, None if row is None else getattr(row, c.field)) for c in columns]
    why = entry.error or entry.waits
    state = join(entry.state, f": {why}" if why else None)
    return [
        name,
        state,
        _buttons(entry, view.proof, brief=True) or "",
        "–" if row is None else rounds_done(row),
        *cells,
    ]
