"""Measure ourselves beside other solvers: whatever of them is installed here.

Protocol
--------
One process, one thread each, the same instances; the peers take turns on an instance,
`--repeats` times over, so that a busy machine slows them all alike. Seconds are CPU
seconds of the process, and of its children for external programs; read the ratios to
our own time on the same instance. Every peer's set is checked and priced by the core.
`--seconds` is CPU time too, by the wall clock only for highs, scs and our own methods.
Proved means a gap of 1e-6, which is asked of every peer. A peer that is not installed
is a row that says so, one that fails (the size limit of a licence) says why.

========  ======================================================================
exact     ours, `solve(problem, "exact")`
gurobi    gurobipy: the quadratic program as it is (a limited licence comes with it)
cplex     the Python module cplex, the same (the community edition: 1000 variables)
xpress    the Python module xpress, the same (a community licence comes with it)
scip      pyscipopt: the same, its objective as a quadratic constraint
highs     PuLP's HiGHS on our linearised model, as `solve(problem, "milp")`
tabu      ours; a heuristic: compared by value
dwave     dwave-samplers' simulated annealing on the penalised QUBO; a heuristic
scs       cvxpy with SCS: the doubly non-negative relaxation; a bound, no set
========  ======================================================================

An external program takes an MPS file and a time limit, and prints its objective behind
the word "objective": ``--external 'cbc=cbc {mps} -seconds {seconds} -solve'``. With
`--graphs`, an archive of measured layers, those with 48 and 64 channels come in.

    pip install gurobipy cplex xpress pyscipopt dwave-samplers cvxpy scs
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
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._instances import layers
from sirfp_opt import ChannelGraph, LayerConstraints, PruningProblem, solve
from sirfp_opt.sense import relative_gap


@dataclass(frozen=True)
class Answer:
    """What a peer says: its set, if it finds sets, and its bound, if it has one."""

    selected: list[int] | None
    bound: float | None


PROVED = 1e-6
"""The relative gap of a proof."""
Peer = Callable[[PruningProblem, float], Answer]


def instances(archive: Path | None = None) -> list[PruningProblem]:
    """Return small problems of three kinds, then measured layers of an archive."""
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
    sizes = set() if archive is None else {48, 64}
    for problem in layers(archive) if archive is not None else ():
        graph, k = problem.graph, problem.constraints.k or 0
        if graph.n in sizes and 2 * k <= graph.n:
            named = replace(graph, name=f"trained {graph.n}/{k}")
            made.append(PruningProblem(named, problem.constraints))
            sizes -= {graph.n} if 2 * k == graph.n else set()
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
        m.Params.MIPGap = PROVED
        graph = problem.graph
        x = m.addMVar(graph.n, vtype="B")
        m.addConstr(x.sum() == problem.constraints.k)
        sense = gp.GRB.MAXIMIZE if graph.sense.sign > 0 else gp.GRB.MINIMIZE
        m.setObjective(x @ (graph.weights / 2) @ x + graph.vertex_weights @ x, sense)
        with stopped_after(seconds, m.terminate):
            m.optimize()
        chosen = np.flatnonzero(x.X > 0.5).tolist() if m.SolCount else None
        return Answer(chosen, float(m.ObjBound))


def cplex(problem: PruningProblem, seconds: float) -> Answer:
    """Solve the quadratic program by CPLEX."""
    import cplex as program

    graph, items = problem.graph, list(range(problem.graph.n))
    with program.Cplex() as m:
        for stream in (
            m.set_log_stream,
            m.set_results_stream,
            m.set_warning_stream,
            m.set_error_stream,
        ):
            stream(None)
        m.variables.add(obj=graph.vertex_weights.tolist(), types="B" * graph.n)
        m.linear_constraints.add(
            lin_expr=[[items, [1.0] * graph.n]],
            senses="E",
            rhs=[float(problem.constraints.k or 0)],
        )
        m.objective.set_quadratic([[items, row] for row in graph.weights.tolist()])
        senses = m.objective.sense
        most = graph.sense.sign > 0
        m.objective.set_sense(senses.maximize if most else senses.minimize)
        m.parameters.threads.set(1)
        m.parameters.clocktype.set(1)  # CPU time
        m.parameters.timelimit.set(seconds)
        m.parameters.mip.tolerances.mipgap.set(PROVED)
        m.parameters.mip.tolerances.absmipgap.set(0.0)
        m.solve()
        values = m.solution.get_values()
        chosen = [i for i in items if values[i] > 0.5]
        return Answer(chosen, float(m.solution.MIP.get_best_objective()))


def xpress(problem: PruningProblem, seconds: float) -> Answer:
    """Solve the quadratic program by Xpress."""
    import xpress as program

    graph, items = problem.graph, list(range(problem.graph.n))
    m = program.problem()
    m.controls.outputlog = 0
    m.controls.threads = 1
    m.controls.miprelstop = PROVED
    m.controls.mipabsstop = 0.0
    variables = m.addVariables(graph.n, vartype=program.binary)
    x = [variables[i] for i in items]
    m.addConstraint(program.Sum(x) == problem.constraints.k)
    value = program.Sum(float(graph.vertex_weights[i]) * x[i] for i in items)
    value += program.Sum(
        float(graph.weights[i, j]) * x[i] * x[j]
        for i in items
        for j in range(i + 1, graph.n)
        if graph.weights[i, j]
    )
    most = graph.sense.sign > 0
    m.setObjective(value, sense=program.maximize if most else program.minimize)
    with stopped_after(seconds, m.interrupt):
        m.optimize()
    values = m.getSolution()
    chosen = [i for i in items if values[i] > 0.5]
    return Answer(chosen, float(m.attributes.bestbound))


def scip(problem: PruningProblem, seconds: float) -> Answer:
    """Solve the quadratic program by SCIP."""
    from pyscipopt import Model, quicksum

    model, graph = Model(), problem.graph
    model.hideOutput()
    model.setParam("timing/clocktype", 1)  # CPU time
    model.setParam("limits/time", seconds)
    model.setParam("limits/gap", PROVED)
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


@contextmanager
def stopped_after(seconds: float, stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` once this process has used so many CPU seconds in the block."""
    end, over = time.process_time() + seconds, threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if time.process_time() > end:
                stop()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


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


