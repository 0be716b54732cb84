"""The verb `compare`: runs side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from ..core.errors import ConfigError
from .words import parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Runs side by side: a table, and a page with the curves of all of them."""

    runs: tuple[Path, ...]
    """Run directories."""
    out: Path | None = None
    """The page. Default: compare.html beside the first run, with a number if that is there
    already."""
    json: bool = False
    """Print one JSON object instead of a table."""


def compare(words: list[str]) -> int:
    """The verb."""
    flags = parsed(Compare, "distilfleet compare", words or ["--help"])
    if not flags.runs:
        raise ConfigError("name at least one run directory: distilfleet compare DIR [DIR ...]")
    out = flags.out or free(flags.runs[0].parent / "compare.html")
    if out.exists():
        raise ConfigError(f"{out} is there already; name another --out")
    print(compared(flags.runs, out, as_json=flags.json))
    return 0


def compared(paths: Sequence[Path], page: Path, *, as_json: bool = False) -> str:
    """Write the page, and give the table of it, or all of it as one object of JSON."""
    from ..record.history import read
    from ..report import table
    from ..report.page import write_page

    runs = [read(path) for path in paths]
    write_page(runs, page)
    return (
        json.dumps(table.as_json(runs)) if as_json else f"{table.text_table(runs)}\n\nPage: {page}"
    )


def free(page: Path) -> Path:
    """The page's place, with a number where others are there already."""
    numbered = (page.with_name(f"{page.stem}-{number}{page.suffix}") for number in count(2))
    return next(place for place in chain([page], numbered) if not place.exists())
