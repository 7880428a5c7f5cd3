"""Names in messages: made safe to print, and the known one that a wrong one resembles."""

from collections.abc import Iterable
from difflib import get_close_matches


def printable(text: object, keep: str = "") -> str:
    r"""Write each character that a terminal obeys instead of showing as its escape, as `\x1b`.

    These are controls, line ends, marks of direction such as U+202E, and half characters, by
    which a name could change colours, forge a line or look like another name.

    Args:
        text: A text, or what has one.
        keep: Characters that stay nevertheless, such as a message's own line ends.
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(text)
    )


def closest(word: str, known: Iterable[str]) -> str:
    """Return a question after the known word most like the given one, or an empty string."""
    match = get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
