"""Colours of pages stand out from what they lie on: graphics by 3:1, text by 4.5:1 (WCAG 2.1)."""

import re
from importlib.resources import files

import pytest

STYLE = files("distilfleet.report").joinpath("style.css").read_text(encoding="utf-8")
MODES = dict(zip(("light", "dark"), STYLE.split("\n.t0", 1)[0].split("@media"), strict=True))
TEXT = ("ink", "soft", "warn-ink", "good", "bad", "accent")
GRAPHICS = ("faint", "warn-edge", *(f"t{number}" for number in range(10)))
GROUNDS = ("paper", "wash")


def colours(mode):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", MODES[mode]))


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("names", "least"), [(TEXT, 4.5), (GRAPHICS, 3.0)])
def test_colours_stand_out(mode, names, least):
    known = colours(mode)
    pale = {
        (name, ground): round(found, 2)
        for name in names
        for ground in GROUNDS
        if (found := contrast(known[name], known[ground])) < least
    }
    assert pale == {}


def test_no_text_is_in_a_colour_for_graphics():
    sheets = [STYLE, files("distilfleet.report").joinpath("live.css").read_text(encoding="utf-8")]
    used = {
        name
        for sheet in sheets
        for name in re.findall(r"(?<![-\w])color: var\(--([\w-]+)\)", sheet)
    }
    assert used <= set(TEXT)
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
