"""Words of a command line, read as a frozen dataclass of flags."""

from contextlib import nullcontext
from dataclasses import is_dataclass
from typing import Any, get_origin, get_type_hints

from ..core.errors import ConfigError


def parsed(kind: Any, program: str, words: list[str], usual: Any = None) -> Any:
    """The flags that the words set, the rest as in `usual`, or else as their dataclass has them.

    Exits with the help or the mistake, as the words ask for.

    Raises ConfigError for a flag by the name that it had, and for a list that comes twice: of the
    two the first would be lost unsaid.
    """
    _check_names(kind, words)
    for flag in _lists(kind):
        if sum(word == flag or word.startswith(f"{flag}=") for word in words) > 1:
            raise ConfigError(f"{flag} is given twice: give it once, with all its values behind it")
    import tyro

    from .flag_help import whole_paragraphs

    with whole_paragraphs() if {"-h", "--help"} & set(words) else nullcontext():
        config = (tyro.conf.PositionalRequiredArgs,)
        if usual is None:
            return tyro.cli(kind, prog=program, args=words, config=config)
        return tyro.cli(kind, prog=program, args=words, default=usual, config=config)


def _check_names(kind: Any, words: list[str]) -> None:
    """Raises ConfigError for a flag that is called otherwise now."""
    from ..recipes.flags import option, renamed

    flags = {_name(word): word.partition("=")[0] for word in words if word.startswith("--")}
    for old, new in renamed(kind, flags).items():
        raise ConfigError(f"{flags[old]} is called {option(new)} now: write that instead")


def _name(word: str) -> str:
    """The field that a flag stands for."""
    return word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")


def _lists(kind: Any) -> list[str]:
    """Flags that take several values, all levels in one."""
    found = []
    for name, hint in get_type_hints(kind).items() if is_dataclass(kind) else ():
        found += [f"--{name.replace('_', '-')}"] if get_origin(hint) is tuple else _lists(hint)
    return found
