"""Our cliques in Torch-Pruning's own pruners."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch_pruning as tp
from torch import nn

from sirfp_opt.api import solve
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.curves import value_curve
from sirfp_opt.network.feasible import whole_groups

if TYPE_CHECKING:
    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.extraction.graphs import ExtractedGraphs

__all__ = ["RedundancyImportance"]

logger = logging.getLogger(__name__)


class RedundancyImportance(tp.importance.Importance):  # type: ignore[misc]
    """An importance for Torch-Pruning by which its pruners keep our cliques.

    Torch-Pruning's pruners decide how many channels of a group go, and remove those of
    the least importance. Here a channel's importance is its place in an order of
    deletion, so that whatever number is kept, what is kept is the set that a method
    chooses.

    Parameters
    ----------
    graphs : ExtractedGraphs
        Of the same network, before any pruning. Groups that are no pruning unit of
        theirs get no importance (None), which leaves them whole: what `couple`
        excluded, and the network's outputs, need not be among the pruner's
        `ignored_layers`. Nor do units get one that Torch-Pruning would cut otherwise
        than `prune`: attention heads, group and layer norms, layers that run for
        nothing.
    method : str or Solver
        "greedy": the paper's backward deletion, whose sets are nested, so that one
        order holds the set of every number of channels. Any other method needs `ratio`.
    ratio : float or mapping of str to float, optional
        The pruner's final `pruning_ratio` (or by unit, those of `pruning_ratio_dict`; a
        unit that is not named stays greedy). It tells the number of channels for which
        the method is asked: ``int(n * (1 - ratio))``, as the pruner has it.
    drop_dead : bool
        Channels that are zero everywhere go first, as in `prune`.
    **arguments
        For `solve`: time_limit, seed, and the method's parameters.

    Notes
    -----
    With local pruning (``global_pruning=False``) and any number of `iterative_steps`,
    the pruner keeps in each unit exactly the set of ``solve(graph, k, method)`` for the
    k that it decides on, tied channels and dead ones as in `prune`: with "greedy" after
    every step, with other methods after the last one; the steps before remove channels
    outside of that set, in the greedy order. `round_to` changes k: with other methods,
    let `ratio` be the one that is really reached. With global pruning the places, which
    run from 1/n to 1, are compared across units, which removes the same share of each.

    The steps share one set of graphs. To measure anew between steps, extract graphs of
    the network as it is, and make a new pruner and importance.

    Raises
    ------
    InvalidProblemError
        If a method other than greedy has no `ratio`, a ratio is not in [0, 1), or a
        unit is unknown; when called, if the network was cut by other means.

    Examples
    --------
    >>> import torch, torch_pruning as tp
    >>> from torch import nn
    >>> from sirfp_opt.pytorch import RedundancyImportance, extract
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    >>> images = torch.rand(4, 3, 9, 9)
    >>> importance = RedundancyImportance(extract(net, images))
    >>> pruner = tp.pruner.BasePruner(net, images, importance, pruning_ratio=0.5)
    >>> pruner.step()
    >>> net[0].out_channels, net[2].out_channels
    (4, 2)
    """

    def __init__(
        self,
        graphs: ExtractedGraphs,
        *,
        method: Any = "greedy",
        ratio: float | Mapping[str, float] | None = None,
        drop_dead: bool = True,
        **arguments: Any,
    ) -> None:
        self.graphs = graphs
        self.method = method
        self.arguments = arguments
        dead = graphs.dead_channels() if drop_dead else {}
        self._rules = {unit.name: _rules(unit, dead) for unit in graphs.coupling.units}
        self._ratios = self._by_unit(ratio)
        if method != "greedy" and not self._ratios:
            raise InvalidProblemError(
                f"`ratio` must tell the number of channels for method {method!r}, got "
                "None. Pass the pruner's pruning_ratio, or use method='greedy'."
            )
        # A layer whose outputs are exactly a unit's channels can be a pruner's root.
        self._units: dict[tuple[str, str], PruningUnit] = {
            (site.layer, site.side): unit
            for unit in graphs.coupling.units
            for site in unit.ports
            if site.channels == unit.size
        }
        self._scores: dict[str, torch.Tensor] = {}

    def __call__(self, group: Any) -> torch.Tensor | None:
        """Return one score for each channel of a group; None for groups left whole.

        Parameters
        ----------
        group : torch_pruning.dependency.Group
            With all channels that its root has left.
        """
        graph = group._DG
        root = graph._module2name[group[0].dep.target.module]
        unit = self._units.get((root, _side(group[0])))
        if unit is None:
            return None
        if unit.heads is not None or _has_norm(group):
            logger.warning(
                "%s is left whole: Torch-Pruning does not cut whole heads, nor whole "
                "groups of a group norm", unit.name
            )  # fmt: skip
            return None
        if _sites(group) != {(site.layer, site.side) for site in unit.ports}:
            logger.warning(
                "%s is left whole: Torch-Pruning couples other layers", unit.name
            )
            return None
        left = self._left(graph.pruning_history(), unit)
        if len(left) != len(group[0].idxs):
            raise InvalidProblemError(
                f"`group` must have all channels of {unit.name!r} that the pruner "
                f"left, got {len(group[0].idxs)} where {len(left)} are left. After a "
                "cut by other means, extract graphs anew and make a new pruner."
            )
        if unit.name not in self._scores:
            self._scores[unit.name] = self._scored(unit)
        return self._scores[unit.name][torch.from_numpy(left)]

    def _by_unit(self, ratio: float | Mapping[str, float] | None) -> dict[str, float]:
        if ratio is None:
            return {}
        if not isinstance(ratio, Mapping):
            ratio = dict.fromkeys(self._rules, ratio)
        unknown = sorted(set(ratio) - set(self._rules))
        if unknown:
            raise InvalidProblemError(
                f"`ratio` must name prunable units, got {unknown[:5]}. "
                f"They are {list(self._rules)[:10]}."
            )
        for value in ratio.values():
            if not isinstance(value, Real) or not 0.0 <= value < 1.0:
                raise InvalidProblemError(
                    f"`ratio` must lie in [0, 1), got {value!r}. "
                    "It is the share that goes, as in Torch-Pruning."
                )
        return dict(ratio)

    def _left(self, history: Any, unit: PruningUnit) -> IntArray:
        """Return which of the unit's channels the pruner has not removed so far."""
        left = np.arange(unit.size)
        for layer, outputs, positions in history:
            if self._units.get((layer, "out" if outputs else "in")) is unit:
                gone = np.asarray(positions, dtype=np.int64)
                # `Group.prune(idxs)` enters the whole group beside what it has cut.
                if len(gone) < len(left) and gone.max(initial=0) < len(left):
                    left = np.delete(left, gone)
        return left

    def _scored(self, unit: PruningUnit) -> torch.Tensor:
        """Return each channel's place in the order of deletion, as a fraction."""
        graph, rules = self.graphs[unit.name], self._rules[unit.name]
        n, step, dropped = unit.size, unit.step, rules.must_drop
        order = np.concatenate(
            [value_curve(graph, rules).order, np.asarray(dropped, dtype=np.int64)]
        )
        if self.method != "greedy" and unit.name in self._ratios:
            # As the pruner counts: classes of tied channels, at least one of them.
            count = step * max(1, int(n // step * (1 - self._ratios[unit.name])))
            if count < n:
                enough = n - len(dropped) >= count
                solution = solve(
                    graph,
                    count,
                    self.method,
                    constraints=rules if enough else replace(rules, must_drop=()),
                    **self.arguments,
                )
                inside = np.isin(order, solution.selected)
                order = np.concatenate([order[inside], order[~inside]])
        scores = np.empty(n)
        scores[order] = np.arange(n, 0, -1) / n
        for tied in unit.tied:
            scores[list(tied)] = scores[list(tied)].mean()
        return torch.from_numpy(scores)


def _rules(unit: PruningUnit, dead: Mapping[str, tuple[int, ...]]) -> LayerConstraints:
    """Return a unit's tied channels, and its dead ones where others are left."""
    rules = LayerConstraints(tied=unit.tied)
    dropped = whole_groups(dead.get(unit.name, ()), rules)
    return replace(rules, must_drop=dropped if len(dropped) < unit.size else ())


def _has_norm(group: Any) -> bool:
    norms = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return any(isinstance(item.dep.target.module, norms) for item in group)


def _side(item: Any) -> str:
    # Of a batch norm Torch-Pruning cuts "out", and says that it is both sides.
    return "in" if "_in_" in item.dep.handler.__name__ else "out"


def _sites(group: Any) -> set[tuple[str, str]]:
    """Return the layers that Torch-Pruning would cut, and on which side."""
    names = group._DG._module2name
    return {
        (names[item.dep.target.module], _side(item))
        for item in group
        if item.dep.target.module in names
    }
