"""MILP: the problem linearised, by PuLP and whatever solver it can reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sirfp_opt._rules import check_fields, ruled, whole
from sirfp_opt.errors import InfeasibleError, InvalidProblemError, UnsupportedError
from sirfp_opt.protocols import SolverInfo
from sirfp_opt.solution import OPTIMALITY_TOLERANCE
from sirfp_opt_solvers._proof.incumbent import offer_start
from sirfp_opt_solvers._proof.milp_backends import (
    ABSOLUTE_GAP,
    TOLERANCE,
    Event,
    find_backend,
    run_any,
    run_cbc,
    run_highs,
)
from sirfp_opt_solvers._proof.milp_model import (
    FORMULATIONS,
    Formulation,
    LinearModel,
    count_terms,
)
from sirfp_opt_solvers.exact import Exact

if TYPE_CHECKING:
    from sirfp_opt.problem import PruningProblem
    from sirfp_opt.search import Search

__all__ = ["Milp", "build", "write_model"]

# Of the tree that proves an optimum near 0; models this small need a few dozen.
_NODES = 1000
_SUFFIXES = (".lp", ".mps", ".pb", ".pbtxt")


@dataclass(frozen=True)
class Milp:
    """Exact, with a proven bound, by mixed-integer linear programming; small layers.

    The product x_i x_j is replaced by what is linear:

    - ``rlt``: y_ij >= x_i + x_j − 1, and the size constraint times x_i, for instance
      Σ_{j != i} y_ij = (k − 1) x_i (Adams and Sherali 1986,
      doi:10.1287/mnsc.32.10.1274). The strongest; the default by measurement.
    - ``standard``: y_ij <= x_i and y_ij <= x_j where it gains, y_ij >= x_i + x_j − 1
      where it costs (Glover and Woolsey 1974, doi:10.1287/opre.22.1.180).
    - ``glover``: m variables z_i <= U_i x_i, z_i <= Σ_j w_ij x_j − L_i (1 − x_i), with
      U_i and L_i from sets of allowed size (Glover 1975,
      doi:10.1287/mnsc.22.4.455). The smallest.

    Parameters
    ----------
    solver : str or pulp.LpSolver
        "HiGHS" (default), "CBC", or any other that PuLP knows, by PuLP's name for it.
        HiGHS and CBC are watched while they run; for others there is a solution but
        no bound, and only their own time limit stops them.
    formulation : {"rlt", "standard", "glover"}
    workers : int
        Threads for HiGHS and CBC. Runs of HiGHS are repeatable with any number.
    max_terms : int
        Refuse models with more coefficients than this.

    Raises
    ------
    UnsupportedError
        If the model has more than `max_terms` coefficients.
    SolverNotInstalledError
        If PuLP cannot run `solver` here.
    InfeasibleError
        If HiGHS or CBC proved that there is no feasible set.

    Notes
    -----
    These solvers compute in floating point, to tolerances: their bounds are given back
    with 1e-10 times the ranges of all variables and reduced costs taken off. What that
    leaves open beside an optimum near 0, the tree of `Exact` closes.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import solve
    >>> diversity = np.array([[0, 3, 1, 1], [3, 0, 2, 1], [1, 2, 0, 4], [1, 1, 4, 0]])
    >>> answer = solve(diversity, 3, method="milp")
    >>> answer.selected.tolist(), answer.objective, answer.status.value
    ([1, 2, 3], 7.0, 'optimal')
    """

    solver: Any = "HiGHS"
    formulation: Formulation = "rlt"
    workers: int = ruled(whole(1), 1)
    max_terms: int = ruled(whole(1), 1_000_000)
    info: ClassVar[SolverInfo] = SolverInfo(
        summary="linearised MILP by PuLP: HiGHS, CBC or any other; small layers",
        exact=True,
        limits=frozenset({"time", "gap", "target"}),
        requires=("pulp", "highspy"),
        cites=("adams1986tight", "glover1975improved", "glover1974converting"),
    )

    def __post_init__(self) -> None:
        check_fields(self)
        _require_formulation(self.formulation)

    def solve(self, search: Search) -> None:
        """Offer a start, build the model, run the back end, pass on what it proves."""
        canonical = search.canonical
        kind, other = find_backend(self.solver)
        terms = count_terms(canonical, self.formulation)
        if terms > self.max_terms:
            raise UnsupportedError(
                f"`max_terms` must be at least the model's number of coefficients, "
                f"{terms} for {canonical.m} items as {self.formulation!r}, got "
                f"{self.max_terms}. Take method='exact' (or 'tabu' with certify=True), "
                "or raise max_terms."
            )
        offer_start(search)
        if search.stop():
            return
        model = LinearModel.build(canonical, self.formulation, stop=search.stop)
        if model is None:
            return
        if search.best_items is not None:
            model.start_from(search.best_items)

        def handle(event: Event) -> bool:
            _pass_on(search, model, event)
            return search.stop()

        seconds = search.remaining()
        if kind == "highs":
            run_highs(model, self.workers, seconds, handle, search.stop)
        elif kind == "cbc":
            run_cbc(model, self.workers, seconds, handle, search.stop)
        else:
            run_any(model, other, seconds, handle)
        if search.gap != 0.0 and not search.stop():
            _close(search, model)


def _pass_on(search: Search, model: LinearModel, event: Event) -> None:
    """Translate what a back end says into what the search may believe."""
    canonical = search.canonical
    if event.infeasible and search.best is None:
        raise InfeasibleError(
            "`constraints` must leave a feasible set; the MILP solver proved that no "
            f"clique of allowed size meets {search.problem.constraints!r}. Loosen them."
        )
    if event.chosen is not None and _is_feasible(search, event.chosen):
        search.offer_items(event.chosen)
    if event.bound is not None:
        slack = TOLERANCE * model.reach + ABSOLUTE_GAP
        worth = (slack - event.bound) / model.scale  # back ends minimise its negative
        search.tighten_canonical(worth + canonical.rounding_error / 2)
    if event.timed_out:
        search.stopped_by("time")


def _close(search: Search, model: LinearModel) -> None:
    """Prove what tolerances leave open beside an optimum near 0, by the other tree.

    Relative to 0 every tolerance is endless, so no back end in floating point can.
    """
    if search.objective is None or search.bound is None:
        return
    left = abs(search.canonical.from_objective(search.bound) - search.best_value)
    slack = (TOLERANCE * model.reach + ABSOLUTE_GAP) / model.scale
    if (search.gap or 0.0) > OPTIMALITY_TOLERANCE and left <= 4 * slack:
        Exact(max_nodes=_NODES).solve(search)


def _is_feasible(search: Search, chosen: list[int]) -> bool:
    """Tell whether a back end's answer is a set at all: not all of them say so."""
    try:
        search.problem.check(search.canonical.lift(chosen))
    except InvalidProblemError:
        return False
    return True


