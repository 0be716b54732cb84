"""Markup that cannot be malformed: every element is closed, every string escaped unless it is
`Html` already."""

from html import escape

Child = str | None
Attribute = str | int | bool | None
_VOID = frozenset({"meta", "input", "br", "path", "line", "rect"})


class Html(str):
    """Markup; text becomes it only by way of `tag` or `join`."""

    __slots__ = ()


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """One element. `class_` is written `class`, `data_x` is written `data-x`; None is left out."""
    written = [_attribute(key, value) for key, value in attributes.items()]
    head = name + "".join(written)
    if name in _VOID:
        return Html(f"<{head}/>")
    return Html(f"<{head}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Children one after another; None is nothing."""
    return Html("".join([_markup(child) for child in children if child is not None]))


def paragraph(words: str, style: str | None = None) -> Html:
    """A paragraph, with a class of the style sheet."""
    return tag("p", words, class_=style)


def section(name: str, heading: str, *content: Child) -> Html:
    """A part of a page that can be linked to by its name, under its heading."""
    return tag("section", tag("h2", heading), *content, id=name)


def block(heading: str, sub: str, *content: Child) -> Html:
    """A part of a section: a heading, a line beneath it, and what follows."""
    head = tag("div", tag("h3", heading), paragraph(sub, "sub"))
    return tag("div", head, *content, class_="block")


def _markup(child: str) -> str:
    return child if isinstance(child, Html) else escape(_visible(child))


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{escape(_visible(str(value)))}"'


def _visible(text: str) -> str:
    """The text without control characters, which HTML forbids and which can reorder what a reader
    sees."""
    return "".join(
        [c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text]
    )
