"""What to type to have a recorded run again, for a POSIX shell."""

import shlex
from collections.abc import Mapping
from typing import Any

NOT_REPEATED = frozenset({"out", "resume"})
ALWAYS = frozenset({"rounds", "seed"})
UNSET: tuple[Any, ...] = (None, [], ())


def pieces(about: Mapping[str, Any]) -> list[str]:
    """The verb with its recipe, then each flag with its values; what was not set is left out."""
    settings = {_flag_name(name): value for name, value in _part(about, "settings").items()}
    # what the run really had: more rounds may have been asked for later, threads may have been
    # torch's choice
    settings |= {name: about[name] for name in ("rounds", "seed", "threads") if name in about}
    flags = [
        _flag(name, value)
        for name, value in settings.items()
        if name not in NOT_REPEATED and value not in UNSET and _was_given(about, name)
    ]
    return [shlex.join(["distilfleet", "run", str(about.get("recipe", "unknown"))]), *flags]


def _flag_name(name: str) -> str:
    return str(name).lstrip("-").replace("_", "-")


def _was_given(about: Mapping[str, Any], name: str) -> bool:
    """Whether the setting is not the recipe's own; older records do not say."""
    given = about.get("given")
    if given is None or name in ALWAYS or name == "fleet":
        return True
    return name in {_flag_name(one) for one in given}


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return shlex.join([f"--{name}" if value else f"--no-{name}"])
    values = value if isinstance(value, list | tuple) else [value]
    return shlex.join([f"--{name}", *map(str, values)])


def _part(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = about.get(name, {})
    return found if isinstance(found, Mapping) else {}
