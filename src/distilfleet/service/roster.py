"""Who takes part in a run that goes on, when the fleet file has changed meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import ConfigError
from ..core.types import DeviceId
from ..record.history import read_about, read_fleet
from ..record.run import RunRecord, add_note, rewrite_fleet

MOST_NAMED = 10
"""Devices that a note names, of each sort of change."""
Kinds = Mapping[DeviceId, str]


def follow_fleet_file(
    record: RunRecord, facts: Mapping[str, Any], models: Mapping[str, Any], last: int
) -> str:
    """Have the record say who takes part after round `last`, and give what has changed; empty if
    nothing has.

    Raises ConfigError if other models would be trained: the ones so far could not go on.
    """
    before = read_fleet(record.path)
    note = changed(_kinds(before), _kinds(facts))
    if not note:
        return ""
    about = read_about(record.path)
    if about["models"] != dict(models):
        raise ConfigError(
            f"{note} So the run would train other models ({_named(models)}) than those that it has "
            f"trained so far ({_named(about['models'])}). Put the fleet file back, or ask for a "
            "new run."
        )
    note = f"From round {last + 1} on by another fleet file: {note}"
    rewrite_fleet(record, facts)
    add_note(record, about, note)
    return note


def changed(before: Kinds, now: Kinds) -> str:
    """In words; empty if nothing has."""
    gone = [name for name in before if name not in now]
    new = [f"{name} ({kind})" for name, kind in now.items() if name not in before]
    other = [
        f"{name} (a {now[name]}, was a {kind})"
        for name, kind in before.items()
        if now.get(name, kind) != kind
    ]
    sorts = {"gone": gone, "new": new, "of another kind": other}
    changes = [_listed(words, names) for words, names in sorts.items() if names]
    if not changes and list(before) != list(now):
        changes = ["the devices are in another order"]
    return f"{'; '.join(changes)}." if changes else ""


def _kinds(facts: Mapping[str, Any]) -> Kinds:
    """Those that the record shows, of large fleets the first, where it does not have all."""
    kinds: Kinds = facts.get("devices") or {
        one["id"]: one["kind"] for one in facts.get("shown", ())
    }
    return kinds


def _listed(words: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{words}: {', '.join(names[:MOST_NAMED])}{more}"


def _named(models: Mapping[str, Any]) -> str:
    return ", ".join([*([models["large"]] if "large" in models else []), *models.get("small", ())])
