"""Best-swap descent where readers are refitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.construct import fill
from sirfp_opt_solvers._refit.moves import Bools, Items, best_move

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt.canonical_refit import CanonicalRefit

__all__ = ["RefitDescents"]

# Part of the kept items that a new start exchanges at random, and how many at least.
_KICK, _LEAST_KICK = 0.1, 2


class RefitDescents:
    """Descents by the best move; new starts are the best set, shaken.

    Parameters
    ----------
    form : CanonicalRefit
    rng : numpy.random.Generator
    starts : sequence of ndarray of int64
        Sets of items to start from first.
    descents : int, optional
        How many in all; without it the run has no end of its own.
    """

    def __init__(
        self,
        form: CanonicalRefit,
        rng: np.random.Generator,
        *,
        starts: Sequence[Items],
        descents: int | None,
    ) -> None:
        self._form, self._rng = form, rng
        self._starts = list(starts)
        self._left = descents
        self._kept: Bools | None = None
        self._best: Bools | None = None
        self._least = np.inf
        self.iterations = 0
        self.found_at = 0
        self.done = False

    def advance(self, budget: int) -> Items | None:
        """Do at most `budget` moves; return a better set if one was found."""
        found = False
        for _ in range(budget):
            if self._kept is None and not self._begin():
                break
            found |= self._step()
            self.iterations += 1
        if not found or self._best is None:
            return None
        return np.flatnonzero(self._best)

    def _begin(self) -> bool:
        """Take the next start; return whether there is one."""
        if self._left == 0:
            self.done = True
            return False
        if self._left is not None:
            self._left -= 1
        if self._starts:
            kept = np.zeros(self._form.m, dtype=bool)
            kept[self._starts.pop(0)] = True
        else:
            kept = self._shaken()
        self._kept = kept
        self._loss = self._loss_of(kept)
        return True

    def _loss_of(self, kept: Bools) -> float:
        return self._form.most - float(self._form.values_of(kept[None])[0])

    def _shaken(self) -> Bools:
        """Exchange some items of the best set for others, at random."""
        form, rng = self._form, self._rng
        best = self._best
        if best is None:
            best = np.zeros(form.m, dtype=bool)
        inside = rng.permutation(np.flatnonzero(best))
        outside = rng.permutation(np.flatnonzero(~best))
        some = max(_LEAST_KICK, int(_KICK * inside.size))
        some = min(some, inside.size, outside.size)
        order = np.concatenate((inside[some:], outside, inside[:some]))
        count = int(form.sizes[best].sum()) if best.any() else form.counts[-1]
        items = fill(form, order, count)
        if items is None:  # cannot be: the best set makes up this count
            raise RuntimeError(f"count {count} is out of reach")
        kept = np.zeros(form.m, dtype=bool)
        kept[items] = True
        return kept

    def _step(self) -> bool:
        """Make the best move, or end the descent; return whether a record fell."""
        if self._kept is None:
            return False
        record = self._note()
        move = best_move(self._form, self._kept)
        if move is not None:
            after = self._kept.copy()
            if move.leaves is not None:
                after[move.leaves] = False
            if move.enters is not None:
                after[move.enters] = True
            loss = self._loss_of(after)
            if loss < self._loss:  # else rounding has led astray: a local optimum
                self._kept, self._loss = after, loss
                return self._note() or record
        self._kept = None
        return record

    def _note(self) -> bool:
        """Remember the set if none was better; return whether so."""
        if self._kept is None or self._loss >= self._least:
            return False
        self._best, self._least = self._kept.copy(), self._loss
        self.found_at = self.iterations + 1
        return True