PEERS: dict[str, Peer] = {
    "exact": partial(ours, method="exact"),
    "gurobi": gurobi,
    "cplex": cplex,
    "xpress": xpress,
    "scip": scip,
    "highs": partial(ours, method="milp"),
    "tabu": partial(ours, method="tabu"),
    "dwave": dwave,
    "scs": scs,
}


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(
    problems: Sequence[PruningProblem],
    peers: dict[str, Peer],
    seconds: float,
    repeats: int,
) -> dict[tuple[str, str], Any]:
    """Return, for each instance and peer, times and the last answer, or what failed."""
    measured: dict[tuple[str, str], Any] = {}
    absent: set[str] = set()
    for problem in problems:
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


def table(
    problems: Sequence[PruningProblem],
    peers: dict[str, Peer],
    measured: dict[tuple[str, str], Any],
) -> str:
    """Return a Markdown table: a row for each peer, a column for each instance."""
    names = [problem.graph.name for problem in problems]
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
        return f"{said}, bound {100 * relative_gap(best, bound):.2g} %"
    off = relative_gap(best, value)
    if bound is not None:
        gap = relative_gap(value, bound)  # a peer may take it of the bound
        return said + (
            ", proved" if gap <= 1.01 * PROVED else f", gap {100 * gap:.2g} %"
        )
    return said + (", best" if off <= 1e-9 else f", {100 * off:.2g} % off")


def main() -> None:
    """Measure what is here, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="part of an instance's name")
    parser.add_argument("--peers", nargs="+", default=None, metavar="NAME")
    parser.add_argument("--graphs", type=Path, default=None, metavar="NPZ")
    parser.add_argument("--external", action="append", default=[], metavar="NAME=LINE")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    peers = dict(PEERS)
    for line in arguments.external:
        name, _, command = line.partition("=")
        peers[name] = partial(external, command)
    if arguments.peers:
        peers = {n: p for n, p in peers.items() if n in {"exact", *arguments.peers}}
    problems = [
        problem
        for problem in instances(arguments.graphs)
        if arguments.only in problem.graph.name
    ]
    for method in ("tabu", "milp"):  # compile, and load back ends, first
        solve(instances()[0], method=method)
    for problem in problems:
        solve(problem, method="exact", time_limit=5.0)
    measured = measure(problems, peers, arguments.seconds, arguments.repeats)
    text = table(problems, peers, measured)
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "peers.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
