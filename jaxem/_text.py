"""Text of strangers (names, cells, paths), made safe to show."""


def plain(text: object, limit: int | None = None) -> str:
    """`text` on one line, with everything that is not printable spelled out as in Python's `repr`.

    Control characters, escape sequences, line breaks, marks that hide or reorder text and halves of surrogate pairs
    come out as `\\x1b` or `\\u202e`. More than `limit` characters are cut, and an ellipsis says so.

    **Example**

    >>> from jaxem._text import plain
    >>> plain("a\\x1b[31mb"), plain("a long name", 6)
    ('a\\\\x1b[31mb', 'a lon…')
    """
    raw = str(text)
    if limit is not None:
        raw = raw[: limit + 1]  # no character becomes shorter
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in raw)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def quoted(text: object) -> str:
    """`text` in quotes: `plain`, and short enough for a message."""
    return f"'{plain(text, 60)}'"
