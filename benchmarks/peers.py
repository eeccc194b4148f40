"""Measure ourselves beside other solvers: whatever of them is installed here.

Protocol
--------
One process, one thread each, the same instances; the peers take turns on an instance,
`--repeats` times over, so that a busy machine slows them all alike. Seconds are CPU
seconds of the process, and of its children for external programs; read the ratios to
our own time on the same instance. Every peer's set is checked and priced by the core.
A peer that is not installed is a row that says so, one that fails says why.

========  ======================================================================
exact     ours, `solve(problem, "exact")`
gurobi    gurobipy: the quadratic program as it is (a limited licence comes with it)
scip      pyscipopt: the same, its objective as a quadratic constraint
highs     PuLP's HiGHS on our linearised model, as `solve(problem, "milp")`
cplex     the Python module cplex, on our linearised model as an MPS file
xpress    the Python module xpress, the same
tabu      ours; a heuristic: compared by value
dwave     dwave-samplers' simulated annealing on the penalised QUBO; a heuristic
scs       cvxpy with SCS: the doubly non-negative relaxation; a bound, no set
========  ======================================================================

An external program takes an MPS file and a time limit, and prints its objective behind
the word "objective": ``--external 'cbc=cbc {mps} -seconds {seconds} -solve'``.

    pip install gurobipy pyscipopt dwave-samplers cvxpy scs
    python -m benchmarks.peers --seconds 10 --out results
"""

from __future__ import annotations

import argparse
import re
import resource
import shlex
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, solve
from sirfp_opt.sense import relative_gap


@dataclass(frozen=True)
class Answer:
    """What a peer says: its set, if it finds sets, and its bound, if it has one."""

    selected: list[int] | None
    bound: float | None


Peer = Callable[[PruningProblem, float], Answer]


def instances() -> list[PruningProblem]:
    """Return small problems of three kinds, all maximised or all as they are used."""
    rng = np.random.default_rng(0)
    made = []
    for n, k in ((24, 6), (24, 12), (32, 16)):
        maps = np.maximum(rng.normal(size=(n, 60)) + 0.3, 0.0)
        maps /= np.linalg.norm(maps, axis=1)[:, None]
        graph = ChannelGraph.from_redundancy(maps @ maps.T, name=f"layer {n}/{k}")
        made.append(PruningProblem(graph, LayerConstraints(k)))
    weights = np.triu(rng.random((24, 24)), 1)
    graph = ChannelGraph.from_diversity(weights + weights.T, name="uniform 24/12")
    made.append(PruningProblem(graph, LayerConstraints(12)))
    joined = np.triu(rng.random((40, 40)) < 0.5, 1).astype(float)
    graph = ChannelGraph.from_diversity(joined + joined.T, name="k-cluster 40/10")
    made.append(PruningProblem(graph, LayerConstraints(10)))
    return made


def ours(problem: PruningProblem, seconds: float, method: str) -> Answer:
    """Solve by a method of this package; a heuristic ends by its own patience."""
    limit = None if method == "tabu" else seconds
    found = solve(problem, method=method, time_limit=limit)
    return Answer(found.selected.tolist(), found.bound)


def gurobi(problem: PruningProblem, seconds: float) -> Answer:
    """Solve the quadratic program by Gurobi."""
    import gurobipy as gp

    with gp.Env(params={"OutputFlag": 0, "Threads": 1}) as env, gp.Model(env=env) as m:
        m.Params.TimeLimit = seconds
        graph = problem.graph
        x = m.addMVar(graph.n, vtype="B")
        m.addConstr(x.sum() == problem.constraints.k)
        sense = gp.GRB.MAXIMIZE if graph.sense.sign > 0 else gp.GRB.MINIMIZE
        m.setObjective(x @ (graph.weights / 2) @ x + graph.vertex_weights @ x, sense)
        m.optimize()
        chosen = np.flatnonzero(x.X > 0.5).tolist() if m.SolCount else None
        return Answer(chosen, float(m.ObjBound))


