"""Branch and bound where readers are refitted: one node of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from sirfp_opt.canonical import reachable
from sirfp_opt_solvers._refit.drops import Drops
from sirfp_opt_solvers._refit.minorant import Minorant, half_of
from sirfp_opt_solvers._refit.walk import Walk, walk_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sirfp_opt.canonical_refit import CanonicalRefit

    Floats = NDArray[np.float64]
    Items = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["Node", "Outcome", "Trial", "eigenvalue_loss", "explore"]

# Rounds of column generation at a node below the root, sets that it leaves to its
# children, and seconds for the proof of one clique problem.
_ROUNDS, _POOL, _SECONDS = 12, 150, 5.0
# Sets whose spread is looked at to choose what to branch on, and items that are scored.
_SPREAD, _SCORED = 60, 48
# Bytes that a compiled tree may take.
_MEMORY = 1 << 29


@dataclass(frozen=True, eq=False)
class Node:
    """Items that are kept and dropped for certain, and what is known of the rest.

    Attributes
    ----------
    kept, dropped : ndarray of int64
    total : int
        Channels to drop in all.
    lower : float
        Proved: no set of this node loses less.
    likely : float
        What the node's relaxation says, proved or not: the order of the tree.
    columns : ndarray of bool, shape (s, m)
        Sets of dropped items that the bound's search starts from.
    logs : ndarray of shape (s,)
        Their logarithmic weights.
    """

    kept: Items
    dropped: Items
    total: int
    lower: float
    likely: float
    columns: Bools
    logs: Floats


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a node.

    Attributes
    ----------
    found : list of ndarray of bool
        Sets of dropped items that may be better than the incumbent.
    children : list of Node
        What is left of it.
    """

    found: list[Bools] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Trial:
    """When to try a node's compiled tree: learned from the nodes before.

    Attributes
    ----------
    budget : int
        Its nodes that are visited before it is given up.
    reach : float
        Sets that a node may have for the trial to be worth while.
    """

    budget: int
    reach: float = 1e16

    def learn(self, sets: float, nodes: int, *, settled: bool) -> None:
        """Note whether a node of so many sets was settled, and by how many visits."""
        if not settled:
            self.reach = min(self.reach, sets / 4.0)
        elif nodes < self.budget / 8:
            self.reach = max(self.reach, sets * 4.0)

    def suits(self, drops: Drops) -> bool:
        """Tell whether a node is worth a trial."""
        sets = float(comb(drops.m, drops.total))
        return drops.single and sets <= self.reach and walk_bytes(drops) <= _MEMORY


def eigenvalue_loss(precisions: Floats, products: Floats, total: int) -> float:
    """Bound f from below: the `total` smallest eigenvalues, reader by reader.

    Whatever is dropped, be it channels or any other components, loses at least the sum
    of that many smallest eigenvalues of C^½ P C^½ (Fan 1949; Eckart and Young 1936).
    """
    loss = 0.0
    for precision, product in zip(precisions, products, strict=True):
        values = eigh(product, precision, eigvals_only=True)
        smallest = float(np.maximum(values[:total], 0.0).sum())
        rounding = 4.0 * np.finfo(np.float64).eps * total * values.size
        loss += max(0.0, smallest - rounding * float(max(values[-1], 0.0)))
    return float(loss)


