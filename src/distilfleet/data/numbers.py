"""Numbers as people and loggers write them: 21.5, 1 234,5, 1'234, 60 %, $5, 0x1f. One convention
for a whole column."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from .labels import is_missing
from .reading import Decimal

SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
CURRENCIES = r"[$€£¥₹]|(?:USD|EUR|GBP|CHF|JPY|INR|CNY)\b"
FORM = re.compile(
    rf"(?P<sign>[-+−]?)\s?(?P<front>{CURRENCIES})?\s?(?P<inner>[-+−]?)"
    rf"(?P<body>\d(?:[\d.,'’{SPACES}]*[\d.,])?|[.,]\d+)(?P<power>[eE][-+−]?\d+)?"
    r"\s?(?P<unit>[^\W\d_][^\s,;]{0,15}|[%‰°℃℉$€£¥₹Ω][^\s,;]{0,15}|)"
)
GROUPED = re.compile(
    rf"\d{{1,3}}(?:,(?:\d{{2,3}},)*\d{{3}}|(?P<mark>['’{SPACES}.])\d{{3}}(?:(?P=mark)\d{{3}})*)"
)
"""Whole numbers with signs between thousands; 12,34,567 as in India."""
HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
ONE = r"[-+−]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][-+−]?\d+)?"
BETWEEN = r"\d*[.,]\d+"
ODD = re.compile(
    "|".join(
        [
            rf"[(<>~≈≤≥±]\s?{ONE}\)?|{ONE}(?:-|\s?±\s?{ONE})",
            r"[-+−]?\d{1,3}(?:_\d{3})+(?:\.\d+)?|[-+−]?\d*\.\d*[dDqQ][-+−]?\d+",
            rf"{ONE}\s?[x×*·]\s?10(?:\s?(?:\^|\*\*)\s?\(?[-+−]?\d+\)?|[⁻⁺]?[⁰¹²³⁴-⁹]+)",
            rf"(?P<quote>['\"’`])\s?{ONE}\s?(?P=quote)",
            rf"[(\[{{](?=\D*\d)[-+−\d.,;|\seE]*[)\]}}]|[-+−]?{BETWEEN}(?:[\s;|]+[-+−]?{BETWEEN})+",
        ]
    )
)
"""Looks like a number and is none, or several: (5), <5, ~5, 5-, 5 ± 1, 1_000, 1.5D+03, 1.5x10^3,
'5', [1, 2]."""
ALIKE = str.maketrans({"μ": "µ", "℃": "°C", "℉": "°F", "º": "°"})
"""Signs in units that look the same."""
UNITS = frozenset(
    [
        *(
            "%",
            "‰",
            "°",
            "°C",
            "°F",
            "C",
            "F",
            "K",
            "s",
            "ms",
            "us",
            "µs",
            "μs",
            "ns",
            "min",
            "h",
            "d",
        ),
        *(
            "Hz",
            "kHz",
            "MHz",
            "GHz",
            "V",
            "mV",
            "µV",
            "kV",
            "A",
            "mA",
            "µA",
            "W",
            "mW",
            "kW",
            "MW",
            "Wh",
            "kWh",
        ),
        *(
            "J",
            "mJ",
            "kJ",
            "m",
            "mm",
            "cm",
            "km",
            "µm",
            "nm",
            "in",
            "ft",
            "mi",
            "g",
            "kg",
            "mg",
            "µg",
            "t",
            "lb",
        ),
        *(
            "l",
            "L",
            "ml",
            "mL",
            "Pa",
            "hPa",
            "kPa",
            "MPa",
            "bar",
            "mbar",
            "psi",
            "mmHg",
            "ppm",
            "ppb",
            "dB",
            "dBm",
        ),
        *(
            "lx",
            "lm",
            "rpm",
            "bpm",
            "m/s",
            "km/h",
            "mph",
            "m/s²",
            "m/s2",
            "g/m³",
            "µg/m³",
            "mg/l",
            "mmol/l",
        ),
        *(
            "°/s",
            "deg",
            "rad",
            "rad/s",
            "N",
            "kN",
            "Nm",
            "Ω",
            "kΩ",
            "B",
            "kB",
            "KB",
            "MB",
            "GB",
            "KiB",
            "MiB",
        ),
        *(
            "bps",
            "kbps",
            "Mbps",
            "Mbit/s",
            "W/m²",
            "T",
            "mT",
            "µT",
            "uT",
            "G",
            "k",
            "M",
            "l/min",
            "m³/h",
            "m³",
            "m²",
        ),
        *("$", "€", "£", "¥", "₹"),
    ]
)
"""Known ones: mixed in one column they are a fault, where other endings, as in 12a and 12b, may be
names."""

POINTS = "points taken as decimal marks, though all could stand between thousands"

MARKS: dict[Decimal, str] = {"point": ".", "comma": ","}


class TypedCells(Sequence[str]):
    """The cells of a column that is stored as numbers: text only where a cell is asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "TypedCells": ...
    def __getitem__(self, at: int | slice) -> "str | TypedCells":
        return TypedCells(self.values[at]) if isinstance(at, slice) else str(self.values[at])

    def take(self, rows: Sequence[int]) -> "TypedCells":
        """These cells, in the order named."""
        return TypedCells(self.values[np.asarray(rows, dtype=np.int64)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbers:
    """A column of numbers, NaN where one is missing."""

    values: np.ndarray
    """float64 [rows]."""
    unit: str = ""
    form: str = ""
    """How they were written, where it is not plainly."""
    proves: Decimal | None = None
    """The decimal mark that no other reading fits."""
    either: bool = False
    """Whether points could stand between thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """A column that looks like numbers and cannot be read: the row where it shows, and what settles
    it."""

    row: int
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """One number, taken apart."""

    minus: bool
    body: str
    power: str
    unit: str
    fits: tuple[Decimal, ...]
    """Decimal marks by which it is a number."""


def read(cells: Sequence[str], decimal: Decimal | None = None) -> Numbers | Unclear | None:
    """The numbers of a column; None for text. `decimal` is what the user says of the file."""
    if isinstance(cells, TypedCells):
        return Numbers(values=cells.values.astype(np.float64))
    plain = _plain(cells)
    if plain is not None and not (decimal == "comma" and any("." in cell for cell in cells)):
        either = decimal is None and _either(cells)
        return Numbers(values=plain, form=POINTS if either else "", either=either)
    filled = {row: cell for row, cell in enumerate(cells) if not is_missing(cell)}
    if not filled:
        return None
    if _mostly(filled.values(), HEXADECIMAL.fullmatch):
        return _hexadecimal(filled, len(cells))
    forms = _forms(filled)
    if 2 * len(forms) <= len(filled):
        return _bounds(filled, forms)
    return _united(filled, forms, decimal, len(cells))


def _forms(filled: dict[int, str]) -> dict[int, _Form]:
    """The cells that are numbers, each spelling taken apart once."""
    apart = {cell: _taken_apart(cell) for cell in set(filled.values())}
    forms = {}
    for row, cell in filled.items():
        form = apart[cell]
        if form is not None:
            forms[row] = form
    return forms


def is_number(cell: str) -> bool:
    """Whether a cell alone is a plain number."""
    return _float(cell) is not None


def _plain(cells: Sequence[str]) -> np.ndarray | None:
    try:
        values = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        if not any(map(is_missing, filter(None, cells))):
            return None
        return _plain(["" if is_missing(cell) else cell for cell in cells])
    # `float` takes 1_000, which is a name more often than a number
    return None if any("_" in cell for cell in cells) or np.isnan(values).all() else values


def _float(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _mostly(cells: Collection[str], test: Callable[[str], object]) -> bool:
    return 2 * sum(test(cell) is not None for cell in cells) > len(cells)


def _either(cells: Sequence[str]) -> bool:
    dotted = [cell.lstrip("+-−") for cell in cells if "." in cell]
    return bool(dotted) and all(
        GROUPED.fullmatch(cell) and not cell.startswith("0") for cell in dotted
    )


def _hexadecimal(filled: dict[int, str], rows: int) -> Numbers | Unclear:
    values = np.full(rows, np.nan)
    for row, cell in filled.items():
        if not HEXADECIMAL.fullmatch(cell):
            return Unclear(row=row, expected="a hexadecimal number such as 0x1f, as in other rows")
        values[row] = float(int(cell, 16)) if len(cell) < 200 else np.inf
    return Numbers(values=values, form="hexadecimal")


def _bounds(filled: dict[int, str], forms: dict[int, _Form]) -> Unclear | None:
    odd = [row for row, cell in filled.items() if ODD.fullmatch(cell)]
    if not odd or 2 * (len(odd) + len(forms)) <= len(filled):
        return None
    return Unclear(row=odd[0], expected="one plain number in a cell, such as -1.5e3")


def _taken_apart(cell: str) -> _Form | None:
    found = FORM.fullmatch(cell)
    if found is None or ODD.fullmatch(cell):
        return None
    fits: tuple[Decimal, ...] = tuple(mark for mark in MARKS if _valid(found["body"], mark))
    if not fits:
        return None
    unit = f"{found['front'] or ''}{found['unit'].translate(ALIKE)}"
    minus = (found["sign"] + found["inner"]) in ("-", "−")
    return _Form(minus=minus, body=found["body"], power=found["power"] or "", unit=unit, fits=fits)


def _valid(body: str, decimal: Decimal) -> bool:
    """Whether digits and marks are a number by this decimal mark."""
    whole, _, fraction = body.partition(MARKS[decimal])
    if fraction and not fraction.isdecimal():
        return False
    if whole.isdecimal() or not whole:
        return bool(whole or fraction)
    return GROUPED.fullmatch(whole) is not None and not whole.startswith("0")


def _united(
    filled: dict[int, str], forms: dict[int, _Form], decimal: Decimal | None, rows: int
) -> Numbers | Unclear | None:
    """The forms, which have one unit, or the row that has another."""
    units = Counter(form.unit for form in forms.values())
    unit, count = units.most_common(1)[0]
    if len(units) > 1:
        if not (units.keys() - {""} <= UNITS or 2 * count > len(filled)):
            return None
        odd = next(row for row, form in forms.items() if form.unit != unit)
        expected = f"one unit in a column, here {unit or 'none'} as in most rows"
        return Unclear(row=odd, expected=expected)
    stray = next((row for row in filled if row not in forms), None)
    if stray is not None:
        return Unclear(row=stray, expected="a finite number, as in other rows")
    return _decided(forms, unit, decimal, rows)


def _decided(
    forms: dict[int, _Form], unit: str, decimal: Decimal | None, rows: int
) -> Numbers | Unclear:
    """The numbers read by one decimal mark."""
    odd = {mark: [row for row, form in forms.items() if mark not in form.fits] for mark in MARKS}
    fitting = [mark for mark in MARKS if not odd[mark]]
    is_open = decimal is None and len(fitting) > 1
    unclear = _misfit(odd, decimal) or (_ambiguous(forms) if is_open else None)
    if unclear is not None:
        return unclear
    mark = decimal or fitting[0]
    bodies = [form.body for form in forms.values()]
    return Numbers(
        values=_values(forms, mark, rows),
        unit=unit,
        form=_form_of(forms, mark, unit),
        proves=mark if len(fitting) == 1 else None,
        either=is_open and _either(bodies),
    )


def _misfit(odd: dict[Decimal, list[int]], decimal: Decimal | None) -> Unclear | None:
    """A row that is no number by the mark that is said, or by that of most rows where none is said
    and none fits all.

    Args:
        odd: the rows that are no number by a mark.
    """
    if decimal is not None:
        expected = f"a number with a decimal {decimal}, as --decimal says"
        return Unclear(row=odd[decimal][0], expected=expected) if odd[decimal] else None
    mark = min(MARKS, key=lambda mark: len(odd[mark]))
    if not odd[mark]:
        return None
    expected = f"a decimal {mark}, as in most rows: one convention in a column"
    return Unclear(row=odd[mark][0], expected=expected)


def _ambiguous(forms: dict[int, _Form]) -> Unclear | None:
    """A row with a comma, which may be either mark."""
    row = next((row for row, form in forms.items() if "," in form.body), None)
    if row is None:
        return None
    expected = "a number that reads one way: settle it with --decimal comma or point"
    return Unclear(row=row, expected=expected)


def _values(forms: dict[int, _Form], decimal: Decimal, rows: int) -> np.ndarray:
    values = np.full(rows, np.nan)
    for row, form in forms.items():
        whole, _, fraction = form.body.partition(MARKS[decimal])
        digits = "".join(filter(str.isdecimal, whole))
        value = float(f"{digits or 0}.{fraction or 0}{form.power.replace('−', '-')}")
        values[row] = -value if form.minus else value
    return values


def _form_of(forms: dict[int, _Form], decimal: Decimal, unit: str) -> str:
    bodies = [form.body for form in forms.values()]
    between: set[str] = set()
    for body in bodies:
        whole = body.partition(MARKS[decimal])[0]
        between |= {sign for sign in whole if not sign.isdecimal()}
    facts = []
    if decimal == "comma" and any("," in body for body in bodies):
        facts.append("decimal comma")
    if between:
        facts.append(f"{' or '.join(map(repr, sorted(between)))} between thousands")
    if unit:
        facts.append(f"unit {unit}")
    return ", ".join(facts)