def scip(problem: PruningProblem, seconds: float) -> Answer:
    """Solve the quadratic program by SCIP."""
    from pyscipopt import Model, quicksum

    model, graph = Model(), problem.graph
    model.hideOutput()
    model.setParam("limits/time", seconds)
    x = [model.addVar(vtype="B") for _ in range(graph.n)]
    worth = model.addVar(lb=None)
    model.addCons(quicksum(x) == problem.constraints.k)
    rows, columns = np.triu_indices(graph.n, 1)
    value = quicksum(
        float(graph.weights[i, j]) * x[i] * x[j]
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        if graph.weights[i, j]
    )
    if graph.sense.sign > 0:
        model.addCons(worth <= value)
        model.setObjective(worth, "maximize")
    else:
        model.addCons(worth >= value)
        model.setObjective(worth, "minimize")
    model.optimize()
    chosen = None
    if model.getNSols():
        best = model.getBestSol()
        chosen = [i for i, variable in enumerate(x) if best[variable] > 0.5]
    return Answer(chosen, float(model.getDualbound()))


def cplex(problem: PruningProblem, seconds: float) -> Answer:
    """Solve our MPS file by CPLEX."""
    import cplex as program

    with tempfile.TemporaryDirectory() as folder:
        model = program.Cplex(str(_mps(problem, Path(folder))))
    for stream in (model.set_log_stream, model.set_results_stream):
        stream(None)
    model.parameters.threads.set(1)
    model.parameters.timelimit.set(seconds)
    model.solve()
    values = model.solution.get_values()
    chosen = _chosen(problem, dict(zip(model.variables.get_names(), values)))  # noqa: B905
    return Answer(chosen, float(model.solution.MIP.get_best_objective()))


def xpress(problem: PruningProblem, seconds: float) -> Answer:
    """Solve our MPS file by Xpress."""
    import xpress as program

    model = program.problem()
    with tempfile.TemporaryDirectory() as folder:
        model.read(str(_mps(problem, Path(folder))))
    model.controls.outputlog = 0
    model.controls.threads = 1
    model.controls.timelimit = max(1, round(seconds))
    model.optimize()
    names = [variable.name for variable in model.getVariable()]
    chosen = _chosen(problem, dict(zip(names, model.getSolution(), strict=True)))
    return Answer(chosen, float(model.attributes.bestbound))


def dwave(problem: PruningProblem, seconds: float) -> Answer:
    """Anneal the penalised QUBO, as many reads as the time allows in one go."""
    from dwave.samplers import SimulatedAnnealingSampler

    graph, k = problem.graph, problem.constraints.k or 0
    weights = -graph.sense.sign * graph.weights
    cost = float(np.abs(weights).sum(axis=1).max())
    qubo = {
        (i, j): float(weights[i, j]) + 2 * cost
        for i in range(graph.n)
        for j in range(i + 1, graph.n)
    }
    qubo |= {(i, i): cost * (1 - 2 * k) for i in range(graph.n)}
    sampler, began = SimulatedAnnealingSampler(), time.process_time()
    best, worth = None, -np.inf
    while time.process_time() - began < seconds / 10:
        reads = sampler.sample_qubo(qubo, num_reads=20)
        for sample in reads.samples():
            chosen = [i for i in range(graph.n) if sample[i]]
            if len(chosen) == k:
                value = graph.sense.sign * problem.evaluate(chosen)
                if value > worth:
                    best, worth = chosen, value
    return Answer(best, None)


def scs(problem: PruningProblem, seconds: float) -> Answer:
    """Bound by the doubly non-negative relaxation, to SCS's own tolerance."""
    import cvxpy as cp

    graph, k = problem.graph, problem.constraints.k or 0
    lifted = cp.Variable((graph.n + 1, graph.n + 1), PSD=True)
    x, square = lifted[0, 1:], lifted[1:, 1:]
    rules = [lifted[0, 0] == 1, cp.diag(square) == x, cp.sum(x) == k, lifted >= 0]
    rules.append(cp.sum(square, axis=1) == k * x)
    value = cp.sum(cp.multiply(graph.weights / 2, square))
    goal = cp.Maximize(value) if graph.sense.sign > 0 else cp.Minimize(value)
    bound = cp.Problem(goal, rules).solve(solver=cp.SCS, time_limit_secs=seconds)
    return Answer(None, float(bound))


