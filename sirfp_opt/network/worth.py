"""What a layer with k channels is worth: the objective of a split over layers.

Least redundancy alone cannot be the goal of a split: it is least when nothing is kept.
The paper's threshold settles it by a price: a channel stays if its redundancy with what
is kept is below the threshold t, the same for all layers, which maximises Σ_l of
t k_l - F_l(k_l), with F_l(k) the redundancy that k channels of layer l have at least.
That is the worth of a layer here, too, and there are three ways to add layers up.

Sum: Σ_l of worths. With a fixed number of channels it is the paper's objective, but
under a budget of multiply-accumulates it sacrifices layers: of a product b k_u k_v the
cheapest way to have many channels is to keep u whole and almost nothing of v. A network
cut so is a row of bottlenecks.

Product: Π_l of worth_l(k_l) / worth_l(n_l), the split of proportional fairness
(J. Nash, Econometrica 18, 1950, doi:10.2307/1907266; F. Kelly, 1997). A network is as
good as its layers in a row, and nothing makes up for a layer that is lost.

The objective of a graph to be maximised is a worth as it is, at no price: of a graph of
reconstruction errors, what is left of the signal. A product of these is what comes
through all layers.

Where it has been measured what a layer's loss does to the network's output
(`Response`), that stands in place of the layer's own loss in any of the three: a
product is then of what comes through to the output.

Balanced: the least Σ_l (log worth_l(k_l) / worth_l(n_l))². Squares of the same losses
make the worst layers count most: between the product and the fairest split of all,
which looks at the worst layer only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sirfp_opt._rules import check_fields, choice, number, ruled
from sirfp_opt._validate import FloatArray, frozen
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.normalization import NORMALIZATIONS
from sirfp_opt.network.response import Response
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    from sirfp_opt.network.curves import ValueCurve

__all__ = ["OBJECTIVES", "Losses", "Worth"]

OBJECTIVES = ("product", "sum", "balanced")

LOST = 1e-6
"""Share of its worth at which a layer counts as lost, so that its loss stays finite."""


@dataclass(frozen=True, eq=False)
class Losses:
    """What each allowed count of each layer loses against the whole layer.

    Attributes
    ----------
    by_layer : dict of str to ndarray of float64
        One number for each count of the layer's curve, 0 for all that can be kept.
    price : float
        The price of a channel that was used.
    """

    by_layer: dict[str, FloatArray]
    price: float


@dataclass(frozen=True)
class Worth:
    """The worth of k channels, price * k - redundancy, and how layers add up.

    Parameters
    ----------
    objective : {"product", "sum", "balanced"}
        What is minimised: Σ_l -w_l log(worth_l(k_l) / worth_l(n_l)),
        Σ_l w_l (worth_l(n_l) - worth_l(k_l)), or Σ_l w_l log²(worth_l(k_l) /
        worth_l(n_l)), where more than the whole counts as the whole.
    normalize : {"trace", "none", "cosine", "map_size"}
        Puts the layers' redundancies on one scale; see `network.normalization`.
    price : float, optional
        What a channel without any redundancy is worth, on that scale. By default the
        largest redundancy that any channel meets on the greedy path of any layer to be
        minimised: the least price at which no channel of it is given up unless the
        budget asks for it.
    weights : mapping of str to float
        w_l of single layers, 1 by default.
    responses : mapping of str to Response
        Of single layers: the share of its worth that a layer loses is replaced by the
        share that the network's output loses for it.

    Raises
    ------
    InvalidProblemError
        If an option is not one of these.
    """

    objective: str = ruled(
        choice(*OBJECTIVES, way="The default is 'product'."), "product"
    )
    normalize: str = ruled(
        choice(*NORMALIZATIONS, way="The default is 'trace'."), "trace"
    )
    price: float | None = ruled(
        number(
            0.0,
            optional=True,
            way="Leave it out for the least price at which every channel counts.",
        ),
        None,
    )
    weights: Mapping[str, float] = field(default_factory=dict)
    responses: Mapping[str, Response] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.weights, Mapping):
            raise InvalidProblemError(
                f"`weights` must map layers to numbers, got {self.weights!r}. "
                "Leave a layer out for weight 1."
            )
        object.__setattr__(self, "weights", dict(self.weights))
        for name, weight in self.weights.items():
            number(0.0, way="Leave a layer out for weight 1.").check(
                weight, f"weights[{name!r}]"
            )
        if not isinstance(self.responses, Mapping):
            raise InvalidProblemError(
                f"`responses` must map layers to Responses, got {self.responses!r}. "
                "Leave a layer out for its own loss."
            )
        found = {
            name: Response(**one) if isinstance(one, Mapping) else one
            for name, one in self.responses.items()
        }
        for name, one in found.items():
            if not isinstance(one, Response):
                raise InvalidProblemError(
                    f"`responses[{name!r}]` must be a Response, got {one!r}. "
                    "Make one by Response.through of what was measured."
                )
        object.__setattr__(self, "responses", found)

    def says(self, other: Worth) -> bool:
        """Whether this is what another one says, who may leave responses out."""
        responses = other.responses or self.responses
        return self == replace(other, responses=responses)

    def losses(
        self, curves: Mapping[str, ValueCurve], factors: Mapping[str, float]
    ) -> Losses:
        """Return what each layer loses at each count of its curve.

        Parameters
        ----------
        curves : mapping of str to ValueCurve
        factors : mapping of str to float
            By layer, what makes the scale; from `network.normalization.normalized`.

        Raises
        ------
        InvalidProblemError
            If ``objective`` is "product" or "balanced" and a count is worth nothing
            at the price that was given.
        """
        price = self.price_of(curves, factors)
        by_layer = {
            name: self.loss(name, curve, factors[name], price)
            for name, curve in curves.items()
        }
        return Losses(by_layer, price)

    def price_of(
        self, curves: Mapping[str, ValueCurve], factors: Mapping[str, float]
    ) -> float:
        """Return the price of a channel: as given, or the least that fits."""
        if self.price is not None:
            return self.price
        priced = {
            name: curve.steepest * factors[name]
            for name, curve in curves.items()
            if curve.problem.sense is Sense.MINIMIZE
        }
        price = max(priced.values(), default=0.0)
        # Without any redundancy all channels are worth the same, whatever that is.
        return 1.0 if priced and price == 0 else price

    def share(self, curve: ValueCurve, factor: float, price: float) -> FloatArray:
        """Return what share of a layer's worth is left at each count of its curve.

        Above 1 where fewer channels are worth more than all of them. A layer that is
        worth nothing as a whole has nothing to lose.
        """
        worth, whole = self._worth(curve, factor, price)
        return worth / whole if whole > 0 else np.ones_like(worth)

    def loss(
        self, name: str, curve: ValueCurve, factor: float, price: float
    ) -> FloatArray:
        """Return one layer's loss at each count of its curve."""
        worth, whole = self._worth(curve, factor, price)
        product = self.objective != "sum"
        if product and self.price is not None and not (worth.min() > 0 and whole > 0):
            raise InvalidProblemError(
                f"`price` must make every allowed count of {curve.problem.title!r} "
                f"worth more than nothing, got {price:g}. Raise it, or take "
                "objective='sum'."
            )
        response, weight = self.responses.get(name), self.weights.get(name, 1.0)
        share = self.share(curve, factor, price)
        if response is not None:
            share = 1.0 - response(1.0 - share)
        if not product:
            lost = whole - worth if response is None else 1.0 - share
            loss: FloatArray = weight * lost
        else:
            loss = -np.log(np.maximum(share, LOST)) + 0.0  # no -0
            if self.objective == "balanced":
                loss = np.maximum(loss, 0.0) ** 2
            loss = weight * loss
        frozen(loss)
        return loss

    def _worth(
        self, curve: ValueCurve, factor: float, price: float
    ) -> tuple[FloatArray, float]:
        """Return what each count of a curve is worth, and what the whole layer is."""
        cost = -curve.problem.sense.sign * factor
        worth: FloatArray = price * curve.counts - cost * curve.values
        return worth, price * curve.available - cost * curve.whole
