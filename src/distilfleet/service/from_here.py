"""Files that settings name, as whole paths: a server that takes a run works in another folder than
who asks for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES = frozenset({"data", "test", "proxy", "teacher", "student", "tokenizer", "large", "small"})
"""Settings that may name a file, or a function in one; what is no file here, as a name on a hub,
stays."""


def from_here(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _whole(value) if name in FILES else value for name, value in settings.items()}


def placed(named: str) -> str:
    """`FILE`, `FILE.py:FUNCTION` or `KIND=FILE.py:FUNCTION` with the whole path of a file that is
    here."""
    kind, mark, rest = named.rpartition("=")
    file, colon, function = rest.rpartition(":")
    if file.endswith(".py") and Path(file).expanduser().is_file():
        return f"{kind}{mark}{Path(file).expanduser().absolute()}{colon}{function}"
    place = Path(named).expanduser()
    return str(place.absolute()) if named and place.exists() else named


def _whole(value: Any) -> Any:
    return placed(value) if isinstance(value, str) else [placed(one) for one in value]
