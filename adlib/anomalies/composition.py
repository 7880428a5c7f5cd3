"""What a supervised detector is trained on: which kinds of samples, and how many of each."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from adlib.settings import Origin

Kind = Literal["normal", "seen", "extended", "simulated"]
KINDS: tuple[Kind, ...] = ("normal", "seen", "extended", "simulated")
Shares = tuple[float, float, float, float]  # of each of KINDS; their sum counts as one


@dataclass(frozen=True, kw_only=True)
class AnomalyConfig:
    """Which anomalies to train on."""

    seen: Annotated[bool, Origin("inferred", "the unofficial code")] = True
    """Show real defects as they are."""
    extended: Annotated[
        bool, Origin("read", "the abstract; the form is inferred from the unofficial code")
    ] = True
    """Paste real defects into normal images."""
    simulated: Annotated[
        bool, Origin("read", 'the abstract, "unseen"; the form is inferred from DiffusionAD')
    ] = True
    """Blend foreign textures into normal images."""
    shares: Annotated[
        tuple[float, float, float], Origin("inferred", "the unofficial code, of an epoch")
    ] = (0.5, 0.25, 0.25)
    """Shares of a batch that are normal, made of real defects, and simulated; they add up to 1."""
    seen_share: Annotated[float, Origin("ours", "near the unofficial code")] = 0.5
    """Of the second of these shares, the part that shows real defects as they are."""
    beta: Annotated[
        tuple[float, float], Origin("inferred", "DiffusionAD; 0 to 0.8 in the unofficial code")
    ] = (0.2, 0.8)
    """How much of the normal image shows through a simulated defect: least and most."""
    foreground: Annotated[
        bool, Origin("inferred", "DiffusionAD; only pasted ones in the unofficial code")
    ] = True
    """Keep made defects on the product. Turn it off if the product fills the image."""
    self_augmentation: Annotated[bool, Origin("inferred", "DiffusionAD")] = True
    """Also use tiles of the image itself as textures."""
    textures: Annotated[Path | None, Origin("ours", "work offline; 5,640 of DTD in both codes")] = (
        None
    )
    """Folder of pictures to take textures from. Defaults to a few that come with scikit-image."""

    def __post_init__(self) -> None:
        if not (self.seen or self.extended or self.simulated):
            raise ValueError("expected one kind of anomaly at least: seen, extended or simulated")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or self.shares[0] == 1:
            raise ValueError(
                "shares must be three numbers from 0 on (normal, seen and extended, simulated) "
                f"that add up to 1, not all of it normal; got {self.shares}"
            )
        if not 0 <= self.seen_share <= 1:
            raise ValueError(f"seen_share must lie in [0, 1], got {self.seen_share}")
        if not 0 <= self.beta[0] <= self.beta[1] < 1:
            raise ValueError(f"beta must be a range within [0, 1), got {self.beta}")


def share_out(config: AnomalyConfig, any_seen: bool) -> tuple[Shares, tuple[str, ...]]:
    """Give the share of what is off, or cannot be made without a seen defect, to the rest.

    Returns:
        Shares of normal, seen, extended and simulated samples, and a note if one was given away.
    Raises:
        ValueError: No kind of anomaly is left.
    """
    wanted = [kind for kind in KINDS[1:] if getattr(config, kind)]
    made = [kind for kind in wanted if any_seen or kind == "simulated"]
    if not made:
        raise ValueError(
            f"no defect was seen, and the config makes {' and '.join(wanted)} samples only: turn "
            "simulated ones on, or take defects out of the test to train on (`supervise`)"
        )
    normal, known, unknown = config.shares
    if made == ["simulated"]:
        known, unknown = 0.0, known + unknown
    elif "simulated" not in made:
        known, unknown = known + unknown, 0.0
    shown = config.seen_share if "extended" in made else 1.0
    shown = shown if "seen" in made else 0.0
    missing = [
        f"no {kind} samples ({'no defect was seen' if kind in wanted else 'switched off'})"
        for kind in KINDS[1:]
        if kind not in made
    ]
    note = f"{', '.join(missing)}; their share goes to: {', '.join(made)}"
    return (normal, known * shown, known * (1 - shown), unknown), (note,) if missing else ()


@dataclass(frozen=True)
class BatchComposition:
    """Which kind of sample each place in a batch gets, as a function of the place alone.

    Batch after batch the number of each kind is its share of all samples so far, rounded, less
    what came before: shares that do not divide a batch even out over the next ones, down to
    batches of one. Within a batch the kinds come in the order of `KINDS`.
    """

    batch: int
    shares: Shares

    def kind_of(self, index: int) -> tuple[Kind, int]:
        """The kind of a sample, and which of its kind it is, counted from 0 over all batches."""
        step, place = divmod(index, self.batch)
        for kind, start, end in zip(KINDS, self._counts(step), self._counts(step + 1), strict=True):
            if place < end - start:
                return kind, start + place
            place -= end - start
        raise AssertionError("the counts of a batch add up to it")

    @cached_property
    def _fractions(self) -> tuple[Fraction, ...]:
        exact = [Fraction(share).limit_denominator(10_000) for share in self.shares]
        return tuple(share / sum(exact) for share in exact)

    def _counts(self, steps: int) -> tuple[int, ...]:
        """How many of each kind the first so many batches hold."""
        left, share_left, counts = steps * self.batch, Fraction(1), []
        for share in self._fractions:
            part = left * share / share_left if share_left else Fraction(0)
            counts.append((2 * part.numerator + part.denominator) // (2 * part.denominator))
            left, share_left = left - counts[-1], share_left - share
        return tuple(counts)
