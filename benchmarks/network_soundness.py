"""Tiny network problems against enumeration: what is said must be true.

Protocol
--------
Random networks of one to four layers of two to five channels, with every kind of
constraint (k, ranges, multiples, must_keep, must_drop, tied groups of mixed sizes,
missing edges, dead channels, min_keep), one or two budgets as fractions or absolute
numbers, graphs to be minimised or maximised, every allocation, several solvers, with
and without exact value curves, certificates and a time limit of nothing. All sets of
all layers are enumerated here, by the rules as they are documented, without the
package's own feasibility code. Counted as wrong:

* an `InfeasibleError` where a plan exists, none where there is none, and a least
  reachable value that is not the least;
* a `NoSolutionError`: problems this small are always decided;
* a budget passed, or a set that breaks a constraint;
* an objective that is not that of the sets, or a set worse than the curve's;
* a bound that a plan on the curves beats, and a bound on the sets that sets beat.

    python benchmarks/network_soundness.py --problems 1000
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from sirfp_opt import (
    ChannelGraph,
    InfeasibleError,
    InvalidProblemError,
    LayerConstraints,
    NoSolutionError,
)
from sirfp_opt.network import (
    CostForm,
    CostModel,
    NetworkProblem,
    NetworkSolution,
    Worth,
    solve_network,
)
from sirfp_opt.network.allocation import Lagrangian, Optimal, Threshold, Uniform

ALLOCATIONS: dict[str, Any] = {
    "optimal": Optimal(gap=0.0),
    "lagrangian": Lagrangian(),
    "threshold": Threshold(),
    "uniform": Uniform(),
}
METHODS = ("greedy", "brute_force", "local_search", "random")


@dataclass(frozen=True)
class Case:
    """The arguments of a problem, and how to solve it."""

    arguments: dict[str, Any]
    allocation: str
    method: str
    certify: bool
    time_limit: float | None
    exact_curves: bool


def random_case(seed: int) -> Case:
    """Draw a problem; every kind of constraint comes up in a few of them."""
    rng = np.random.default_rng(seed)
    units = [f"u{i}" for i in range(int(rng.integers(1, 5)))]
    layers, constraints, dead = {}, {}, {}
    for name in units:
        n = int(rng.integers(2, 6))
        layers[name] = _graph(rng, n, name)
        if rng.random() < 0.8:
            constraints[name] = _rules(rng, n)
        if rng.random() < 0.25:
            dead[name] = rng.choice(n, int(rng.integers(1, n)), replace=False).tolist()
    sizes = np.array([layers[name].n for name in units])
    m = len(units)
    forms = {}
    for cost in ("macs", "params"):
        quadratic = np.triu(rng.integers(0, 5, (m, m)), 1).astype(float)
        linear = rng.integers(0, 4, m).astype(float)
        linear[quadratic.sum(axis=0) + quadratic.sum(axis=1) + linear == 0] = 1.0
        forms[cost] = CostForm(float(rng.integers(0, 6)), linear, quadratic)
    cost_model = CostModel(tuple(units), sizes, forms)
    budget: dict[str, float] = {}
    for name in ("macs", "params")[: int(rng.integers(1, 3))]:
        share = float(rng.choice([rng.uniform(0.05, 1.0), rng.uniform(0.5, 1.0)]))
        total = cost_model.total(name)
        absolute = rng.random() < 0.4 and share * total >= 2
        budget[name] = float(math.floor(share * total)) if absolute else share
    return Case(
        arguments={
            "layers": layers,
            "cost": cost_model,
            "budget": budget,
            "constraints": constraints,
            "min_keep": float(rng.choice([0.0, 0.3])),
            "multiple_of": int(rng.choice([1, 1, 2, 8])),
            "worth": Worth(str(rng.choice(["product", "sum", "balanced"]))),
            "dead": dead,
        },
        allocation=str(rng.choice(list(ALLOCATIONS))),
        method=str(rng.choice(METHODS)),
        certify=bool(rng.random() < 0.3),
        time_limit=0.0 if rng.random() < 0.2 else None,
        exact_curves=bool(rng.random() < 0.5),
    )


def _graph(rng: np.random.Generator, n: int, name: str) -> ChannelGraph:
    maps = rng.normal(size=(n, 8))
    matrix = maps @ maps.T
    if rng.random() < 0.3:
        return ChannelGraph.from_reconstruction(matrix, name=name)
    adjacency = None
    if rng.random() < 0.4:
        adjacency = rng.random((n, n)) < rng.choice([0.4, 0.8])
        adjacency = adjacency | adjacency.T
        np.fill_diagonal(adjacency, True)
    return ChannelGraph(
        np.abs(matrix),
        sense="minimize",
        adjacency=adjacency,
        name=name,
        self_redundancy=np.diag(matrix),
    )


def _rules(rng: np.random.Generator, n: int) -> LayerConstraints:
    stated: dict[str, Any] = {}
    channels = rng.permutation(n).tolist()
    kind = rng.integers(0, 4)
    if kind == 0:
        stated["k"] = int(rng.integers(1, n + 1))
    elif kind == 1:
        low, high = sorted(int(x) for x in rng.integers(1, n + 1, 2))
        stated |= {"k_min": low, "k_max": high}
    elif kind == 2:
        stated["k_min"] = int(rng.integers(1, n + 1))
    if kind != 0 and rng.random() < 0.3:
        stated["multiple_of"] = int(rng.integers(2, 5))
    if rng.random() < 0.3:
        stated["must_keep"] = channels[:1]
    if rng.random() < 0.3:
        stated["must_drop"] = channels[1:2]
    if rng.random() < 0.5 and n > 2:
        cut = int(rng.integers(2, n + 1))
        stated["tied"] = [channels[-cut:][: max(2, cut // 2)]]
        if cut >= 4:
            stated["tied"].append(channels[-cut:][max(2, cut // 2) :])
    return LayerConstraints(**stated)


# -- the truth, by enumeration -----------------------------------------------------


def allowed_sets(case: Case, name: str) -> dict[int, list[tuple[int, ...]]]:
    """Return all allowed sets of a layer by count, by the rules as documented."""
    part, graph = case.arguments, case.arguments["layers"][name]
    rules = part["constraints"].get(
        name, LayerConstraints(multiple_of=part["multiple_of"])
    )
    n = graph.n
    if rules.k is not None:
        numbers = {rules.k}
    else:
        low = rules.k_min or max(1, math.floor(n * part["min_keep"] + 1e-9))
        if rules.k_min is None and rules.k_max is None:
            low = max(1, math.floor(n * part["min_keep"] + 1e-9))
        high = n if rules.k_max is None else rules.k_max
        numbers = {k for k in range(low, high + 1) if k % rules.multiple_of == 0}
        if high >= n:
            numbers.add(n)

    def sets(dropped: set[int]) -> dict[int, list[tuple[int, ...]]]:
        found: dict[int, list[tuple[int, ...]]] = {}
        for k in sorted(numbers):
            for chosen in itertools.combinations(range(n), k):
                inside = set(chosen)
                if not set(rules.must_keep) <= inside or inside & dropped:
                    continue
                if any(0 < len(inside & set(g)) < len(g) for g in rules.tied):
                    continue
                if graph.adjacency is not None:
                    block = graph.adjacency[np.ix_(chosen, chosen)]
                    if not block.all():
                        continue
                found.setdefault(k, []).append(chosen)
        return found

    plain = sets(set(rules.must_drop))
    silent = set(part["dead"].get(name, ())) - set(rules.must_keep)
    silent -= set(rules.must_drop)
    for group in rules.tied:
        if not silent >= set(group):
            silent -= set(group)
    if silent and graph.adjacency is None:
        without = sets(set(rules.must_drop) | silent)
        if without and min(without) == min(plain):
            return without
    return plain


def least_costs(case: Case, sets: dict[str, dict[int, Any]]) -> dict[str, int] | None:
    """Return the least of each cost over all plans; None where a layer has no set."""
    if not all(sets.values()):
        return None
    least = {name: min(some) for name, some in sets.items()}
    found: dict[str, int] = case.arguments["cost"].predict(least)
    return found


def faults(case: Case, seen: Counter[str] | None = None) -> list[str]:
    """Solve a case, and return what is wrong with the answer.

    Parameters
    ----------
    case : Case
    seen : Counter, optional
        Counts how the cases ended.
    """
    seen = Counter() if seen is None else seen
    sets = {name: allowed_sets(case, name) for name in case.arguments["layers"]}
    least = least_costs(case, sets)
    cost: CostModel = case.arguments["cost"]
    limits = {
        name: math.floor(value)
        if value > 1
        else math.floor(value * cost.total(name) + 1e-9)
        for name, value in case.arguments["budget"].items()
    }
    feasible = least is not None and all(least[b] <= x for b, x in limits.items())
    try:
        problem = NetworkProblem(**case.arguments)
        solution = _solve(problem, case)
    except InvalidProblemError as error:  # an argument that contradicts another
        seen["refused"] += 1
        return [] if least is None else [f"refused: {error}"]
    except InfeasibleError as error:
        seen["proved infeasible"] += 1
        if feasible:
            return [f"false InfeasibleError: {error}"]
        return _wrong_least(str(error), case, least, limits)
    except NoSolutionError as error:
        return [f"undecided: {error}"]
    seen["solved"] += 1
    seen["with a bound"] += solution.bound is not None
    seen["with a bound on the sets"] += solution.sets_bound is not None
    if not feasible:
        return ["a solution where there is none"]
    return _wrong_solution(solution, case, sets, limits)


def _solve(problem: NetworkProblem, case: Case) -> NetworkSolution:
    curves = problem.curves
    if case.exact_curves:
        problem.check_reachable()
        every = {name: curves[name].counts.tolist() for name in curves}
        curves, _ = curves.refine(every, "brute_force")
    return solve_network(
        problem,
        case.method,
        allocation=ALLOCATIONS[case.allocation],
        curves=curves,
        certify=case.certify,
        time_limit=case.time_limit,
    )


def _wrong_least(
    message: str, case: Case, least: dict[str, int] | None, limits: dict[str, int]
) -> list[str]:
    """Check the least reachable value that a message states."""
    if least is None or "at least" not in message:
        return [] if least is None else [f"no least value: {message}"]
    name = message.split("`")[1]
    if "estimate" in message:
        return [f"an estimate, though the problem is tiny: {message}"]
    said = message.split("at least ")[1].split(", ")[0].replace(",", "")
    total = case.arguments["cost"].total(name)
    if case.arguments["budget"][name] > 1:
        right = said == str(least[name])
    else:
        right = float(said) == math.ceil(least[name] / total * 10_000) / 10_000
    if least[name] <= limits[name]:
        return [f"the wrong budget: {message}"]
    return [] if right else [f"least is {least[name]} of {total}: {message}"]


def _wrong_solution(
    solution: NetworkSolution,
    case: Case,
    sets: dict[str, dict[int, list[tuple[int, ...]]]],
    limits: dict[str, int],
) -> list[str]:
    """Check budgets, sets, objective and bounds of a solution."""
    wrong = []
    costs = case.arguments["cost"].predict(solution.counts)
    if any(costs[b] > limit for b, limit in limits.items()):
        wrong.append(f"budget passed: {costs} of {limits}")
    for name, some in sets.items():
        chosen = tuple(solution[name].tolist())
        if chosen not in some.get(solution.counts[name], []):
            wrong.append(f"{name}: {chosen} is not allowed")
    if wrong:
        return wrong

    def loss(name: str, chosen: Any) -> float:
        return _loss(solution, name, chosen)

    total = math.fsum(loss(name, solution[name]) for name in sets)
    slack = 1e-9 * max(1.0, abs(total))
    if abs(total - solution.objective) > slack:
        wrong.append(f"objective {solution.objective}, of the sets {total}")
    for name in sets:
        before = solution.split_curves[name].selected(solution.counts[name])
        if loss(name, solution[name]) > loss(name, before) + slack:
            wrong.append(f"{name}: worse than its curve")
    curves = solution.split_curves if case.exact_curves else solution.curves
    if solution.bound is not None:
        best = _best(
            case,
            limits,
            {
                name: {
                    int(k): loss(name, curves[name].selected(int(k)))
                    for k in curves[name].counts
                }
                for name in sets
            },
        )
        if solution.bound > best + slack:
            wrong.append(f"bound {solution.bound} above {best} on the curves")
    if case.exact_curves and solution.bound is not None:
        table = {
            name: {k: min(loss(name, s) for s in some) for k, some in by.items()}
            for name, by in sets.items()
        }
        best = _best(case, limits, table)
        if solution.bound > best + slack:
            wrong.append(f"bound {solution.bound} above {best}, enumerated")
        if case.allocation == "optimal" and total > best + 1e-6:
            wrong.append(f"not the best: {total} above {best}")
    if solution.sets_bound is not None:
        at = math.fsum(
            min(loss(name, s) for s in sets[name][solution.counts[name]])
            for name in sets
        )
        if solution.sets_bound > at + slack:
            wrong.append(f"bound on sets {solution.sets_bound} above {at}")
    return wrong


def _loss(solution: NetworkSolution, name: str, chosen: Any) -> float:
    """Return a layer's loss by the formula of `Worth`, from its graph alone."""
    worth, graph = solution.problem.worth, solution.problem.layers[name]
    own = float(graph.self_redundancy.sum())
    factor = 1.0 / own if own > 0 else 1.0
    gone = set(solution.problem.rules(name).must_drop)
    whole = [c for c in range(graph.n) if c not in gone]

    def value(some: Any) -> float:
        picked = list(some)
        signed = (
            -graph.sense.sign
            * factor
            * graph.value_of(np.array(picked, dtype=np.int64))
        )
        return solution.price * len(picked) - signed

    if worth.objective == "sum":
        return value(whole) - value(chosen)
    share = value(chosen) / value(whole) if value(whole) > 0 else 1.0
    lost = -math.log(max(share, 1e-6))
    return max(lost, 0.0) ** 2 if worth.objective == "balanced" else lost


def _best(
    case: Case, limits: dict[str, int], table: dict[str, dict[int, float]]
) -> float:
    """Return the least loss of any split within the budgets."""
    names = list(table)
    best = math.inf
    for counts in itertools.product(*(table[name] for name in names)):
        costs = case.arguments["cost"].predict(dict(zip(names, counts, strict=True)))
        if all(costs[b] <= limit for b, limit in limits.items()):
            rows = zip(names, counts, strict=True)
            best = min(best, math.fsum(table[name][k] for name, k in rows))
    return best


def main() -> None:
    """Run many problems, and list whatever is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    started, wrong, seen = time.process_time(), 0, Counter[str]()
    for seed in range(arguments.first, arguments.first + arguments.problems):
        for fault in faults(random_case(seed), seen):
            wrong += 1
            print(f"seed {seed}: {fault}", flush=True)
    print(
        f"{arguments.problems} problems, {wrong} faults, "
        f"{time.process_time() - started:.0f} CPU seconds; {dict(seen)}"
    )


if __name__ == "__main__":
    main()
