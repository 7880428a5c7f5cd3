"""Facts about a setting: where its default comes from, and what it is for.

A config states the origin of a default once, typed, beside the field:
`blocks: Annotated[int, Origin("ours", "for CPUs")] = 2`. The text below a field tells somebody who
knows no paper what the setting does; `adlib train METHOD --help` prints it. The book shows both.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any, Literal, get_type_hints

Mark = Literal["read", "second-hand", "inferred", "ours"]
JOINED = {"read": "read in ", "second-hand": "second-hand, ", "inferred": "inferred from ",
          "ours": "ours, "}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Where the default of a setting comes from.

    Args:
        mark: "read" in the paper or in its authors' code, "second-hand" (told by somebody else),
            "inferred" from something that was read, or "ours".
        source: Where it was read, who told it, from what it is inferred, or why it is ours.
    Raises:
        ValueError: A mark other than "ours" without a source.
    """

    mark: Mark
    source: str = ""

    def __post_init__(self) -> None:
        if not self.source and self.mark != "ours":
            raise ValueError(f"an origin that is {self.mark} needs its source")

    def __str__(self) -> str:
        return f"{JOINED[self.mark]}{self.source}" if self.source else self.mark


def origins(config: type) -> dict[str, Origin]:
    """Return the origin of each field that has one; `recipe.beta` for a config within a config."""
    found: dict[str, Origin] = {}
    for name, hint in get_type_hints(config, include_extras=True).items():
        if is_dataclass(hint) and isinstance(hint, type):
            found |= {f"{name}.{inner}": origin for inner, origin in origins(hint).items()}
        for part in getattr(hint, "__metadata__", ()):  # of Annotated
            if isinstance(part, Origin):
                found[name] = part
    return found


def help_texts(config: type) -> dict[str, str]:
    """Return what each field of a dataclass is for: the string below it, or `SHARED`'s text.

    A field that has neither is left out.
    """
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        if not is_dataclass(cls):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        body: list[Any] = tree.body  # pyright: ignore[reportAttributeAccessIssue]  # of a class
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[ast.unparse(field.target)] = " ".join(ast.literal_eval(below.value).split())
    names = [f.name for f in fields(config)]
    texts = {**SHARED, **found}
    return {name: texts[name] for name in names if name in texts}


SHARED: Mapping[str, str] = {
    "encoder": "Pretrained network that describes an image in numbers. It is not trained here. "
    "`adlib info` lists the names, and timm:NAME takes any model of timm with features. A larger "
    "one is slower and often more accurate.",
    "weights": "File with the encoder's weights. Defaults to the encoder's own, from an installed "
    'package or a download; "random" is for tests.',
    "offline": "Never download weights; stop if they are not on this machine.",
    "size": "Height and width in pixels at which the encoder sees an image, multiples of 14 for "
    "the default one. Raise both if defects are small; time and memory grow with the area.",
    "resize": "Resize an image to this height and width first, then keep only the middle (--size). "
    "Defaults to no cut. Do not cut if defects can lie near the border.",
    "tile": "Cut photographs into squares of this side in pixels, each seen at --size. Set it if "
    "defects are small on large photographs; it takes as much longer as there are squares.",
    "overlap": "Pixels that two neighbouring squares share; at least as long as your defects.",
    "layers": "For experts: layers of the encoder whose outputs are used, counted from 0. Defaults "
    "to the encoder's recommended ones.",
    "blocks": "Size of the trained part, in blocks. More take longer and need more memory; "
    "--preset paper has the value for a GPU.",
    "heads": "Attention heads of a block; must divide the encoder's channels. Defaults to one for "
    "64 channels.",
    "mlp_ratio": "Width of the trained part, as a multiple of the encoder's channels; --preset "
    "paper has the value for a GPU.",
    "dropout": "Noise in training: share of the inputs that is set to zero at random, from 0 up to "
    "1. Raise it if real defects are missed.",
    "hardness": "How much training focuses on areas that it gets wrong; 0 treats all areas alike.",
    "top": "Share of the most suspicious pixels that is averaged into the score of an image. Lower "
    "it if defects are tiny.",
    "batch": "Images in a training step. Lower it if memory runs out.",
    "steps": "Training steps. Raise it if the printed error (loss) still falls at the end.",
    "lr": "Size of each correction (learning rate). Lower it if the loss jumps or turns infinite.",
    "warmup": "First steps, with smaller corrections; never more than a tenth of --steps.",
    "clip": "Limit on one correction (length of the gradient). Lower it if the loss jumps.",
    "compile": "For experts: compile the trained part with torch.compile, for long runs. A CPU "
    "needs a C++ compiler for it.",
    "checkpoint_every": "Steps between two saved states. An interrupted run resumes at the last.",
    "workers": "Processes that make training images ahead, for prn. Raise it if a GPU waits for "
    "images.",
    "tracker": "Also log each step to tensorboard, wandb or another tracker that Accelerate knows.",
}
"""What the settings are for that several configs have."""
