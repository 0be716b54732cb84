"""Text of others for a terminal."""

import codecs
import io
from contextlib import suppress
from typing import TextIO

SPELLED = str.maketrans(
    {"\u00b5": "u", "\u03bc": "u", "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u00d7": "x"}
)
"""What signs of units and of tables are where a terminal has ASCII alone."""
HANDLER = "distilfleet.spelled"


def plain(text: str) -> str:
    """On one line and without control characters, which a terminal would obey."""
    return "".join(
        character if character.isprintable() else " " if character in "\n\t" else "?"
        for character in text
    )


def print_in_any_encoding(stream: TextIO) -> None:
    """Have what is printed there come out in its encoding, whichever that is: signs it does not
    have in its own."""
    codecs.register_error(HANDLER, _spelled)
    if isinstance(stream, io.TextIOWrapper):
        # a file at first, and since then a pipe: Python looks for its place there
        with suppress(OSError):
            stream.reconfigure(errors=HANDLER)


def _spelled(fault: UnicodeError) -> tuple[str, int]:
    assert isinstance(fault, UnicodeEncodeError)
    signs = fault.object[fault.start : fault.end].translate(SPELLED)
    return "".join(sign if sign.isascii() else "?" for sign in signs), fault.end
