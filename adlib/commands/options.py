"""From words to the options of a command, and the text of `adlib COMMAND --help`.

The help shows options in groups, each with what it does and its default.
"""

import dataclasses
import inspect
import io
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional

from adlib.data import NAMES, load_data
from adlib.data.dataset import DataSplits
from adlib.data.tools.checks import mask_notes
from adlib.settings import help_texts
from adlib.system.printable import printable

ALL = "--help-all"
LEFT, WIDEST = 22, 100  # columns of the options' names, and of the whole text at most
WORDS = {int: "N", float: "X", Path: "PATH", str: "NAME"}
REQUIRED = " (required)"
Group = tuple[str, Sequence[str]]
RESEARCH = "Research only, change nothing here (ablations)"
ANY: Sequence[Group] = (("Options", ()), ("Machine", ("device", "precision")))
TRAIN: Sequence[Group] = (
    ("Data", ("data", "categories", "holdout", "folds", "roi", "seen", "size", "resize",
              "tile", "overlap")),
    ("Model", ("preset", "encoder", "weights", "layers", "prototypes", "ratio", "blocks", "heads",
               "mlp_ratio", "dropout", "patches", "enlarge", "patch", "memory", "candidates",
               "top")),
    ("Training", ("out", "seed", "steps", "batch", "lr", "warmup", "schedule", "decay", "clip",
                  "hardness", "easy", "easy_gradient", "ramp", "recipe.seen", "recipe.extended",
                  "recipe.simulated", "recipe.shares", "recipe.seen_share", "recipe.beta",
                  "recipe.foreground", "recipe.self_augmentation", "recipe.textures")),
    ("Machine", ("device", "precision", "offline", "compile", "checkpoint_every", "workers",
                 "tracker")),
    (RESEARCH, ()),
)  # fmt: skip


@dataclasses.dataclass(kw_only=True)
class Machine:
    """Options of every command that computes."""

    device: str | None = None
    """cpu, cuda, cuda:1 and so on. Defaults to the GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of matrix products. auto takes bf16 where the device computes it natively, and
    fp32 elsewhere; use fp32 to compare numbers between machines."""

    def check(self) -> None:
        """Raise ValueError for a device that is not here, or a seed that no generator takes."""
        from adlib.system.hardware import check_device

        if self.device is not None:
            check_device(self.device)
        if not 0 <= (seed := getattr(self, "seed", 0)) < 2**63:
            raise ValueError(f"--seed: expected a whole number from 0 to 2^63 - 1, got {seed}")


def parse(
    name: str,
    command: Any,
    words: Sequence[str],
    default: Any = None,
    groups: Sequence[Group] = ANY,
) -> Any:
    """Return the options that words make of a command, or print its help and stop.

    Raises:
        SystemExit: The words ask for help.
        ValueError: They are wrong.
    """
    if {"-h", "--help", ALL} & {*words}:
        print(help_text(f"adlib {name}", command, default, groups, everything=ALL in words))
        raise SystemExit(0)
    given, told = {} if default is None else {"default": default}, io.StringIO()
    try:
        with redirect_stderr(told):
            parsed = tyro.cli(command, prog=f"adlib {name}", args=words, **given)
    except SystemExit as stop:
        raise ValueError(f"{sentence(told.getvalue())}; see adlib {name} --help") from stop
    sys.stderr.write(told.getvalue())
    if isinstance(parsed, Machine):
        parsed.check()
    return parsed


def sentence(box: str) -> str:
    """Return the sentence in the box, or between the rules, that tyro draws around an error."""
    lines = [line[2:].rstrip("│ ") for line in box.splitlines()[1:]]
    lines = [line.strip() for line in lines if not line.startswith(" " * 8)]  # no option's text
    parts = "\n".join(lines).lstrip("-\n")
    sentence, *rest = re.split(r"\n[─-]{9,}\n", parts)
    near = re.search(r"^--\S+", "\n".join(rest), re.MULTILINE)
    sentence = re.sub(r"^Error parsing \S+: ", "", " ".join(sentence.split())).rstrip(".")
    return sentence.replace("argument '", "option '") + (
        f"; did you mean {near[0]}?" if near else ""
    )


