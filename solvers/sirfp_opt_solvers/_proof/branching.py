"""The upper part of the exact solver's tree: nodes with a dual of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._kernels import qp_tree
from sirfp_opt_solvers.relaxations import mixing
from sirfp_opt_solvers.relaxations.alternating import alternate
from sirfp_opt_solvers.relaxations.certificate import Bound, certify
from sirfp_opt_solvers.relaxations.dual import Dual, improve, restrict, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt_solvers.relaxations.box import BoxProblem

    Ints = NDArray[np.int64]

__all__ = ["Effort", "Node", "Odds", "Outcome", "explore", "is_swept"]

_NOTHING = np.zeros(0, dtype=np.int64)
# Of the mixing method at the root.
_ROUNDS = 80
# Without conflicts, Newton steps alone are as quick up to here, and less to compile.
_SWEPT_FROM = 64
# Its sweeps cost O(m²·√m): from this size on, see first whether less will do.
_CHEAP_FROM = 200
# Triangles are looked at where the root is left open with so many variables; a round
# costs O(m³).
_TRIANGLES_FROM, _TRIANGLES_UP_TO, _ALTERNATE = 200, 600, 200


@dataclass(frozen=True)
class Effort:
    """How hard to work on a node before it is split.

    Attributes
    ----------
    barrier : float
        The barrier's weight is this times gap / m.
    rounds : int
        Multiplier steps at a node below the root.
    root_rounds : int
        At the root, at most; it stops once they no longer help.
    budget : int
        Nodes of the compiled tree below a node.
    """

    barrier: float = 1.0
    rounds: int = 16
    root_rounds: int = 400
    budget: int = 400


@dataclass(frozen=True, eq=False)
class Node:
    """An open subproblem: a problem, variables of it to fix, and its parent's dual.

    Attributes
    ----------
    box : BoxProblem
        The parent's problem.
    zeros, ones : ndarray of int
        Its variables that this node fixes.
    lower : float
        No set in this subtree is worth less.
    dual, bound : Dual, Bound or None
        The parent's; None at a root.
    tried : bool
        A root's: whether the cheap first stage is behind it.
    """

    box: BoxProblem
    zeros: Ints
    ones: Ints
    lower: float
    dual: Dual | None = None
    bound: Bound | None = None
    tried: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """What exploring a node has given.

    Attributes
    ----------
    children : tuple of Node
        What is left open.
    found : tuple of ndarray of int
        Canonical items of sets better than the cut.
    hard : bool
        A root's: the cheap first stage did not close it.
    """

    children: tuple[Node, ...] = ()
    found: tuple[Ints, ...] = ()
    hard: bool = False


class Odds:
    """How often the compiled tree closed a node, by the size of the node's gap.

    Attributes
    ----------
    scale : float
        The gap at the root.
    """

    _BINS = 20
    _LEAST = 0.15

    def __init__(self) -> None:
        self.scale = np.inf
        self.tried = np.zeros(self._BINS + 1)
        self.closed = np.zeros(self._BINS + 1)

    def _bin(self, ratio: float) -> int:
        return int(min(max(ratio, 0.0), 1.0) * self._BINS) if ratio == ratio else 0

    def promising(self, ratio: float) -> bool:
        b = self._bin(ratio)
        return bool(self.closed[b] + 1.0 >= self._LEAST * self.tried[b])

    def record(self, ratio: float, closed: bool) -> None:
        b = self._bin(ratio)
        self.tried[b] += 1
        self.closed[b] += closed


def is_swept(items: int, *, missing: bool) -> bool:
    """Tell whether the root of so many items, edges missing or not, is swept."""
    return items > _SWEPT_FROM or missing


class _Explorer:
    """Works on one node until it is closed or split."""

    def __init__(
        self,
        node: Node,
        cut: float,
        effort: Effort,
        odds: Odds,
        stop: Callable[[], bool],
        report: Callable[[float], None],
    ) -> None:
        self.odds = odds
        self.report = report
        self.cut = cut
        self.effort = effort
        self.stop = stop
        self.lower = node.lower
        self.found: list[Ints] = []
        self.box, self.left = node.box.fix(node.zeros, node.ones)
        self.dual: Dual | None = None
        self.bound: Bound | None = None
        self.node = node

    def outcome(self, children: tuple[Node, ...] = ()) -> Outcome:
        return Outcome(children, tuple(self.found))

    def run(self) -> Outcome:
        if self._settled():
            return self.outcome()
        node, box = self.node, self.box
        if node.dual is None or node.bound is None:
            if box.m >= _CHEAP_FROM and not node.tried:
                if self._cheap():
                    return self.outcome()
                again = Node(self.box, _NOTHING, _NOTHING, self.lower, tried=True)
                return replace(self.outcome((again,)), hard=True)
            if self._root():
                return self.outcome()
            self.odds.scale = min(self.odds.scale, self.cut - self.lower)
        else:
            mu = self._barrier(node.lower, self.effort.barrier)
            self.dual = restrict(box, node.bound, node.dual, self.left, mu)
            self.dual = improve(
                box, self.dual, mu, rounds=self.effort.rounds, enough=self.cut
            )
            if self._certified() or self._shrink():
                return self.outcome()
            ratio = (self.cut - self.lower) / self.odds.scale
            if self.odds.promising(ratio):
                closed = self._dive()
                self.odds.record(ratio, closed)
                if closed:
                    return self.outcome()
        return self.outcome(self._split())

    def _settled(self) -> bool:
        """Close a node with nothing left to choose."""
        box = self.box
        room = float(box.upper.sum())
        if box.total < 0 or box.total > room:
            return True
        if box.total == 0:
            self._offer(_NOTHING)
            return True
        if box.total == room:
            everything = np.arange(box.m)
            if not box.free.any():
                self._offer(everything)
            return True
        return False

    def _offer(self, chosen: Ints) -> None:
        value = self.box.evaluate(chosen)
        if value < self.cut:
            self.cut = value
            self.found.append(np.concatenate((self.box.ones, self.box.items[chosen])))

    def _barrier(self, lower: float, share: float) -> float:
        """Return the barrier's weight that costs about a share of the gap."""
        gap = self.cut - lower
        if not np.isfinite(gap):
            scale = float(np.abs(self.box.cost).mean()) * self.box.total**2
            gap = 0.05 * (scale + float(np.abs(self.box.linear).mean()))
        # In units of about the largest coefficient; less is lost in rounding.
        return max(share * gap, 1e-13) / self.box.m

    def _certified(self) -> bool:
        """Bound the node; return whether that closes it."""
        assert self.dual is not None
        self.bound = certify(self.box, self.dual, self.cut)
        self.lower = max(self.lower, self.bound.value)
        self.report(self.lower)
        return self.lower >= self.cut

    def _shrink(self) -> bool:
        """Fix what the bounds fix; return whether nothing is left."""
        assert self.bound is not None
        assert self.dual is not None
        no_one = self.bound.at_one >= self.cut
        no_zero = self.bound.at_zero >= self.cut
        if bool((no_one & no_zero).any()):
            return True
        if not (no_one.any() or no_zero.any()):
            return False
        bound, dual = self.bound, self.dual
        self.box, left = self.box.fix(np.flatnonzero(no_one), np.flatnonzero(no_zero))
        if self._settled():
            return True
        mu = self._barrier(self.lower, self.effort.barrier)
        self.dual = improve(
            self.box, restrict(self.box, bound, dual, left, mu), mu, newton=1
        )
        return self._certified()

    def _dive(self, times: int = 1) -> bool:
        """Search the subtree with the dual as it is; return whether to the end."""
        assert self.bound is not None
        assert self.dual is not None
        box, dual, bound = self.box, self.dual, self.bound
        quadratic = box.cost - dual.multipliers
        quadratic.flat[:: box.m + 1] += bound.diagonal
        best = np.empty(box.m + 1, dtype=np.int64)
        done, *_ = qp_tree.search(
            quadratic,
            dual.multipliers,
            box.linear - 0.5 * bound.diagonal * box.upper,
            box.constant,
            box.upper,
            box.total,
            box.free,
            dual.stiffness,
            bound.point,
            self.cut,
            times * self.effort.budget,
            best,
        )
        if best[-1] >= 0:
            self._offer(best[: best[-1]].copy())
        return bool(done)

    def _root(self) -> bool:
        """Work up the dual in stages; return whether the problem is solved."""
        box = self.box
        # Coordinate sweeps get near the best dual in a fraction of the time that
        # Newton steps need; these then centre it, which makes for small trees.
        swept = is_swept(box.m, missing=box.free.size > 0)
        self.dual = start(
            box, *(mixing.ascend(box, rounds=_ROUNDS, stop=self.stop) if swept else ())
        )
        for _ in range(3):
            mu = self._barrier(max(self.lower, self.dual.value), 0.3)
            self.dual = improve(self.box, self.dual, mu, newton=3, stop=self.stop)
            if self._certified() or self._shrink():
                return True
            if self.stop():
                return False
        if self._dive():
            return True
        # A strong barrier is quick to climb and costs bound: weaken it step by step.
        share, block, dived = 1.0, 20, self.box.m
        for done in range(0, self.effort.root_rounds, block):
            if self.stop():
                return False
            gap = self.cut - self.lower
            mu = self._barrier(self.lower, share)
            self.dual = improve(
                self.box,
                self.dual,
                mu,
                rounds=block,
                enough=self.cut,
                stop=self.stop,
            )
            if self._certified() or self._shrink():
                return True
            if self.box.m < 0.8 * dived or done == 4 * block:
                dived = self.box.m
                if self._dive():
                    return True
            progress = 1.0 - (self.cut - self.lower) / gap
            if progress < 0.03 and share < 0.1:
                break
            if progress < 0.1:
                share *= 0.5
        return self._dive(4) or self._with_triangles()

    def _with_triangles(self) -> bool:
        """Bound a large root of which next to nothing is fixed by triangles, too.

        A tree does not get far there within hours, so this is what the gap comes down
        to. The nodes below work without: prices that are right at the root cost more
        than they bring once variables are fixed. Returns whether the problem is solved.
        """
        m, before = self.box.m, self.node.box.m
        if not _TRIANGLES_FROM <= m <= _TRIANGLES_UP_TO or m < 0.95 * before:
            return False
        value = alternate(
            self.box,
            self.lower,
            self.cut,
            rounds=_ALTERNATE,
            triangles=True,
            stop=self.stop,
        )
        self.lower = max(self.lower, value)
        self.report(self.lower)
        return self.lower >= self.cut

    def _cheap(self) -> bool:
        """Try one shift of the diagonal, then Newton steps while they fix variables.

        Nearly convex layers, of Euclidean distances say, end here; the others pay a
        small part of what the sweeps cost them. Returns whether the problem is solved.
        """
        self.dual = start(self.box)
        for newton in (0, 3, 3, 3):
            m = self.box.m
            if newton:
                mu = self._barrier(max(self.lower, self.dual.value), 0.3)
                self.dual = improve(
                    self.box, self.dual, mu, newton=newton, stop=self.stop
                )
            if self._certified() or self._shrink():
                return True
            if self.stop() or (newton and self.box.m > 0.8 * m):
                return False
            if newton and self.box.m < 0.5 * m and self._dive():
                return True
        return False

    def _split(self) -> tuple[Node, ...]:
        """Branch on a variable that is torn, and on which much depends."""
        assert self.bound is not None
        assert self.dual is not None
        bound, diagonal = self.bound, self.dual.diagonal
        share = bound.point / self.box.upper
        torn = np.minimum(share, 1.0 - share)
        # At the best dual what fixing one variable costs is hidden: reduced costs and
        # curvature are near zero for all that are torn. But d_i is the price of
        # x_i² = x_i, and where it is high the relaxation errs most.
        price = diagonal - diagonal.min() + 1e-12
        score = np.sqrt(np.maximum(torn, 1e-12)) * price**2
        pick = np.array([int(score.argmax())])
        slim = replace(self.dual, inverse=np.zeros((0, 0)))
        child = Node(self.box, pick, _NOTHING, self.lower, slim, bound)
        other = replace(child, zeros=_NOTHING, ones=pick)
        lower = self.lower
        return (
            replace(child, lower=max(lower, float(bound.at_zero[pick[0]]))),
            replace(other, lower=max(lower, float(bound.at_one[pick[0]]))),
        )


def explore(
    node: Node,
    cut: float,
    effort: Effort,
    odds: Odds,
    stop: Callable[[], bool],
    report: Callable[[float], None],
) -> Outcome:
    """Close a node or split it in two.

    Parameters
    ----------
    node : Node
    cut : float
        Only sets worth less than this matter.
    effort : Effort
    odds : Odds
        Shared by all nodes of a tree.
    stop : callable
        Asked now and then; once true, the node is handed back split but unsolved.
    report : callable
        Told the node's bound each time it has been worked on.
    """
    return _Explorer(node, cut, effort, odds, stop, report).run()
