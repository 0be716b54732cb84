"""Tables on a page: they scroll inside a box of their own, and the first cell of a row names it."""

from collections.abc import Sequence
from dataclasses import dataclass

from .html import Html, join, tag

_MOST_ROWS = 24
"""How many rows are shown at full height; of a longer table the rest scrolls inside its box."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a class of the style sheet; cells without one are plain text or markup."""

    content: str
    style: str


Cells = Sequence[str | Cell]
"""The cells of a row."""


def scrolled(
    heads: Sequence[str], rows: Sequence[Cells], style: str | None = None, *, box: str = ""
) -> Html:
    """A table in its box; the words of `style` and `box` are classes of the style sheet."""
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    body = [_row(row) for row in rows]
    table = tag("table", tag("thead", head), tag("tbody", *body), class_=style)
    height = "tall" if len(rows) > _MOST_ROWS else ""
    classes = " ".join(filter(None, ("scroll", box, height)))
    return tag(
        "div", table, class_=classes, tabindex=0, role="region", aria_label=f"Table: {heads[0]}"
    )


def words(text: str) -> Cell:
    """Running text, which may be broken into lines."""
    return Cell(text, "words")


def meter(share: float, *content: str | None) -> Cell:
    """A small bar as long as the share, and what it stands for."""
    bar = tag("i", class_="meter", style=f"--w:{100 * share:.3g}%")
    return Cell(join(bar, *content), "bar-cell")


def _row(cells: Cells) -> Html:
    first, *rest = cells
    tagged = [_cell(cell) for cell in rest]
    return tag("tr", tag("th", _content(first), scope="row"), *tagged)


def _cell(cell: str | Cell) -> Html:
    style = cell.style if isinstance(cell, Cell) else None
    return tag("td", _content(cell), class_=style)


def _content(cell: str | Cell) -> str:
    return cell.content if isinstance(cell, Cell) else cell
