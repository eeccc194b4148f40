"""The linearised models of the problem, stated in PuLP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sirfp_opt_solvers.relaxations.linear import PartnerBounds, masked_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sirfp_opt.canonical import CanonicalProblem

__all__ = [
    "FORMULATIONS",
    "Formulation",
    "LinearModel",
    "columns",
    "count_terms",
    "expression",
]

Formulation = Literal["rlt", "standard", "glover"]
FORMULATIONS: tuple[Formulation, ...] = ("rlt", "standard", "glover")


def count_terms(canonical: CanonicalProblem, formulation: Formulation) -> int:
    """Return how many coefficients a formulation has, objective included."""
    m, conflicts = canonical.m, 0
    if canonical.conflicts is not None:
        conflicts = int(canonical.conflicts.sum())
    base = 2 * m + conflicts
    pairs = m * (m - 1) // 2
    if formulation == "glover":
        return base + m * (m + 4)
    if formulation == "standard":
        rising = int((np.triu(canonical.weights, 1) > 0).sum())
        return base + pairs + 4 * rising + 3 * (pairs - rising)
    ranged = canonical.counts[0] < canonical.counts[-1]
    return base + 4 * pairs + 2 * pairs * (6 if ranged else 1) + 2 * m


@dataclass
class LinearModel:
    """A PuLP problem and what is needed to read it.

    Attributes
    ----------
    lp : pulp.LpProblem
        Its objective is -``scale`` times the canonical value, to be minimised; or the
        user's own (see `build`).
    x : list of pulp.LpVariable
        One binary per item.
    scale : float
        A power of two.
    reach : float
        Σ over variables of (range) · (1 + |objective coefficient|): times a solver's
        tolerance, how far its bound can be off.
    """

    lp: Any
    x: list[Any]
    scale: float
    reach: float
    _stands_for: list[tuple[Any, Callable[[NDArray[np.bool_]], float]]]

    @classmethod
    def build(
        cls,
        canonical: CanonicalProblem,
        formulation: Formulation,
        *,
        rescale: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> LinearModel | None:
        """State the problem; return None if told to stop before it stands.

        Parameters
        ----------
        canonical : CanonicalProblem
        formulation : {"rlt", "standard", "glover"}
        rescale : bool
            Bring the largest coefficient to about 1000, so a solver's absolute
            tolerances are small beside the objective, and minimise. Without, the
            objective and its sense are the user's own, constant included.
        stop : callable
            Asked now and then.
        """
        return _Builder(canonical, formulation, rescale, stop).run()

    def start_from(self, items: NDArray[np.int64]) -> None:
        """Set every variable to its value at a set of items."""
        inside = np.zeros(len(self.x), dtype=bool)
        inside[items] = True
        for variable, value in self._stands_for:
            # Rounding may leave a sum a hair outside of its own bound.
            within = min(max(value(inside), variable.lowBound), variable.upBound)
            variable.setInitialValue(within)

    def chosen(self) -> list[int] | None:
        """Return the items that the variables' present values choose, if any do."""
        values = [x.varValue for x in self.x]
        if any(v is None for v in values):
            return None
        return [i for i, v in enumerate(values) if v > 0.5]


def expression(terms: Sequence[tuple[Any, float]]) -> Any:
    """Return Σ coefficient · variable, as PuLP 3 and PuLP 4 each want it made."""
    from pulp import LpAffineExpression

    make = getattr(LpAffineExpression, "from_list", LpAffineExpression)  # 4, else 3
    return make(list(terms))


def columns(lp: Any) -> list[Any]:
    """Return a model's variables in the order of the columns that PuLP makes."""
    listed = getattr(lp, "exported_variables", lp.variables)  # PuLP 4, else 3
    return list(listed())