def external(command: str, problem: PruningProblem, seconds: float) -> Answer:
    """Run a program on our MPS file; only its objective is read, as a bound."""
    with tempfile.TemporaryDirectory() as folder:
        words = shlex.split(
            command.format(mps=_mps(problem, Path(folder)), seconds=seconds)
        )
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.findall(r"(?i)objective[^-+\d\n]*([-+]?\d[\d.eE+-]*)", done.stdout)
    if not found:
        raise RuntimeError(f"no objective printed (exit {done.returncode})")
    return Answer(None, float(found[-1]))


def _mps(problem: PruningProblem, folder: Path) -> Path:
    from sirfp_opt_solvers.milp import write_model

    return write_model(problem, folder / "model.mps")


def _chosen(problem: PruningProblem, values: dict[str, float]) -> list[int]:
    inside = [
        int(name[2:]) for name, v in values.items() if name[:2] == "x_" and v > 0.5
    ]
    lifted: list[int] = problem.canonical.lift(sorted(inside)).tolist()
    return lifted


PEERS: dict[str, Peer] = {
    "exact": partial(ours, method="exact"),
    "gurobi": gurobi,
    "scip": scip,
    "highs": partial(ours, method="milp"),
    "cplex": cplex,
    "xpress": xpress,
    "tabu": partial(ours, method="tabu"),
    "dwave": dwave,
    "scs": scs,
}


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(
    peers: dict[str, Peer], seconds: float, repeats: int
) -> dict[tuple[str, str], Any]:
    """Return, for each instance and peer, times and the last answer, or what failed."""
    measured: dict[tuple[str, str], Any] = {}
    absent: set[str] = set()
    for problem in instances():
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(repeats):
            for name, peer in peers.items():
                key = problem.graph.name, name
                if name in absent or isinstance(measured.get(key), str):
                    continue
                began = _cpu()
                try:
                    answer = peer(problem, seconds)
                except ImportError as error:
                    absent.add(name)
                    measured["", name] = f"not installed ({error.name})"
                    continue
                except Exception as error:  # a stranger's program, a licence
                    measured[key] = f"failed: {' '.join(str(error).split())[:60]}"
                    continue
                times[name].append(_cpu() - began)
                value = None
                if answer.selected is not None:
                    value = problem.evaluate(problem.check(answer.selected))
                measured[key] = statistics.median(times[name]), value, answer.bound
    return measured


def table(peers: dict[str, Peer], measured: dict[tuple[str, str], Any]) -> str:
    """Return a Markdown table: a row for each peer, a column for each instance."""
    names = [problem.graph.name for problem in instances()]
    lines = ["| peer | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for peer in peers:
        if ("", peer) in measured:
            lines.append(f"| {peer} | {measured['', peer]} |" + " |" * (len(names) - 1))
            continue
        cells = [_cell(measured, name, peer) for name in names]
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(measured: dict[tuple[str, str], Any], name: str, peer: str) -> str:
    found, own = measured[name, peer], measured[name, "exact"]
    if isinstance(found, str):
        return found
    seconds, value, bound = found
    ratio = seconds / max(own[0], 1e-9)
    said = f"{seconds:.3g} s ({ratio:.3g})"
    best = own[1]
    if value is None:
        return f"{said}, bound {relative_gap(best, bound):.2%}"
    off = relative_gap(best, value)
    if bound is not None:
        gap = relative_gap(value, bound)
        return said + (", proved" if gap <= 1e-6 else f", gap {gap:.2%}")
    return said + (", best" if off <= 1e-9 else f", {off:.2%} off")


def main() -> None:
    """Measure what is here, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--external", action="append", default=[], metavar="NAME=LINE")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    peers = dict(PEERS)
    for line in arguments.external:
        name, _, command = line.partition("=")
        peers[name] = partial(external, command)
    for method in ("exact", "tabu", "milp"):  # compile, and load back ends, first
        solve(instances()[0], method=method)
    text = table(peers, measure(peers, arguments.seconds, arguments.repeats))
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "peers.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
