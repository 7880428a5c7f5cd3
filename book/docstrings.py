"""Lets Sphinx read the docstrings as they are written: formulas in dollars, fenced blocks.

And it adds to each dataclass its fields: to a config a table, whose last column is the origin of
each default, and to any other the comments behind them.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
from typing import Any

from adlib.settings import help_texts, origins

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
        told.append(
            f"* ``{name}{f' = {default}' if default else ''}``"
            + f": {_escaped(comment)}" * bool(comment)
        )
    return ["", *told, ""] if told else []


def settings_table(cls: type) -> list[str]:
    """The fields of a config as a table: setting, default, what it is for, origin."""
    known, texts = origins(cls), help_texts(cls)
    rows = [("setting", "default", "what it is for", "origin of the default")]
    for field in dataclasses.fields(cls):
        made = field.default is dataclasses.MISSING  # by a factory: a config within
        default = "as below" if made else f"``{field.default!r}``"
        origin = _escaped(str(known.get(field.name, "")))
        rows.append((f"``{field.name}``", default, _escaped(texts.get(field.name, "")), origin))
    lines = ["", ".. list-table::", "   :header-rows: 1", "   :class: settings", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return [*lines, ""]


def _escaped(words: str) -> str:
    return re.sub(r"(?<!`)([*_|\\])(?!`)", r"\\\1", words)


def is_config(obj: Any) -> bool:
    """Whether this is a dataclass whose fields state their origins."""
    if not (isinstance(obj, type) and dataclasses.is_dataclass(obj)):
        return False
    try:
        return bool(origins(obj))
    except NameError:  # a type that only the type checker imports; no config has one
        return False


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place; Sphinx's `autodoc-process-docstring`."""
    text = as_rst("\n".join(lines))
    lines[:] = text.splitlines()
    if is_config(obj):
        lines += settings_table(obj)
    elif what == "class" and dataclasses.is_dataclass(obj) and isinstance(obj, type):
        lines += field_lines(obj)


def skip(app: Any, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave a config's fields to its table; Sphinx's `autodoc-skip-member`."""
    place = app.env.temp_data
    if what != "class" or not place.get("autodoc:class"):
        return None
    module = importlib.import_module(place["autodoc:module"])
    cls: Any = getattr(module, place["autodoc:class"], None)
    return True if is_config(cls) and name in {f.name for f in dataclasses.fields(cls)} else None


def sign(app: Any, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, None] | None:
    """Leave a config's fields out of its signature, too; Sphinx's `autodoc-process-signature`."""
    return ("(**settings)", None) if is_config(obj) else None


def setup(app: Any) -> dict[str, Any]:
    """Come before napoleon, whose sections would swallow a field list."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True, "version": "1"}