class _Builder:
    """Writes a `LinearModel` row by row."""

    def __init__(
        self,
        canonical: CanonicalProblem,
        formulation: Formulation,
        rescale: bool,
        stop: Callable[[], bool],
    ) -> None:
        import pulp

        self.pulp = pulp
        self.canonical = canonical
        self.formulation = formulation
        self.stop = stop
        weights, values = masked_weights(canonical), canonical.values
        most = max(np.abs(weights).max(initial=0.0), np.abs(values).max(initial=0.0))
        exponent = min(10 - math.frexp(most)[1], 1000) if rescale and most > 0 else 0
        self.scale = math.ldexp(1.0, exponent)
        self.offset = 0.0 if rescale else canonical.to_objective(0.0)
        self.weights = np.ldexp(weights, exponent)
        self.values = np.ldexp(values, exponent)
        # Versions of PuLP differ in what they make of a maximisation for a back end.
        self.sign = -1 if rescale else canonical.sign
        sense = pulp.LpMaximize if self.sign > 0 else pulp.LpMinimize
        self.lp = pulp.LpProblem("clique", sense)
        self.stands_for: list[tuple[Any, Callable[[NDArray[np.bool_]], float]]] = []
        self.reach = 0.0
        self.x = [
            self.variable(f"x_{i}", 0, 1, binary=True, value=_Member(i))
            for i in range(canonical.m)
        ]

    def variable(
        self,
        name: str,
        low: float,
        high: float,
        *,
        value: Callable[[NDArray[np.bool_]], float],
        binary: bool = False,
        gain: float = 0.0,
    ) -> Any:
        kind = self.pulp.LpBinary if binary else self.pulp.LpContinuous
        made = self.lp.add_variable(name, low, high, kind)
        self.stands_for.append((made, value))
        self.reach += (high - low) * (1.0 + abs(gain))
        return made

    def row(
        self, terms: Sequence[tuple[Any, float]], relation: str, bound: float
    ) -> None:
        left = expression(terms)
        self.lp.addConstraint(
            left <= bound
            if relation == "<="
            else left >= bound
            if relation == ">="
            else left == bound
        )

    def run(self) -> LinearModel | None:
        self._size_rows()
        own = [
            (x, self.sign * float(c))
            for x, c in zip(self.x, self.values, strict=True)
            if c
        ]
        self.reach += float(np.abs(self.values).sum())
        part = self._glover() if self.formulation == "glover" else self._products()
        if part is None or self.stop():
            return None
        if self.offset:
            # MPS has no place for a constant that all readers agree on; a column does.
            own.append((self.variable("constant", 1, 1, value=_one), self.offset))
        self.lp.setObjective(expression([*own, *part]))
        return LinearModel(self.lp, self.x, self.scale, self.reach, self.stands_for)

    def _size_rows(self) -> None:
        """Σ s_i x_i must be an allowed count, and conflicts exclude each other."""
        canonical, counts = self.canonical, self.canonical.counts
        total = [(x, int(s)) for x, s in zip(self.x, canonical.sizes, strict=True)]
        if len(counts) == 1:
            self.row(total, "==", counts[0])
        elif len(counts) == counts[-1] - counts[0] + 1:
            self.row(total, ">=", counts[0])
            self.row(total, "<=", counts[-1])
        else:
            sizes = canonical.sizes

            def adds_up_to(count: int) -> Callable[[Any], float]:
                return lambda inside: float(sizes[inside].sum() == count)

            picks = [
                self.variable(
                    f"count_{c}",
                    0,
                    1,
                    binary=True,
                    value=adds_up_to(c),
                )
                for c in counts
            ]
            self.row([(u, 1) for u in picks], "==", 1)
            steps = [(u, -c) for u, c in zip(picks, counts, strict=True)]
            self.row([*total, *steps], "==", 0)
        if canonical.conflicts is not None:
            for i, j in np.argwhere(np.triu(canonical.conflicts)).tolist():
                self.row([(self.x[i], 1), (self.x[j], 1)], "<=", 1)

    def _glover(self) -> list[tuple[Any, float]] | None:
        """One z_i <= x_i Σ_j w_ij x_j per item; half their sum is the pairs' worth."""
        weights, x, m = self.weights, self.x, self.canonical.m
        if self.canonical.cardinalities[-1] == 0:  # nothing to choose, no partners
            return []
        meets = PartnerBounds.of(weights, self.canonical.cardinalities)
        terms = []
        for i in range(m):
            if self.stop():
                return None
            most, least = float(meets.most_in[i]), float(meets.least_in[i])
            outside = float(meets.least_out[i])
            low, high = min(least, 0.0), max(most, 0.0)
            z = self.variable(f"z_{i}", low, high, value=_Met(i, weights[i]), gain=0.5)
            self.row([(z, 1), (x[i], -most)], "<=", 0)
            partners = [(x[j], -float(w)) for j, w in enumerate(weights[i]) if w]
            self.row([(z, 1), (x[i], -outside), *partners], "<=", -outside)
            terms.append((z, self.sign * 0.5))
        return terms

    def _products(self) -> list[tuple[Any, float]] | None:
        """One y_ij = x_i x_j per pair, tied to x by either kind of rows."""
        weights, x, m = self.weights, self.x, self.canonical.m
        products: dict[tuple[int, int], Any] = {}
        terms = []
        for i in range(m):
            if self.stop():
                return None
            for j in range(i + 1, m):
                w = float(weights[i, j])
                if w == 0 and self.formulation == "standard":
                    continue
                y = products[i, j] = self.variable(
                    f"y_{i}_{j}", 0, 1, value=_Both(i, j), gain=w
                )
                terms.append((y, self.sign * w))
                if w > 0 and self.formulation == "standard":
                    self.row([(y, 1), (x[i], -1)], "<=", 0)
                    self.row([(y, 1), (x[j], -1)], "<=", 0)
                else:
                    self.row([(x[i], 1), (x[j], 1), (y, -1)], "<=", 1)
        for i in range(m if self.formulation == "rlt" else 0):
            if self.stop():
                return None
            self._multiply_size_row(i, products)
        return terms

    def _multiply_size_row(self, i: int, products: dict[tuple[int, int], Any]) -> None:
        """Multiply low <= Σ_j s_j x_j <= high by x_i and by 1 − x_i.

        With x_i = 0 the first kind leaves y_ij = 0, which makes y_ij <= x_i superfluous
        beside them.
        """
        x, sizes = self.x, self.canonical.sizes.tolist()
        low, high = self.canonical.counts[0], self.canonical.counts[-1]
        others = [j for j in range(self.canonical.m) if j != i]
        both = [(products[min(i, j), max(i, j)], sizes[j]) for j in others]
        if low == high:
            self.row([*both, (x[i], sizes[i] - low)], "==", 0)
            return
        self.row([*both, (x[i], sizes[i] - low)], ">=", 0)
        self.row([*both, (x[i], sizes[i] - high)], "<=", 0)
        rest = [(x[j], sizes[j]) for j in others] + [(y, -s) for y, s in both]
        self.row([*rest, (x[i], low)], ">=", low)
        self.row([*rest, (x[i], high)], "<=", high)


def _one(inside: NDArray[np.bool_]) -> float:
    return 1.0


@dataclass(frozen=True)
class _Member:
    i: int

    def __call__(self, inside: NDArray[np.bool_]) -> float:
        return float(inside[self.i])


@dataclass(frozen=True)
class _Both:
    i: int
    j: int

    def __call__(self, inside: NDArray[np.bool_]) -> float:
        return float(inside[self.i] and inside[self.j])


@dataclass(frozen=True, eq=False)
class _Met:
    i: int
    row: NDArray[np.float64]

    def __call__(self, inside: NDArray[np.bool_]) -> float:
        return float(self.row[inside].sum()) if inside[self.i] else 0.0