def help_text(
    name: str, command: Any, default: Any, groups: Sequence[Group], everything: bool = True
) -> str:
    """Return the help of a command: its docstring, then its options by group.

    `command` is a dataclass of options, or of dataclasses of them; `default` is one of it, whose
    values are shown. A group without options takes all others. Those for research are only counted
    unless `everything` is asked for.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    command = get_origin(command) or command
    entries = _entries(command, default, "")
    needed = [words for words, text in entries.values() if text.endswith(REQUIRED)]
    paragraphs = [f"usage: {' '.join([name, *needed, '[OPTIONS]'])}"]
    paragraphs += inspect.cleandoc(command.__doc__ or "").split("\n\n")
    told = [textwrap.fill(" ".join(part.split()), width) for part in paragraphs]
    grouped = {option for _, names in groups for option in names}
    for title, names in groups:
        mine = names or [option for option in entries if option not in grouped]
        lines = [_entry(*entries[option], width) for option in mine if option in entries]
        if title == RESEARCH and lines and not everything:
            lines = [f"  {len(lines)} options, listed by {name} {ALL}"]
            title = title.partition(",")[0]
        told += ["\n".join([f"{title}:", *lines])] if lines else []
    return "\n\n".join(told)


def _entries(command: type, default: Any, prefix: str) -> dict[str, tuple[str, str]]:
    """Return of each option its words on the command line, and what it does."""
    texts, hints = help_texts(command), get_type_hints(command, include_extras=True)
    found: dict[str, tuple[str, str]] = {}
    for field in dataclasses.fields(command):
        value = field.default if default is None else getattr(default, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = f"{prefix}{field.name}." if field.name not in ("config", "options") else ""
            found |= _entries(type(value), value, inner)
        elif field.name in texts:
            name = f"{prefix}{field.name}"
            found[name] = (_words(name, hints[field.name]), texts[field.name] + _default(value))
    return found


def _default(value: Any) -> str:
    """Return the end of an option's text: its default, where the text has none in words."""
    if value is dataclasses.MISSING or value is tyro.MISSING:
        return REQUIRED
    if value in (None, (), ""):
        return ""
    if isinstance(value, bool):
        return f" ({'on' if value else 'off'} by default)"
    values = value if isinstance(value, tuple) else (value,)
    words = (f"{v:g}" if isinstance(v, float) else str(v) for v in values)
    return f" (default: {' '.join(words)})"


def _words(name: str, hint: Any) -> str:
    """Return an option as it is typed: `--size N N`, or `FOLDER` where it has no name."""
    option = name.replace("_", "-")
    if Positional in getattr(hint, "__metadata__", ()):
        return option.upper()
    if bool in (hint, *get_args(hint)):
        head, dot, last = option.rpartition(".")
        return f"--{option}, --{head}{dot}no-{last}"
    return f"--{option} {_values(hint)}"


def _values(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _values(parts[0])
    if origin is Literal:
        return "|".join(parts)
    if origin in (Union, UnionType):
        return "|".join(_values(part) for part in parts if part is not NoneType)
    if origin is tuple:
        return f"{_values(parts[0])} ..." if ... in parts else " ".join(map(_values, parts))
    return WORDS.get(hint, "NAME")


def _entry(words: str, text: str, width: int) -> str:
    def fill(text: str, first: str, rest: str) -> str:
        return textwrap.fill(
            text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        )

    indent = " " * (LEFT + 2)
    if len(words) < LEFT - 1:
        return fill(text, f"  {words:<{LEFT}}", indent)
    return f"{fill(words, '  ', ' ' * 6)}\n{fill(text, indent, indent)}"


def load(name: str, categories: tuple[str, ...]) -> DataSplits:
    """Read data, and say what is passed over in it and which masks cannot be right."""
    data = load_data(name, **({"categories": list(categories)} if categories else {}))
    if data.notice:
        print(data.notice)
    for note in (*data.notes, *(mask_notes(data.references) if name not in NAMES else ())):
        print(f"note: {printable(note)}")
    return data
