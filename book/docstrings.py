"""Lets Sphinx read the docstrings as they are written: formulas in dollars, fenced blocks.

And it adds to each config the comments behind its fields, which carry the origin of each default.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from typing import Any

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^( *)\$\$(.+?)\$\$[ \t]*$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"\$([^$]+)\$")


def as_rst(text: str) -> str:
    """Turn `$x$`, `$$x$$` on lines of its own, and fenced blocks into reStructuredText."""
    kept: list[str] = []

    def keep(block: str) -> str:
        kept.append(block)
        return f"\0{len(kept) - 1}\0"

    def directive(name: str, margin: str, body: str) -> str:
        body = textwrap.indent(textwrap.dedent(body).strip("\n"), margin + "   ")
        return keep(f"\n{margin}.. {name}\n\n{body}\n")

    text = FENCE.sub(lambda m: directive(f"code-block:: {m[2]}", m[1], m[3]), text)
    text = BLOCK.sub(lambda m: directive("math::", m[1], " ".join(m[2].split())), text)
    text = INLINE.sub(lambda m: f":math:`{' '.join(m[1].split())}`", text)
    return re.sub(r"\0(\d+)\0", lambda m: kept[int(m[1])], text)


def fields_of(cls: type) -> dict[str, tuple[str, str]]:
    """Return each field's default and the comment behind it, as they stand in the source.

    Fields that a string below them describes are left out: Sphinx shows these itself.
    """
    source = textwrap.dedent(inspect.getsource(cls))
    lines, (body,) = source.splitlines(), ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, after in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            continue
        default = ast.unparse(statement.value) if statement.value else ""
        end = lines[(statement.end_lineno or 1) - 1][statement.end_col_offset or 0 :]
        comment = end.partition("#")[2].strip()
        found[statement.target.id] = (default, comment)
    return found


def field_lines(cls: type) -> list[str]:
    """The fields of a dataclass as a list, each with its default and its comment."""
    told = []
    for name, (default, comment) in fields_of(cls).items():
        words = re.sub(r"([*_|\\])", r"\\\1", comment)
        told.append(
            f"* ``{name}{f' = {default}' if default else ''}``" + f": {words}" * bool(words)
        )
    return ["", *told, ""] if told else []


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place; Sphinx's `autodoc-process-docstring`."""
    text = as_rst("\n".join(lines))
    lines[:] = text.splitlines()
    if what == "class" and dataclasses.is_dataclass(obj) and isinstance(obj, type):
        lines += field_lines(obj)


def setup(app: Any) -> dict[str, Any]:
    """Come before napoleon, whose sections would swallow a field list."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True, "version": "1"}
