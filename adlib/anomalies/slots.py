"""Which kind of sample each place in a batch gets, as a function of the place alone."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

Kind = Literal["normal", "seen", "extended", "simulated"]
KINDS: tuple[Kind, ...] = ("normal", "seen", "extended", "simulated")


@dataclass(frozen=True)
class Slots:
    """Shares of the four kinds, kept in each batch as nearly as whole samples allow.

    Batch after batch the number of each kind is its share of all samples so far, rounded, less
    what came before: shares that do not divide a batch even out over the next ones, down to
    batches of one. Within a batch the kinds come in the order of `KINDS`.

    Attributes:
        batch: Samples in a batch.
        shares: Of each of `KINDS`; their sum counts as one.
    """

    batch: int
    shares: tuple[float, float, float, float]

    def of(self, index: int) -> tuple[Kind, int]:
        """The kind of a sample, and which of its kind it is, counted from 0 over all batches."""
        step, slot = divmod(index, self.batch)
        for kind, start, end in zip(KINDS, self._counts(step), self._counts(step + 1), strict=True):
            if slot < end - start:
                return kind, start + slot
            slot -= end - start
        raise AssertionError("the counts of a batch add up to it")

    def describe(self) -> str:
        """What a batch holds, on average."""
        each = (
            f"{float(self.batch * share):g} {kind}"
            for kind, share in zip(KINDS, self._fractions, strict=True)
            if share
        )
        return f"a batch of {self.batch}: {', '.join(each)}"

    @cached_property
    def _fractions(self) -> tuple[Fraction, ...]:
        exact = [Fraction(share).limit_denominator(10_000) for share in self.shares]
        return tuple(share / sum(exact) for share in exact)

    def _counts(self, steps: int) -> tuple[int, ...]:
        """How many of each kind the first so many batches hold."""
        left, share_left, counts = steps * self.batch, Fraction(1), []
        for share in self._fractions:
            part = share / share_left if share_left else Fraction(0)
            counts.append(_round(left * part))
            left, share_left = left - counts[-1], share_left - share
        return tuple(counts)


def _round(x: Fraction) -> int:
    return (2 * x.numerator + x.denominator) // (2 * x.denominator)
