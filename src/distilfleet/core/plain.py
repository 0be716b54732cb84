"""Text of others for a terminal."""


def plain(text: str) -> str:
    """On one line and without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " if character in "\n\t" else "?" for character in text)
