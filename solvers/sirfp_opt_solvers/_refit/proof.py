"""Branch and bound where readers are refitted: the tree, from its roots on."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt_solvers._local.compilation import REFIT, compiling
from sirfp_opt_solvers._refit.descents import RefitDescents
from sirfp_opt_solvers._refit.drops import root_drops
from sirfp_opt_solvers._refit.minorant import Minorant
from sirfp_opt_solvers._refit.paths import greedy_items
from sirfp_opt_solvers._refit.tree import (
    Node,
    Trial,
    eigenvalue_loss,
    explore,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sirfp_opt.search import Search

    Items = NDArray[np.int64]

__all__ = ["prove"]

_NOTHING = np.zeros(0, dtype=np.int64)
# Part of the loss, and of what comes through, below which sets count as equal: half of
# the tolerance with which a proof of optimality is stated.
_SLACK = 5e-7
# Nodes that the compiled tree of the root may visit, in all and for each second that
# is left, where it has so few sets that there is hope; a tenth of it where it has more.
# And those of a node below.
_BUDGET, _PACE, _HOPEFUL, _BELOW = 4_000_000, 2e4, 1e15, 5_000
# Problems of so few sets need no bound at the root: the compiled tree settles them.
_FEW = 1e9
# Parts of the time left for the proof of the root's bound: where the compiled tree is
# tried next, and where it is not.
_BEFORE_WALK, _ALONE = 1 / 16, 1 / 4
# Descents before the tree from shaken sets, and from sets of the bound's pool.
_SHAKEN, _POOL = 2, 5


def prove(search: Search, max_nodes: int | None) -> None:
    """Offer a start, then close the tree; see `Exact`."""
    form = search.refit
    greedy = greedy_items(form)
    if search.best is None or search.warm_items is not None:
        search.offer_items(greedy)
    starts = [greedy, greedy_items(form, "forward")]
    best = search.best_items
    if best is not None and set(best.tolist()) != set(greedy.tolist()):
        starts.insert(0, best)
    _descend(search, starts, shaken=_SHAKEN)
    with compiling(search, REFIT) as ready:
        if ready:
            _close(search, max_nodes)
        else:
            _report(search, [_bare_root(search, count) for count in form.counts], 0)


def _close(search: Search, max_nodes: int | None) -> None:
    """Close the tree from its roots on."""
    form = search.refit
    order = itertools.count()
    heap: list[tuple[float, int, Node]] = []
    trial = Trial(_BELOW)
    for count in form.counts:
        node = _root(search, count, len(form.counts), trial)
        heap.append((node.likely, next(order), node))
    heapq.heapify(heap)
    _report(search, [node for _, _, node in heap], 0)
    visited = 0
    while heap and not search.stop(visited):
        cut = _cut(search)
        _, _, node = heapq.heappop(heap)
        if node.lower >= cut:
            continue
        trial.budget = _BELOW
        if node.kept.size == node.dropped.size == 0 and max_nodes is None:
            trial.budget = max(_BELOW, _root_budget(search))
        outcome = explore(form, node, cut, trial, search.rng, search.stop)
        visited += 1
        for dropped in outcome.found:
            search.offer_items(np.flatnonzero(~dropped), visited)
        for child in outcome.children:
            heapq.heappush(heap, (child.likely, next(order), child))
        _report(search, [node for _, _, node in heap], visited)
        if max_nodes is not None and visited >= max_nodes:
            break
    if not heap:
        _report(search, [], visited)


def _root_budget(search: Search) -> int:
    """Return how many nodes a root's compiled tree may visit: all, if it may end."""
    form = search.refit
    if search.limits.iterations is not None:
        return 0
    most = _BUDGET if form.subsets <= _HOPEFUL else _BUDGET // 10
    pace = _PACE if form.subsets <= _HOPEFUL else _PACE / 10
    return int(min(most, pace * search.remaining()) / len(form.counts))


def _cut(search: Search) -> float:
    """Return the loss from which on a set is no better than the incumbent."""
    form = search.refit
    loss = form.most - search.best_value
    value = 0.0 if search.objective is None else max(search.objective, 0.0)
    return loss - max(_SLACK * min(loss, value), 2.0 * form.rounding_error)


def _report(search: Search, nodes: list[Node], visited: int) -> None:
    """Tell the search what the tree has proved: all else was cut off."""
    least = min((node.lower for node in nodes), default=np.inf)
    loss = min(least, max(_cut(search), 0.0))
    search.tighten_canonical(search.refit.most - loss, visited)


def _descend(search: Search, starts: list[Items], shaken: int = 0) -> None:
    """Make local optima of some sets, and then of the best one, shaken."""
    many = len(starts) + shaken
    walker = RefitDescents(search.refit, search.rng, starts=starts, descents=many)
    while not walker.done and not search.stop():
        found = walker.advance(1)
        if found is not None:
            search.offer_items(found, 0)


def _bare_root(search: Search, count: int) -> Node:
    """Return the root for one count, bounded by eigenvalues."""
    form = search.refit
    total = form.u - count
    lower = eigenvalue_loss(form.precisions, form.products, total)
    return Node(
        kept=_NOTHING,
        dropped=_NOTHING,
        total=total,
        lower=lower,
        likely=lower,
        columns=np.zeros((0, form.m), dtype=bool),
        logs=np.zeros(0),
    )


def _root(search: Search, count: int, roots: int, trial: Trial) -> Node:
    """Return the root for one count, bounded where it may stay open."""
    form = search.refit
    drops = root_drops(form, count)
    node = _bare_root(search, count)
    cut, lower = _cut(search), node.lower
    best = search.best_items
    if form.subsets <= _FEW or lower >= cut or best is None or roots > 1:
        return node
    columns = np.ones((1, form.m), dtype=bool)
    columns[0, best] = False
    minorant = Minorant(drops, search.rng)
    part = _BEFORE_WALK if trial.suits(drops) else _ALONE
    share = search.remaining() * part
    ends = time.monotonic() + share
    minorant.ascend(columns, cut, stop=lambda: search.stop() or time.monotonic() > ends)
    _descend(search, minorant.kept_by_best(_POOL))
    if minorant.best is not None and not search.stop():
        seconds = None if math.isinf(share) else share
        proof = minorant.best.prove(drops, seconds=seconds, stop=search.stop)
        lower = max(lower, proof - form.rounding_error)
    return replace(
        node,
        lower=lower,
        likely=max(lower, min(minorant.ceiling, cut)),
        columns=minorant.columns,
        logs=minorant.weights,
    )
