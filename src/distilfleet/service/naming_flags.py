"""What a device's owner says of a file, from flags to a `Naming`."""

import math
from collections.abc import Iterable
from typing import Protocol

from ..core.errors import ConfigError
from ..data.naming import Naming
from ..data.reading import Reading


class NamingFlags(Protocol):
    """Flags of `AgentFlags`, and of all others who read such a file."""

    @property
    def label(self) -> str | None: ...
    @property
    def rename(self) -> tuple[str, ...]: ...
    @property
    def rename_class(self) -> tuple[str, ...]: ...
    @property
    def rename_value(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def units(self) -> tuple[str, ...]: ...
    @property
    def any_range(self) -> bool: ...
    @property
    def skip_unknown(self) -> bool: ...
    @property
    def fit_pictures(self) -> bool: ...
    @property
    def reading(self) -> Reading: ...


def naming_of(asked: NamingFlags) -> Naming:
    """Raises ConfigError."""
    values = _pairs("--rename-value", asked.rename_value)
    return Naming(
        label=asked.label,
        columns=_pairs("--rename", asked.rename),
        classes=_pairs("--rename-class", asked.rename_class),
        values={_category(name): value for name, value in values.items()},
        order=asked.columns,
        units={name: _unit(name, said) for name, said in _pairs("--units", asked.units).items()},
        any_range=asked.any_range,
        skip_unknown=asked.skip_unknown,
        fit_pictures=asked.fit_pictures,
        reading=asked.reading,
    )


def _pairs(flag: str, words: Iterable[str]) -> dict[str, str]:
    """OWN=RUN, each name once. Raises ConfigError."""
    pairs: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign and value):
            raise ConfigError(f"{flag} {word}: expected OWN=RUN, a name of yours and the run's")
        if pairs.setdefault(name, value) != value:
            raise ConfigError(f"{flag}: {name} is given twice, as {pairs[name]} and {value}")
    return pairs


def _category(name: str) -> tuple[str, str]:
    column, sign, value = name.partition(":")
    if not (column and sign):
        raise ConfigError(f"--rename-value {name}: expected COLUMN:OWN=RUN")
    return column, value


def _unit(name: str, said: str) -> tuple[float, float]:
    """Factor and offset."""
    factor, _, offset = said.partition(",")
    try:
        found = float(factor), float(offset or 0)
    except ValueError:
        found = 0.0, 0.0
    if not (found[0] and all(map(math.isfinite, found))):
        raise ConfigError(
            f"--units {name}={said}: expected FACTOR or FACTOR,OFFSET, such as 0.5556,-17.78"
        )
    return found
