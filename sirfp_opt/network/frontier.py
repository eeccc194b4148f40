"""What budgets cost: one problem, solved along a row of budgets."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from sirfp_opt._parallel import Clock, Stages, progress_stages
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.solve import split_by
from sirfp_opt.sense import relative_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from sirfp_opt.network.curves import ValueCurves
    from sirfp_opt.network.problem import NetworkProblem

__all__ = ["Frontier", "FrontierPoint", "sweep"]


@dataclass(frozen=True)
class FrontierPoint:
    """One allocation at one budget.

    Attributes
    ----------
    allocation : str
    asked, reached : dict of str to float
        Budgets, and all costs, as fractions of the whole network's.
    objective : float
        Loss of the split.
    bound, gap : float or None
        What is proved about it on the value curves; None where nothing is.
    redundancy : float
        Scaled objective of the sets on the curves, summed over the layers.
    counts : dict of str to int
        Channels kept.
    seconds : float
        For the split, value curves not counted.
    """

    allocation: str
    asked: dict[str, float]
    reached: dict[str, float]
    objective: float
    bound: float | None
    gap: float | None
    redundancy: float
    counts: dict[str, int]
    seconds: float


@dataclass(frozen=True, repr=False)
class Frontier(Sequence[FrontierPoint]):
    """What `sweep` returns: points by allocation, and by budget from large to small."""

    points: tuple[FrontierPoint, ...]

    @overload
    def __getitem__(self, index: int) -> FrontierPoint: ...
    @overload
    def __getitem__(self, index: slice) -> Frontier: ...
    def __getitem__(self, index: int | slice) -> FrontierPoint | Frontier:
        if isinstance(index, slice):
            return Frontier(self.points[index])
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[FrontierPoint]:
        return iter(self.points)

    @property
    def allocations(self) -> tuple[str, ...]:
        """Names of the allocations, each once."""
        return tuple(dict.fromkeys(point.allocation for point in self.points))

    def of(self, allocation: str) -> Frontier:
        """Return the points of one allocation."""
        return Frontier(tuple(p for p in self.points if p.allocation == allocation))

    def __repr__(self) -> str:
        rows = [
            f"{p.allocation:<11}"
            + "  ".join(f"{b} {p.reached[b]:.3f}/{x:g}" for b, x in p.asked.items())
            + f"  objective {p.objective:.6g}"
            + ("" if p.gap is None else f"  gap {p.gap:.3%}")
            for p in self.points
        ]
        return "\n".join(rows)

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each point; counts in columns of their own."""
        import pandas as pd

        rows = []
        for point in self.points:
            row = asdict(point)
            for name in ("asked", "reached", "counts"):
                prefix = "kept" if name == "counts" else name
                row |= {f"{prefix}_{k}": v for k, v in row.pop(name).items()}
            rows.append(row)
        return pd.DataFrame(rows)


def sweep(
    problem: NetworkProblem,
    budgets: Iterable[float | Mapping[str, float]],
    allocations: Sequence[str] = ("optimal",),
    *,
    curves: ValueCurves | None = None,
    n_jobs: int = 1,
    progress: bool | Stages | None = None,
) -> Frontier:
    """Split a row of budgets, by one or several allocations, on the same curves.

    Parameters
    ----------
    problem : NetworkProblem
        Its own budget says which costs a single number stands for.
    budgets : iterable of float or mapping
        0.4 sets each of the problem's budgets to 0.4.
    allocations : sequence of str
        Names; see `solve_network`. An optimising one is also given the splits that the
        others found at the same budget, so that it is never worse.
    curves : ValueCurves, optional
        By default the problem's greedy ones, built once.
    n_jobs : int
        Threads for the curves.
    progress : bool or callable, optional
        As for `solve_network`.

    Returns
    -------
    Frontier

    Raises
    ------
    InfeasibleError
        If a budget cannot be reached; before any work.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph
    >>> from sirfp_opt.network.cost import Affine, CostForm, CostModel
    >>> from sirfp_opt.network.frontier import sweep
    >>> from sirfp_opt.network import NetworkProblem
    >>> layers = {"a": ChannelGraph.from_redundancy(np.full((10, 10), 0.5))}
    >>> form = CostForm.from_products(["a"], [(1.0, Affine(0, {"a": 1}), Affine(3))])
    >>> cost = CostModel(["a"], [10], {"macs": form})
    >>> front = sweep(NetworkProblem(layers, cost, {"macs": 1}), [0.3, 0.6])
    >>> [point.counts["a"] for point in front]
    [6, 3]
    """
    rows = [
        dict(b) if isinstance(b, Mapping) else dict.fromkeys(problem.limits, b)
        for b in budgets
    ]
    if not rows:
        raise InvalidProblemError(
            "`budgets` must hold at least one budget, got none. "
            "Pass for instance [0.2, 0.4, 0.6]."
        )
    problems = [problem.with_budget(row) for row in rows]
    for one in problems:
        one.check_reachable()
    # From small to large: a split fits every larger budget, and is a start there.
    problems.sort(key=lambda one: sum(one.asked.asked(one.cost).values()))
    known = problem.curves if curves is None else curves
    points: dict[str, list[FrontierPoint]] = {name: [] for name in allocations}
    ordered = sorted(allocations, key=lambda name: name in ("lagrangian", "optimal"))
    with progress_stages(progress) as tell:
        clock = Clock(tell)
        with clock.stage("curves", len(known)) as tick:
            known.build(n_jobs=n_jobs, tick=tick)
        with clock.stage("split", len(problems) * len(ordered)) as tick:
            found: list[dict[str, int]] = []
            for one in problems:
                for name in ordered:
                    point = _point(one, name, known, found)
                    points[name].append(point)
                    found.append(point.counts)
                    tick()
    flat = [p for name in allocations for p in reversed(points[name])]
    return Frontier(tuple(flat))


def _point(
    problem: NetworkProblem,
    name: str,
    curves: ValueCurves,
    starts: list[dict[str, int]],
) -> FrontierPoint:
    started = time.perf_counter()
    # The last few are those of this budget, and of the one before.
    made = split_by(problem, name, curves, starts[-6:])
    seconds = time.perf_counter() - started
    losses = problem.worth.losses(curves, problem.factors).by_layer
    objective = math.fsum(
        float(losses[u][np.searchsorted(curves[u].counts, made.counts[u])])
        for u in problem.layers
    )
    proved = bool(np.isfinite(made.bound))
    counts = problem.cost.as_counts(made.counts)
    reached = problem.cost.predict(counts)
    return FrontierPoint(
        allocation=name,
        asked=problem.asked.asked(problem.cost),
        reached={b: c / problem.cost.total(b) for b, c in reached.items()},
        objective=objective,
        bound=made.bound if proved else None,
        gap=relative_gap(objective, made.bound) if proved else None,
        redundancy=sum(
            curves[u].value(made.counts[u]) * problem.factors[u] for u in problem.layers
        ),
        counts=dict(zip(problem.cost.units, counts.tolist(), strict=True)),
        seconds=seconds,
    )
