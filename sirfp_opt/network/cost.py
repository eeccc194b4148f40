"""What a network costs, as a formula in the number of channels each unit keeps.

A convolution from unit u to unit v costs as much as k_u * k_v, one from the picture
as much as k_v, a batch norm as much as k_u.  Summed over the layers this is

    cost(k) = const + Σ_u a_u k_u + Σ_{u<=v} b_uv k_u k_v,

exact for multiply-accumulates and for parameters.  Nothing here knows a framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sirfp_opt._validate import FloatArray, IntArray, as_int, as_vector, frozen
from sirfp_opt.errors import InvalidProblemError

__all__ = ["Affine", "CostForm", "CostModel"]


@dataclass(frozen=True)
class Affine:
    """A channel count const + Σ_u c_u k_u, for instance of a concatenation.

    Parameters
    ----------
    const : float
        Channels that no unit prunes.
    terms : mapping of str to float
        Positions that each kept channel of a unit contributes.
    """

    const: float = 0.0
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CostForm:
    """The polynomial const + linear . k + k' upper(quadratic) k.

    Parameters
    ----------
    const : float
        Cost of what is not pruned.
    linear : array_like of shape (units,)
        a_u, cost per kept channel.
    quadratic : array_like of shape (units, units)
        b_uv; entries below the diagonal are added to their mirror image above it.

    Examples
    --------
    >>> import numpy as np
    >>> form = CostForm(10.0, [1.0, 0.0], [[0.0, 9.0], [0.0, 0.0]])
    >>> form(np.array([2, 3]))
    66.0
    """

    const: float
    linear: FloatArray
    quadratic: FloatArray

    def __post_init__(self) -> None:
        count = np.asarray(self.linear).size
        linear = as_vector(self.linear, count, "linear")
        quadratic = np.array(self.quadratic, dtype=np.float64)
        if quadratic.shape != (count, count) or not np.isfinite(quadratic).all():
            raise InvalidProblemError(
                f"`quadratic` must be a finite ({count}, {count}) matrix, got shape "
                f"{quadratic.shape}. Pass one row and one column for each unit."
            )
        quadratic = np.triu(quadratic) + np.tril(quadratic, -1).T
        for array in (linear, quadratic):
            frozen(array)
        object.__setattr__(self, "const", float(self.const))
        object.__setattr__(self, "linear", linear)
        object.__setattr__(self, "quadratic", quadratic)

    def __call__(self, counts: IntArray | FloatArray) -> float:
        """Return the cost of keeping ``counts[u]`` channels of each unit u."""
        k = np.asarray(counts, dtype=np.float64)
        return float(self.const + self.linear @ k + k @ self.quadratic @ k)

    def gradient(self, counts: IntArray | FloatArray) -> FloatArray:
        """Return d cost / d k_u at `counts`, shape (units,)."""
        k = np.asarray(counts, dtype=np.float64)
        out: FloatArray = self.linear + self.quadratic @ k + self.quadratic.T @ k
        return out

    @classmethod
    def from_products(
        cls,
        units: Sequence[str],
        products: Sequence[tuple[float, Affine, Affine]],
        const: float = 0.0,
    ) -> CostForm:
        """Expand ``const + Σ coefficient * left * right`` over a network's layers.

        Parameters
        ----------
        units : sequence of str
            Order of the units in every array.
        products : sequence of (float, Affine, Affine)
            One for each layer, for instance (k * k * H * W / groups, inputs, outputs).
        const : float
            What belongs to no layer.
        """
        index = {name: i for i, name in enumerate(units)}
        linear = np.zeros(len(units))
        quadratic = np.zeros((len(units), len(units)))
        for coefficient, left, right in products:
            const += coefficient * left.const * right.const
            for one, other in ((left, right), (right, left)):
                for name, times in one.terms.items():
                    linear[index[name]] += coefficient * times * other.const
            for u, times in left.terms.items():
                for v, more in right.terms.items():
                    i, j = sorted((index[u], index[v]))
                    quadratic[i, j] += coefficient * times * more
        return cls(const, linear, quadratic)


@dataclass(frozen=True, eq=False)
class CostModel:
    """Costs of a network by the channels each unit keeps.

    Parameters
    ----------
    units : sequence of str
        Unit names; the order of every array below.
    sizes : sequence of int
        Channels of each unit before pruning.
    forms : mapping of str to CostForm
        "macs" (multiply-accumulates of one forward pass) and "params", or others.

    Examples
    --------
    >>> forms = {"macs": CostForm.from_products(
    ...     ["a", "b"], [(9.0, Affine(0, {"a": 1}), Affine(0, {"b": 1}))])}
    >>> model = CostModel(["a", "b"], [4, 8], forms)
    >>> model.predict({"a": 2}), model.total("macs")
    ({'macs': 144}, 288)
    """

    units: tuple[str, ...]
    sizes: IntArray
    forms: Mapping[str, CostForm]

    def __post_init__(self) -> None:
        units = tuple(str(name) for name in self.units)
        sizes = np.array([as_int(n, "sizes[...]", least=1) for n in self.sizes])
        sizes = sizes.astype(np.int64)
        if sizes.shape != (len(units),) or len(set(units)) != len(units):
            raise InvalidProblemError(
                f"`units` must be {sizes.size} distinct names, one for each size, "
                f"got {len(units)}. Pass one size for each unit."
            )
        for name, form in self.forms.items():
            if form.linear.shape != sizes.shape:
                raise InvalidProblemError(
                    f"`forms[{name!r}]` must be over {len(units)} units, got "
                    f"{form.linear.size}. Build it with CostForm.from_products."
                )
        frozen(sizes)
        object.__setattr__(self, "units", units)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "forms", dict(self.forms))

    def as_counts(
        self, counts: Mapping[str, int] | Sequence[int] | IntArray
    ) -> IntArray:
        """Return kept counts as an array in the units' order; absent = all kept."""
        if isinstance(counts, Mapping):
            unknown = sorted(set(counts) - set(self.units))
            if unknown:
                raise InvalidProblemError(
                    f"`counts` must name units of the cost model, got {unknown[:5]}. "
                    f"Its units are {list(self.units)[:10]}."
                )
            pairs = zip(self.units, self.sizes.tolist(), strict=True)
            array = np.array([counts.get(name, n) for name, n in pairs], dtype=np.int64)
        else:
            array = np.array(counts, dtype=np.int64)
        if array.shape != self.sizes.shape or (array < 0).any():
            raise InvalidProblemError(
                f"`counts` must hold {len(self.units)} numbers of channels, got "
                f"{array.tolist()[:10]}. Pass one for each unit."
            )
        return array

    def evaluate(self, name: str, counts: IntArray) -> int:
        """Return one cost, rounded to the whole number that it is."""
        return round(self.forms[name](counts))

    def predict(
        self, counts: Mapping[str, int] | Sequence[int] | IntArray
    ) -> dict[str, int]:
        """Return every cost of keeping so many channels of each unit."""
        array = self.as_counts(counts)
        return {name: self.evaluate(name, array) for name in self.forms}

    def total(self, name: str) -> int:
        """Return a cost before pruning."""
        return self.evaluate(name, self.sizes)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain lists, dicts, strings and numbers."""
        return {
            "units": list(self.units),
            "sizes": self.sizes.tolist(),
            "forms": {
                name: {
                    "const": form.const,
                    "linear": form.linear.tolist(),
                    "quadratic": [
                        [int(i), int(j), float(form.quadratic[i, j])]
                        for i, j in np.argwhere(form.quadratic)
                    ],
                }
                for name, form in self.forms.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CostModel:
        """Read what `to_dict` has written."""
        count = len(data["units"])
        forms = {}
        for name, form in data["forms"].items():
            quadratic = np.zeros((count, count))
            for i, j, value in form["quadratic"]:
                quadratic[i, j] = value
            forms[name] = CostForm(form["const"], form["linear"], quadratic)
        return cls(tuple(data["units"]), data["sizes"], forms)
