"""ReconstructionProblem: which channels to keep where the readers are refitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sirfp_opt._copies import ReadOnly
from sirfp_opt._rules import number
from sirfp_opt._validate import (
    SYMMETRY_TOLERANCE,
    FloatArray,
    as_labels,
    as_square,
    frozen,
    require,
)
from sirfp_opt.canonical_refit import CanonicalRefit, canonicalize_refit
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.objective import Objective
from sirfp_opt.sense import Sense
from sirfp_opt.set_problem import SetProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from sirfp_opt._validate import IntArray
    from sirfp_opt.solution import Solution

__all__ = ["ReconstructionProblem"]

# A Cholesky factorisation of a shifted matrix that goes through shows that no
# eigenvalue is below minus the shift: this part of the Frobenius norm.
_ROUNDING = 1e-12
# The least share of a channel's variance that the others must leave unexplained.
_DEFINITE = 1e-11
_RIDGE = number(0.0, way="The default is 1e-3 of the mean variance.")


@dataclass(frozen=True, eq=False, repr=False, init=False)
class ReconstructionProblem(ReadOnly, SetProblem):
    """Keep the channels from which the readers' outputs are best rebuilt.

    Reader r, a layer that reads the n channels x, computes y = Σ_t W_t x(p + t). Where
    D is dropped and S kept, the best linear map of x_S to x_D, put into its weights,
    leaves it the squared error

        f_r(D) = tr(P_DD (C_DD − C_DS C_SS⁻¹ C_SD)) = tr(P_DD [(C⁻¹)_DD]⁻¹),

    with C = Cov(x) and P = Σ_t W_t'W_t. The objective, to be maximised, is the share
    of the readers' signal that comes through,

        1 − (1/R) Σ_r f_r(D) / tr(P_r C_r).

    Parameters
    ----------
    covariances : array_like of shape (n, n) or (R, n, n)
        C, what the channels vary together at the input of each reader.
    products : array_like of shape (n, n) or (R, n, n)
        P, the inner products of the filters through which each reader sees them.
    constraints : LayerConstraints, optional
        Which sets are allowed; the number of channels may also be left to `solve`.
    ridge : float
        Added to the diagonal of C, in units of its mean. It makes the maps robust, and
        C positive definite where channels depend on each other.
    name : str
        Shown in reports, for instance the unit's name.
    labels : sequence of str, optional
        A name for each channel.

    Raises
    ------
    InvalidProblemError
        If a matrix is not real, finite, symmetric, of the right shape and positive
        semidefinite up to rounding (1e-5 of its norm; what is negative within that is
        taken as zero), if C with its ridge is singular, or if the constraints do not
        fit.

    Notes
    -----
    Exact for 1 × 1 and linear readers; a k × k reader is refitted by one map for all
    of its positions. The problem is column subset selection with several targets; with
    one reader and P = I it is that of Boutsidis, Mahoney, Drineas (2009). A reader
    without any signal loses nothing.

    Examples
    --------
    Channel 2 is the sum of the others, so that nothing is lost without it:

    >>> import numpy as np
    >>> from sirfp_opt import ReconstructionProblem, solve
    >>> maps = np.random.default_rng(0).normal(size=(3, 500))
    >>> maps[2] = maps[0] + maps[1]
    >>> problem = ReconstructionProblem(np.cov(maps), np.eye(3), ridge=1e-6)
    >>> round(problem.value_of([0, 1]), 3)
    1.0
    >>> solve(problem, 2).status.value
    'optimal'
    """

    objective: ClassVar[Objective] = Objective.REFIT
    covariances: FloatArray
    products: FloatArray
    constraints: LayerConstraints
    ridge: float
    name: str
    labels: tuple[str, ...] | None
    signals: FloatArray

    def __init__(
        self,
        covariances: ArrayLike,
        products: ArrayLike,
        constraints: LayerConstraints | None = None,
        *,
        ridge: float = 1e-3,
        name: str = "",
        labels: Sequence[str] | None = None,
    ) -> None:
        rules = LayerConstraints() if constraints is None else constraints
        require(rules, LayerConstraints, "constraints")
        store = object.__setattr__
        store(self, "ridge", _RIDGE.check(ridge, "ridge"))
        store(self, "covariances", _as_stack(covariances, "covariances"))
        store(self, "products", _as_stack(products, "products"))
        if self.covariances.shape != self.products.shape:
            raise InvalidProblemError(
                "`products` must have the shape of the covariances "
                f"{self.covariances.shape}, got {self.products.shape}. Pass one pair "
                "of matrices for each reader."
            )
        named = None if labels is None else as_labels(labels, self.n)
        store(self, "constraints", rules)
        store(self, "name", str(name))
        store(self, "labels", named)
        store(self, "signals", self._signals())
        self._require_fit()
        for reader in self._readers:
            self._require_definite(reader)

    # -- the layer -----------------------------------------------------------------

    @property
    def n(self) -> int:
        """Number of channels."""
        return int(self.covariances.shape[1])

    @property
    def readers(self) -> int:
        """Number of readers, R."""
        return int(self.covariances.shape[0])

    @property
    def sense(self) -> Sense:
        """What comes through is maximised."""
        return Sense.MAXIMIZE

    @property
    def title(self) -> str:
        """The layer's name."""
        return self.name

    @property
    def channel_labels(self) -> tuple[str, ...] | None:
        """A name for each channel, where there are any."""
        return self.labels

    @property
    def adjacency(self) -> None:
        """None: any two channels may be kept together."""
        return

    def __repr__(self) -> str:
        parts = [f"n={self.n}", f"readers={self.readers}", f"ridge={self.ridge:g}"]
        if self.constraints != LayerConstraints():
            parts.append(f"constraints={self.constraints!r}")
        if self.name:
            parts.append(f"name={self.name!r}")
        return f"ReconstructionProblem({', '.join(parts)})"

    def constrained(self, constraints: LayerConstraints) -> ReconstructionProblem:
        """Return the same layer under other constraints, its matrices shared."""
        require(constraints, LayerConstraints, "constraints")
        other = object.__new__(ReconstructionProblem)
        fields = ("covariances", "products", "ridge", "name", "labels", "signals")
        for field in fields:
            object.__setattr__(other, field, getattr(self, field))
        object.__setattr__(other, "constraints", constraints)
        other._require_fit()
        return other

    def as_graph(self) -> ChannelGraph:
        """Return the problem without refit: the same loss with all weights as they are.

        Its loss of a set D, q(D) = Σ_r tr(P_DD C_DD) / (R tr(P_r C_r)) with the ridge
        inside of C, is never below f(D); see `ChannelGraph.from_reconstruction`.
        """
        errors = np.zeros((self.n, self.n))
        for reader, weight in self._readers.items():
            errors += weight * self.products[reader] * self._ridged(reader)
        return ChannelGraph.from_reconstruction(
            errors, name=self.name, labels=self.labels
        )

    # -- what a set is worth -------------------------------------------------------

    def value_of(self, selected: Iterable[int] | Solution) -> float:
        """Return the share of the readers' signal that a set of channels lets through.

        Parameters
        ----------
        selected : iterable of int, or Solution
            Distinct channels, feasible or not.

        Returns
        -------
        float
            Within [0, 1] but for rounding; 1 where all channels are kept.

        Raises
        ------
        InvalidProblemError
            If an entry is no channel, or comes twice.
        """
        return self.evaluate(selected)

    def losses(self, selected: Iterable[int] | Solution) -> FloatArray:
        """Return the share of its signal that each reader loses, of shape (R,)."""
        channels = self._as_channels(selected)
        losses = np.zeros(self.readers)
        for reader in self._readers:
            losses[reader] = self._left(reader, channels) / self.signals[reader]
        return losses

    def price_of(self, channels: IntArray) -> float:
        """Return `value_of` distinct channels, which are not checked."""
        lost = 0.0
        for reader, weight in self._readers.items():
            lost += weight * self._left(reader, channels)
        return 1.0 - lost

    def _left(self, reader: int, channels: IntArray) -> float:
        """Return f_r, the squared error that is left after the best refit.

        With the kept channels first, the last rows of the Cholesky factor L of C are
        what is left of the dropped ones: C_DD − C_DS C_SS⁻¹ C_SD = L_DD L_DD'.
        """
        dropped = np.setdiff1d(np.arange(self.n), channels, assume_unique=True)
        if dropped.size == 0:
            return 0.0
        order = np.concatenate((channels, dropped))
        factor = np.linalg.cholesky(self._ridged(reader)[np.ix_(order, order)])
        rest = factor[channels.size :, channels.size :]
        products = self.products[reader][np.ix_(dropped, dropped)]
        return float(np.vdot(rest, products @ rest))

    @cached_property
    def canonical(self) -> CanonicalRefit:
        """The form that solvers work on (made on first use); see `to_canonical`."""
        return self.to_canonical()

    def to_canonical(self) -> CanonicalRefit:
        """Make the form that solvers work on, two matrices a reader, anew.

        Raises
        ------
        InvalidProblemError
            If the constraints do not say how many channels to keep.
        InfeasibleError
            If making it shows that nothing is feasible.
        """
        if not self.constraints.has_count:
            raise InvalidProblemError(
                "`constraints` must say how many channels to keep, got none. Pass k to "
                "solve, or take problem.constrained(LayerConstraints(k))."
            )
        readers = [
            (self.covariances[reader], self._ridge(reader), self.products[reader], part)
            for reader, part in self._readers.items()
        ]
        return canonicalize_refit(self.n, readers, self.constraints)

    @property
    def _readers(self) -> dict[int, float]:
        """The readers that have a signal, and what a unit of their error counts."""
        return {
            reader: 1.0 / (self.readers * signal)
            for reader, signal in enumerate(self.signals.tolist())
            if signal > 0.0
        }

    def _ridge(self, reader: int) -> float:
        """Return what is added to the diagonal of C_r."""
        return self.ridge * float(self.covariances[reader].diagonal().mean())

    def _ridged(self, reader: int) -> FloatArray:
        """Return a copy of C_r with its ridge."""
        covariance: FloatArray = self.covariances[reader].copy()
        np.einsum("ii->i", covariance)[:] += self._ridge(reader)
        return covariance

    def _signals(self) -> FloatArray:
        """Return tr(P_r C_r), the ridge inside of C."""
        signals: FloatArray = np.einsum("rij,rij->r", self.products, self.covariances)
        own = np.einsum("rii->ri", self.covariances).mean(axis=1)
        signals += self.ridge * own * np.einsum("rii->r", self.products)
        norms = np.linalg.norm(self.products, axis=(1, 2))
        norms *= np.linalg.norm(self.covariances, axis=(1, 2))
        # Less than rounding is nothing: a dead unit, or a reader that ignores it.
        signals[signals <= _ROUNDING * norms] = 0.0
        frozen(signals)
        return signals

    def _require_definite(self, reader: int) -> None:
        """Raise unless C_r with its ridge can be inverted."""
        covariance = self._ridged(reader)
        variances = covariance.diagonal().copy()
        try:
            left = np.linalg.cholesky(covariance).diagonal() ** 2
        except np.linalg.LinAlgError:
            left = np.zeros(self.n)
        if not bool((left > _DEFINITE * variances).all()):
            raise InvalidProblemError(
                f"`ridge` must make covariances[{reader}] positive definite, got "
                f"{self.ridge:g} and a least eigenvalue of "
                f"{float(np.linalg.eigvalsh(covariance)[0]):.3g}. Raise it, for "
                "instance to 1e-3."
            )


