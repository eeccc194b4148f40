"""The split by what has been measured at the network's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sirfp_opt._rules import ruled, whole
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.network.allocation.optimal import Optimal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sirfp_opt.network.allocation.protocol import Allocation
    from sirfp_opt.network.curve import ValueCurve
    from sirfp_opt.network.problem import NetworkProblem

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured(Optimal):
    """`Optimal` where it is known what each layer's loss does to the output.

    A layer that loses a tenth of its signal may be of no consequence, or ruin the
    network. So, before the split, each layer alone is cut to about a quarter and to
    about half of its channels, and what the network's outputs lose is noted on a few
    samples, without labels: two points of a `Response`. The split then minimises

        Σ_l -log(1 - response_l(f_l(k_l))),

    the logarithm of what comes through to the outputs, layer by layer, with f_l the
    share of its worth that layer l loses. `prune` measures; `NetworkProblem` takes
    responses that come from elsewhere in its `worth`.

    Parameters
    ----------
    worth, gap, time_limit, workers, max_table
        As for `Optimal`.
    samples : int
        At most so many samples of the first batch are measured on; fewer of large
        pictures, 2¹⁸ pixels all together.

    Examples
    --------
    >>> from sirfp_opt.network import Response, Worth
    >>> Worth(responses={"layer3.0": Response.through([(0.02, 0.3)])}).objective
    'product'
    """

    samples: int = ruled(whole(1), 16)

    def allocate(
        self,
        problem: NetworkProblem,
        curves: Mapping[str, ValueCurve],
        starts: Sequence[Mapping[str, int]] = (),
    ) -> Allocation:
        """Return the best split found, with what is proved about it.

        Raises
        ------
        InvalidProblemError
            If nothing has been measured.
        """
        if not problem.worth.responses:
            raise InvalidProblemError(
                "`worth` must have responses for the allocation 'measured', got none. "
                "Let `prune` measure them, pass Worth(responses=...), or take "
                "'optimal'."
            )
        return super().allocate(problem, curves, starts)