def explore(
    form: CanonicalRefit,
    node: Node,
    cut: float,
    trial: Trial,
    rng: np.random.Generator,
    stop: Callable[[], bool],
) -> Outcome:
    """Close a node, or split it in two.

    Parameters
    ----------
    form : CanonicalRefit
    node : Node
    cut : float
        Sets that lose at least this are of no interest.
    trial : Trial
    rng : numpy.random.Generator
    stop : callable
        Once true, the node is split as it stands.
    """
    part = _Part.of(form, node)
    drops = part.drops
    costs = drops.costs()
    stays = part.lost + costs >= cut
    if stays.any():
        part = part.keeping(stays)
        drops, costs = part.drops, costs[~stays]
    outcome = Outcome()
    if not reachable(drops.sizes.tolist(), [drops.total]):
        return outcome
    if drops.total == 0:
        outcome.found.append(part.dropped)
        return outcome
    if trial.suits(drops) and _walked(part, cut, trial, outcome, stop):
        return outcome
    least = eigenvalue_loss(drops.precisions, drops.products, drops.total)
    lower = max(node.lower, part.lost + least)
    if lower >= cut:
        return outcome
    columns, logs = _columns(node, part)
    minorant = Minorant(drops, rng)
    target = cut - part.lost
    minorant.ascend(columns, cut, logs=logs, target=target, rounds=_ROUNDS, stop=stop)
    losses = drops.losses(minorant.columns)
    best = int(losses.argmin())
    if losses[best] < target:
        outcome.found.append(part.whole(minorant.columns[best]))
        target = float(losses[best])
    if minorant.level >= target and minorant.best is not None and not stop():
        aim = target + form.rounding_error
        proof = minorant.best.prove(drops, seconds=_SECONDS, target=aim, stop=stop)
        lower = max(lower, part.lost + proof - form.rounding_error)
        if lower >= part.lost + target:
            return outcome
    outcome.children.extend(_split(node, part, minorant, lower, costs))
    return outcome


def _columns(node: Node, part: _Part) -> tuple[Bools, Floats]:
    """Return a node's sets, as choices among its free items, and their weights."""
    inside = node.columns[:, part.items]
    fits = (inside @ part.drops.sizes == part.drops.total) & part.agrees(node.columns)
    greedy = part.drops.greedy()
    fits &= ~(inside == greedy).all(axis=1)
    order = np.argsort(-node.logs[fits], kind="stable")[:_POOL]
    columns = np.concatenate((greedy[None], inside[fits][order]))
    logs = node.logs[fits][order]
    first = logs.max() if logs.size else 0.0
    return columns, np.concatenate(([first], logs))


def _split(
    node: Node, part: _Part, minorant: Minorant, lower: float, costs: Floats
) -> list[Node]:
    """Return the node without, and with, the item that explains most of its gap."""
    at = _torn(minorant)
    item = int(part.items[at])
    order = np.argsort(-minorant.weights)[:_POOL]
    pool = np.array([part.whole(minorant.columns[s]) for s in order])
    logs = minorant.weights[order]
    likely = max(lower, part.lost + minorant.ceiling)
    more = max(lower, part.lost + float(costs[at]))
    gone = np.flatnonzero(part.dropped)
    drop = Node(
        kept=part.kept,
        dropped=np.append(gone, item),
        total=node.total,
        lower=more,
        likely=max(likely, more),
        columns=pool,
        logs=logs,
    )
    keep = replace(
        drop,
        kept=np.append(part.kept, item),
        dropped=gone,
        lower=lower,
        likely=likely,
    )
    return [drop, keep]


def _walked(
    part: _Part,
    cut: float,
    trial: Trial,
    outcome: Outcome,
    stop: Callable[[], bool],
) -> bool:
    """Walk the compiled tree of a node; return whether that settled it."""
    drops = part.drops
    tree = Walk(drops, cut - part.lost)
    settled = tree.advance(trial.budget, stop)
    if tree.found is not None:
        chosen = np.zeros(drops.m, dtype=bool)
        chosen[tree.found] = True
        outcome.found.append(part.whole(chosen))
    sets = float(comb(drops.m, drops.total))
    trial.learn(sets, tree.nodes, settled=settled)
    return settled


