"""What a supervised detector is trained on: which kinds of samples, and how many of each."""

from dataclasses import dataclass
from pathlib import Path

from adlib.anomalies.slots import KINDS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train on; each default ends with its origin."""

    seen: bool = True  # show seen defects as they are; unofficial code
    extended: bool = True  # paste them into normal images; abstract, form from unofficial code
    simulated: bool = True  # blend in foreign patches; abstract ("unseen"), form from DiffusionAD
    # of a batch: normal, seen and extended, simulated; unofficial code, of an epoch
    shares: tuple[float, float, float] = (0.5, 0.25, 0.25)
    seen_share: float = 0.5  # of the second share, shown as they are; ours, near unofficial code
    beta: tuple[float, float] = (
        0.2,
        0.8,
    )  # how much shows through; DiffusionAD (unofficial code: 0 to 0.8)
    foreground: bool = (
        True  # keep anomalies on the product; DiffusionAD (unofficial code: extended only)
    )
    self_augmentation: bool = True  # also the image's own tiles, on objects; DiffusionAD
    textures: Path | None = None  # folder of images, as DTD; None: those of scikit-image, ours

    def __post_init__(self) -> None:
        if not (self.seen or self.extended or self.simulated):
            raise ValueError("a recipe needs one kind of anomaly: seen, extended or simulated")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or self.shares[0] == 1:
            raise ValueError(
                "shares must be three numbers from 0 on (normal, seen and extended, simulated) "
                f"that add up to 1, not all of it normal; got {self.shares}"
            )
        if not 0 <= self.seen_share <= 1:
            raise ValueError(f"seen_share must lie in [0, 1], got {self.seen_share}")
        if not 0 <= self.beta[0] <= self.beta[1] < 1:
            raise ValueError(f"beta must be a range within [0, 1), got {self.beta}")


def share_out(
    recipe: Recipe, any_seen: bool
) -> tuple[tuple[float, float, float, float], tuple[str, ...]]:
    """Give the share of what is off, or cannot be made without a seen defect, to the rest.

    Returns:
        Shares of normal, seen, extended and simulated samples, and a note if one was given away.
    Raises:
        ValueError: No kind of anomaly is left.
    """
    wanted = [kind for kind in KINDS[1:] if getattr(recipe, kind)]
    made = [kind for kind in wanted if any_seen or kind == "simulated"]
    if not made:
        raise ValueError(
            f"no defect was seen, and the recipe makes {' and '.join(wanted)} samples only: turn "
            "simulated ones on, or take defects out of the test to train on (`supervise`)"
        )
    normal, known, unknown = recipe.shares
    if made == ["simulated"]:
        known, unknown = 0.0, known + unknown
    elif "simulated" not in made:
        known, unknown = known + unknown, 0.0
    shown = recipe.seen_share if "extended" in made else 1.0
    shares = (
        normal,
        known * shown if "seen" in made else 0.0,
        known * (1 - shown) if "seen" in made else known,
        unknown,
    )
    missing = [
        f"no {kind} samples ({'no defect was seen' if kind in wanted else 'switched off'})"
        for kind in KINDS[1:]
        if kind not in made
    ]
    note = f"{', '.join(missing)}; their share goes to: {', '.join(made)}"
    return shares, (note,) if missing else ()
