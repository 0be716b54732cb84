"""Words of a command line, read as a frozen dataclass of flags."""

from typing import Any


def parsed(kind: Any, program: str, words: list[str]) -> Any:
    """Exits with the help or the mistake, as the words ask for."""
    import tyro

    return tyro.cli(kind, prog=program, args=words, config=(tyro.conf.PositionalRequiredArgs,))