def _torn(minorant: Minorant) -> int:
    """Return the item to branch on: the one that explains most of the gap.

    Each set of the dual has an X of its own that is tight there; one X for all of them
    is what leaves a gap. The score of an item is how much of the spread of those X,
    channel by channel, lies between the sets with the item and those without it.
    """
    p = np.exp(minorant.weights - minorant.weights.max())
    some = np.argsort(-p)[:_SPREAD]
    some = some[p[some] > 1e-4]
    p, sets = p[some] / p[some].sum(), minorant.columns[some]
    y = p @ sets
    torn = np.abs(y - 0.5)
    items = np.argsort(torn, kind="stable")[:_SCORED]
    items = items[torn[items] < 0.5 - 1e-6]
    if items.size < 2:
        return int(torn.argmin())
    drops = minorant.drops
    channels = (sets @ drops.member > 0.5).astype(np.float64)
    weight = sets[:, items] * p[:, None]
    whole = p @ channels
    with_item = weight.T @ channels
    without = whole[None] - with_item
    score = np.zeros(items.size)
    for precision, product in zip(drops.precisions, drops.products, strict=True):
        filters = half_of(product)
        x = np.zeros((len(sets), *filters.shape))
        for s, mask in enumerate(channels):
            d = np.flatnonzero(mask)
            x[s, d] = np.linalg.solve(precision[np.ix_(d, d)], filters[d])
        mean = np.einsum("s,sim->im", p, x)
        a = np.einsum("sj,sim->jim", weight, x)
        spread = (a * a).sum(axis=2) / np.maximum(with_item, 1e-9)
        a -= mean[None]
        spread += (a * a).sum(axis=2) / np.maximum(without, 1e-9)
        score += spread.sum(axis=1)
    return int(items[score.argmax()])


@dataclass(frozen=True, eq=False)
class _Part:
    """A node's problem: items to choose from, what is lost already, what is to drop."""

    items: Items
    kept: Items
    dropped: Bools
    lost: float
    drops: Drops

    @classmethod
    def of(cls, form: CanonicalRefit, node: Node) -> _Part:
        dropped = np.zeros(form.m, dtype=bool)
        dropped[node.dropped] = True
        free = ~dropped
        free[node.kept] = False
        items = np.flatnonzero(free)
        u = form.channels_of(items)
        out = form.channels_of(node.dropped)
        readers = np.arange(len(form.precisions))
        inner = np.ix_(readers, u, u)
        precisions, products = form.precisions[inner], form.products[inner]
        lost = 0.0
        if out.size:
            for r, (m, p) in enumerate(
                zip(form.precisions, form.products, strict=True)
            ):
                own, between = m[np.ix_(out, out)], m[np.ix_(out, u)]
                back = -np.linalg.solve(own, between)
                weights = p[np.ix_(out, out)]
                lost += float(np.trace(np.linalg.solve(own, weights)))
                cross = back.T @ p[np.ix_(out, u)]
                precisions[r] += back.T @ between
                products[r] += cross + cross.T + back.T @ weights @ back
            precisions = (precisions + precisions.transpose(0, 2, 1)) / 2
            products = (products + products.transpose(0, 2, 1)) / 2
        member = (form.owner[u] == items[:, None]).astype(np.float64)
        return cls(
            items=items,
            kept=node.kept,
            dropped=dropped,
            lost=lost,
            drops=Drops(precisions, products, member, node.total - out.size),
        )

    def keeping(self, stays: Bools) -> _Part:
        """Return the part with some of the items kept."""
        left, drops = ~stays, self.drops
        inside = drops.member[left].any(axis=0)
        index = np.ix_(np.arange(len(drops.precisions)), inside, inside)
        return replace(
            self,
            items=self.items[left],
            kept=np.concatenate((self.kept, self.items[stays])),
            drops=replace(
                drops,
                precisions=drops.precisions[index],
                products=drops.products[index],
                member=drops.member[np.ix_(left, inside)],
            ),
        )

    def agrees(self, columns: Bools) -> Bools:
        """Tell which sets of dropped items belong to this node."""
        none_kept: Bools = np.logical_not(columns[:, self.kept].any(axis=1))
        all_dropped: Bools = np.all(columns[:, self.dropped], axis=1)
        return none_kept & all_dropped

    def whole(self, chosen: Bools) -> Bools:
        """Return a choice among the free items as a set of dropped items."""
        dropped = self.dropped.copy()
        dropped[self.items[chosen]] = True
        return dropped