def _require_formulation(formulation: str) -> None:
    if formulation not in FORMULATIONS:
        raise InvalidProblemError(
            f"`formulation` must be one of {list(FORMULATIONS)}, got {formulation!r}. "
            "'rlt' gives the best bounds, 'glover' the smallest model."
        )


def build(problem: PruningProblem, formulation: Formulation = "rlt") -> Any:
    """Return the linearised model of a problem, to look at or to solve elsewhere.

    Parameters
    ----------
    problem : PruningProblem
    formulation : {"rlt", "standard", "glover"}
        See `Milp`.

    Returns
    -------
    pulp.LpProblem
        Binaries ``x_i`` for the items of ``problem.canonical`` (without must_keep,
        must_drop and tied groups: the channels). The objective is the problem's own.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem
    >>> from sirfp_opt_solvers import milp
    >>> graph = ChannelGraph.from_redundancy(np.ones((4, 4)))
    >>> model = milp.build(PruningProblem(graph, LayerConstraints(2)), "glover")
    >>> len(model.variables())
    8
    """
    _require_formulation(formulation)
    model = LinearModel.build(problem.canonical, formulation, rescale=False)
    assert model is not None  # nobody told it to stop
    return model.lp


def write_model(
    problem: PruningProblem, path: str | Path, formulation: Formulation = "rlt"
) -> Path:
    """Write the linearised model of a problem to an LP, MPS or CP-SAT file.

    Parameters
    ----------
    problem : PruningProblem
    path : str or Path
        Ends in ".lp" or ".mps", or in ".pb" (binary) or ".pbtxt" (text) for CP-SAT.
    formulation : {"rlt", "standard", "glover"}
        See `Milp`, for CP-SAT `CpSat`.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InvalidProblemError
        If the ending is another.

    Notes
    -----
    The objective and its sense are the problem's own. PuLP writes coefficients with 12
    digits (LP) or 13 (MPS); CP-SAT's are integers, scaled as `CpSat` scales them. MPS
    states the sense in a section OBJSENSE behind NAME, where CPLEX, Gurobi, HiGHS, SCIP
    and Xpress read it. CBC skips the section: pass it ``-max`` for a problem that is
    maximised. Where must_keep leaves a constant, LP and MPS have it as a column
    "constant" fixed at 1.
    For CP-SAT take "standard" or "rlt": without a hint, its integers for "glover" can
    rise one by one.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem
    >>> from sirfp_opt_solvers.milp import write_model
    >>> graph = ChannelGraph.from_redundancy(np.ones((4, 4)))
    >>> problem = PruningProblem(graph, LayerConstraints(2))
    >>> file = write_model(problem, pathlib.Path(tempfile.mkdtemp()) / "layer.mps")
    >>> "OBJSENSE" in file.read_text()
    True
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidProblemError(
            f"`path` must end in {', '.join(map(repr, _SUFFIXES))}, got {str(path)!r}. "
            "The ending chooses the format."
        )
    _require_formulation(formulation)
    if suffix in (".pb", ".pbtxt"):
        from sirfp_opt_solvers.cpsat import write_cp_model

        write_cp_model(problem, target, formulation)
        return target
    lp = build(problem, formulation)
    if suffix == ".lp":
        lp.writeLP(str(target))
    else:
        lp.writeMPS(str(target), with_objsense=True)
        # PuLP states the sense first; CPLEX reads no file that begins otherwise than
        # with NAME.
        text = target.read_text(encoding="utf-8")
        start = text.index("NAME")
        end = text.index("\n", start) + 1
        target.write_text(text[start:end] + text[:start] + text[end:], encoding="utf-8")
    return target
