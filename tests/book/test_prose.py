"""Prose that a machine can judge: short sentences, and none of the words that cloud them.

README.md, the book's pages and the notebooks' text and captions. Left out are descriptions of
pictures for those who do not see them, and `book/results/README.md`, whose rules stand there as
they were written before their runs.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.book.test_numbers import without_code, written

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "book").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
MOST = 25  # words of a sentence; ours
BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*:]|\d+\.|#+|\||<\w+>) )")  # paragraphs, items, rows
END = re.compile(r"(?<!Fig)(?<!Eq)(?<!et al)(?<!e\.g)[.!?][\"*)_]*\s")
BARRED = re.compile(  # translated, stacked or empty
    r"\b(?:what is normal|as it came|told (?:apart|from)|whence|lest|such as it|in order to"
    r"|utili[sz]\w+|obviously|of course|note that|simply|basically|needless to say|very"
    r"|state.of.the.art|delve|leverag\w+|seamless\w*|robustly|crucial\w*)\b",
    re.IGNORECASE,
)


def sentences(markdown: str) -> Iterator[str]:
    """Sentences of running text and list items; a role, a formula, a name in code is one word."""
    text = re.sub(r"(?s:\$\$.*?\$\$)(?: \(.*?\))?", "\n\n", without_code(markdown))
    text = re.sub(r"^\|.*$|^#.*$|^:\w+:.*$|^\([\w-]+\)=$", "", text, flags=re.MULTILINE)
    text = re.sub(r"</(?:p|summary|details|figcaption|label|legend)>", "\n\n", text)
    text = re.sub(r"<[^>]+>", " ", text)
    text = re.sub(r"\s*\(?\{(?:cite|numref|eq|doc|ref)\}`[^`<]*`\)?", "", text)  # as a footnote
    text = re.sub(r"\{[\w:]+\}`([^`<]*)(?:<[^`]*>)?`", r"\1", text)
    text = re.sub(r"`[^`]*`|\$[^$]+\$", "x", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for block in BLOCK.split(text):
        yield from (" ".join(part.split()) for part in END.split(" ".join(block.split()) + " "))


def long(markdown: str) -> list[str]:
    """Sentences of more words than `MOST`, with their number."""
    counted = ((len(re.findall(r"[^\W_][\w'’.,/%-]*", s)), s) for s in sentences(markdown))
    return [f"{n} words: {s}" for n, s in counted if n > MOST]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_sentences_are_short_and_words_are_plain(path: Path) -> None:
    texts = list(written(path))
    assert [found for text in texts for found in long(text)] == []
    plain = [re.sub(r"`[^`]*`", "", text) for text in texts]
    assert [hit[0] for text in plain for hit in BARRED.finditer(text)] == []


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        ("one " * 25 + "end.", 1),
        ("one " * 24 + "end. " + "two " * 24 + "end.", 0),
        ("- " + "one " * 20 + "\n- " + "two " * 20, 0),
        ("| " + "cell " * 40 + "|", 0),
        ("```\n" + "code " * 40 + "\n```", 0),
        ("```{note}\n" + "word " * 40 + "\n```", 1),
        ("word " * 25 + "({doc}`a page of many words`).", 0),
        ("word " * 13 + "(Fig. 3) " + "word " * 13 + ".", 1),
        ("<p>" + "word " * 20 + "</p><p>" + "word " * 20 + "</p>", 0),
    ],
)
def test_long_sentences_are_told(markdown: str, found: int) -> None:
    assert len(long(markdown)) == found
