"""Measure convex relaxations of refit problems: what bounds a proof could build on.

Protocol
--------
Layers of the demo network as in `benchmarks.refit_sets`. With D dropped, Y stands for
E[1_D 1_D'], y for its diagonal, N for E[M_DD⁻¹], filled up with zeros; tr(P N) is
minimised by SCS through cvxpy (both to be installed by hand), to 2e-5, over

sets
    Y of the sets that column generation on the tangent bound comes across, so a value
    above what all sets would give; with N >= Y₁ (M∘Y)⁻¹ Y₁ this is `quadratic`.
rlt
    0 <= Y_ij <= y_i, Y_ij >= y_i + y_j − 1, Y 1 = d y; and the same N.
dnn
    rlt, and Y − yy' positive semidefinite.

A part behind the name adds what N knows of itself:

own
    (N M)_ii = y_i.
both
    the same, and C − N >= C Z₁ (C∘Z)⁻¹ Z₁ C for the kept ones' Z = E[1_S 1_S'].

Values are parts of the loss of the best set known.

    python -m benchmarks.refit_relaxations --units fuse_fine skip_fine --share 0.5
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.refit_sets import demo_layers
from sirfp_opt import LayerConstraints, ReconstructionProblem, solve
from sirfp_opt_solvers._refit.drops import root_drops
from sirfp_opt_solvers._refit.minorant import Minorant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sirfp_opt_solvers._refit.drops import Drops

NAMES = ("sets", "rlt", "dnn", "dnn own", "dnn both")


def columns_of(
    layer: ReconstructionProblem, k: int
) -> tuple[Drops, NDArray[np.float64], float]:
    """Return the root's problem, sets of column generation, and the least loss."""
    best = solve(layer, k, method="local_search", pool=True)
    form = layer.constrained(LayerConstraints(k)).canonical
    drops = root_drops(form, k)
    start = np.ones((1, form.m), dtype=bool)
    start[0, list(best.selected)] = False
    loss = 1.0 - float(best.objective or 0.0)
    minorant = Minorant(drops, np.random.default_rng(0))
    minorant.ascend(start, loss, rounds=40)
    return drops, minorant.columns.astype(np.float64), loss


def value_of(drops: Drops, sets: NDArray[np.float64], loss: float, name: str) -> float:
    """Solve one relaxation; return its value as a part of the loss."""
    import cvxpy as cp

    n, d = drops.m, drops.total
    ones, rules, total = np.ones((n, n)), [], 0
    if name.startswith("sets"):
        p = cp.Variable(len(sets), nonneg=True)
        y, joint = sets.T @ p, sets.T @ cp.diag(p) @ sets
        rules.append(cp.sum(p) == 1)
    else:
        joint = cp.Variable((n, n), symmetric=True)
        y = cp.diag(joint)
        rows = cp.reshape(y, (n, 1), order="C") @ np.ones((1, n))
        rules += [cp.sum(y) == d, cp.sum(joint, axis=1) == d * y, joint >= 0]
        rules += [joint <= rows, joint >= rows + rows.T - ones]
    column = cp.reshape(y, (n, 1), order="C")
    if name.startswith("dnn"):
        lifted = cp.bmat([[np.ones((1, 1)), column.T], [column, joint]])
        rules.append(lifted >> 0)
    scale = np.sqrt(np.einsum("rii->ri", drops.precisions))
    unit = scale[:, :, None] * scale[:, None, :]
    pairs = zip(drops.precisions / unit, drops.products / unit / loss, strict=True)
    for precision, product in pairs:
        inner = cp.Variable((n, n), symmetric=True)
        total = total + cp.trace(product @ inner)
        met = cp.multiply(precision, joint)
        rules.append(cp.bmat([[met, cp.diag(y)], [cp.diag(y), inner]]) >> 0)
        if name.endswith(("own", "both")):
            rules.append(cp.diag(inner @ precision) == y)
        if name.endswith("both"):
            covariance = np.linalg.inv(precision)
            out = ones - column @ np.ones((1, n)) - np.ones((n, 1)) @ column.T + joint
            side = covariance @ cp.diag(1 - y)
            met = cp.multiply(covariance, out)
            rules.append(cp.bmat([[met, side.T], [side, covariance - inner]]) >> 0)
    model: Any = cp.Problem(cp.Minimize(total), rules)
    model.solve(solver=cp.SCS, eps=2e-5, max_iters=6000)
    return float(model.value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", nargs="*", default=[""], help="parts of names")
    parser.add_argument("--sizes", type=int, nargs=2, default=(0, 48))
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--names", nargs="*", default=NAMES)
    options = parser.parse_args(arguments)
    for layer in demo_layers():
        low, high = options.sizes
        named = any(part in layer.name for part in options.units)
        if not (named and low <= layer.n <= high):
            continue
        k = max(1, int(options.share * layer.n))
        drops, sets, loss = columns_of(layer, k)
        for name in options.names:
            started = time.process_time()
            value = value_of(drops, sets, loss, name)
            spent = time.process_time() - started
            print(f"{layer.name} {k} {name}: {value:.4f}, {spent:.1f} s", flush=True)


if __name__ == "__main__":
    main()