def _as_stack(matrices: Any, name: str) -> FloatArray:
    """Return a read-only float64 copy of shape (R, n, n), each positive semidefinite.

    What is stored of a matrix that is negative within rounding is the nearest one that
    is not.
    """
    raw = np.asarray(matrices)
    if raw.ndim not in (2, 3) or raw.shape[0] == 0:
        raise InvalidProblemError(
            f"`{name}` must have shape (n, n) or (R, n, n), got {raw.shape}. Pass one "
            "matrix for each reader."
        )
    single = raw.ndim == 2
    rows = [raw] if single else list(raw)
    names = [name] if single else [f"{name}[{r}]" for r in range(len(rows))]
    stack = np.empty((len(rows), *rows[0].shape))
    for r, (row, called) in enumerate(zip(rows, names, strict=True)):
        stack[r] = _as_semidefinite(as_square(row, called), called)
    frozen(stack)
    return stack


def _as_semidefinite(matrix: FloatArray, name: str) -> FloatArray:
    """Return the matrix, or the nearest one without negative eigenvalues."""
    norm = float(np.linalg.norm(matrix))
    if norm == 0.0:
        return matrix
    shifted = matrix.copy()
    np.einsum("ii->i", shifted)[:] += _ROUNDING * norm
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        pass
    else:
        return matrix
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -SYMMETRY_TOLERANCE * norm:
        raise InvalidProblemError(
            f"`{name}` must be positive semidefinite, got an eigenvalue of "
            f"{float(values[0]):.3g} beside a largest of {float(values[-1]):.3g}. "
            "Covariances and products of filters are; check how it was made."
        )
    nearest: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return (nearest + nearest.T) / 2
