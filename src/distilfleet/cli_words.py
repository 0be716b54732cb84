"""Words of a command line, read as a frozen dataclass of flags."""

from collections import Counter
from typing import Any

from .core.errors import ConfigError


def parsed(kind: Any, program: str, words: list[str]) -> Any:
    """Exits with the help or the mistake, as the words ask for. Raises ConfigError for a flag that comes twice: of the
    two the first would go unsaid."""
    twice = [word for word, count in Counter(words).items() if count > 1 and word.startswith("--")]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice: give it once, with all its values behind it")
    import tyro

    return tyro.cli(kind, prog=program, args=words, config=(tyro.conf.PositionalRequiredArgs,))
