"""Names that strangers chose, made safe to print."""


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
