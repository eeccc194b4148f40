"""Every public function of the core, each argument replaced by what it is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import sirfp_opt
from sirfp_opt import (
    ChannelGraph,
    LayerConstraints,
    Limits,
    PruningProblem,
    ReconstructionProblem,
    Search,
    Sense,
    SirfpError,
    Solution,
    Trace,
    bound,
    cite,
    combinatorial_bound,
    register_solver,
    solve,
    unregister_solver,
)
from sirfp_opt.deletion import backward_order
from sirfp_opt.io import (
    best_known,
    best_known_for,
    read,
    read_dimacs,
    read_graphml,
    read_mdplib,
    read_npz,
    read_problem,
    write,
    write_dimacs,
    write_graphml,
    write_mdplib,
    write_npz,
)
from sirfp_opt.registry import create_solver
from sirfp_opt.study import (
    RunRecord,
    Study,
    compare,
    describe,
    friedman,
    gap_to,
    performance_profile,
    ranks,
    wilcoxon,
)
from sirfp_opt.study.methods import as_methods
from sirfp_opt.study.problems import as_instances
from sirfp_opt.testing import check_solver

MATRIX = np.array([[0, 3, 1.0], [3, 0, 2], [1, 2, 0]])
GRAPH = ChannelGraph.from_diversity(MATRIX, name="g")
PROBLEM = PruningProblem(GRAPH, LayerConstraints(2))
REFIT = ReconstructionProblem(np.eye(3), np.eye(3))
FOUND = solve(PROBLEM, method="greedy")


HOSTILE: list[Any] = [
    *(None, True, False, -1, 0, 7, 10**30, 1.5, float("nan"), float("inf"), 1j),
    *(
        "",
        "abc",
        "1_0",
        "a\0b",
        b"x",
        Decimal("NaN"),
        object(),
        int,
        Path("/dev/null/no"),
    ),
    *([], [None], [[]], [0, 0], {}, {"a": 1}, {1, 2}, (1,), (1, 2, 3), (2, 1)),
    *(range(2), np.array([]), np.zeros((2, 3)), np.full((3, 3), np.nan), np.eye(3)),
    *(np.array("a"), np.array(1), np.array([True, False]), np.ma.masked_equal([1], 1)),
    *(lambda *given, **more: given, GRAPH, PROBLEM, FOUND, Limits(), "g"),
    *(pd.DataFrame(), nx.Graph(), nx.DiGraph([(0, 1)]), nx.MultiGraph([(0, 1)])),
]


def _registered(name: Any, cls: Any) -> None:
    register_solver(name, cls)
    unregister_solver(name)


def _compared(**arguments: Any) -> None:
    """Check the arguments of `compare` that a run does not need, and run nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sirfp_opt.study.bench._run", lambda *given: {})
        if isinstance(arguments["limits"], Limits):
            arguments["limits"] = None
        try:
            compare(GRAPH, "greedy", k=2, **arguments)
        except KeyError:  # no run was made, so none is found
            return


def _cases(folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return functions with arguments that are right."""
    edges: nx.Graph[int] = nx.Graph()
    edges.add_weighted_edges_from([(0, 1, 1.0), (1, 2, 2.0)])
    frame = pd.DataFrame(MATRIX)
    run: dict[str, Any] = {"method": "greedy", "graph": MATRIX, "k": 2}
    for suffix in (".npz", ".graphml", ".clq", ".txt"):
        write(PROBLEM, folder / f"g{suffix}")
    FOUND.trace.to_csv(folder / "t.csv")
    study = compare(GRAPH, ["greedy", "top_k", "random"], k=[1, 2], warm_up=False)
    graph_options = {
        "vertex_weights": np.ones(3),
        "adjacency": np.ones((3, 3), dtype=bool),
        "name": "a",
        "labels": ["a", "b", "c"],
    }
    rules = {"multiple_of": 1, "must_keep": [0], "must_drop": [1], "tied": [[0, 2]]}
    whole = {"weights": MATRIX, "sense": "min", "self_redundancy": np.ones(3)}
    path = folder / "g.npz"
    options: dict[str, Any] = {
        "seed": 0,
        "time_limit": 1.0,
        "limits": None,
        "warm_start": [0, 1],
    }
    options |= {"callback": None, "certify": True, "constraints": None, "sense": "max"}
    return {
        "solve": (solve, run | options),
        "solve, limits": (solve, run | {"limits": Limits(iterations=5)}),
        "bound": (
            bound,
            {"graph": MATRIX, "k": 2, "effort": "eigenvalue"}
            | {"sense": None, "constraints": None, "time_limit": 1.0},
        ),
        "combinatorial_bound": (combinatorial_bound, {"problem": PROBLEM}),
        "ChannelGraph": (ChannelGraph, whole | graph_options),
        "from_redundancy": (
            ChannelGraph.from_redundancy,
            {"redundancy": MATRIX} | graph_options,
        ),
        "from_diversity": (
            ChannelGraph.from_diversity,
            {"diversity": MATRIX} | graph_options,
        ),
        "from_reconstruction": (
            ChannelGraph.from_reconstruction,
            {"errors": MATRIX, "labels": None},
        ),
        "from_networkx": (
            ChannelGraph.from_networkx,
            {"graph": edges, "weight": "weight", "vertex_weight": None, "sense": "max"},
        ),
        "from_pandas": (ChannelGraph.from_pandas, {"frame": frame, "sense": "min"}),
        "LayerConstraints": (LayerConstraints, {"k": 2} | rules),
        "LayerConstraints, range": (LayerConstraints, {"k_min": 1, "k_max": 2}),
        "with_count": (LayerConstraints().with_count, {"k": 2}),
        "PruningProblem": (
            PruningProblem,
            {"graph": GRAPH, "constraints": LayerConstraints(2)},
        ),
        "ReconstructionProblem": (
            ReconstructionProblem,
            {"covariances": np.eye(3), "products": np.eye(3), "constraints": None}
            | {"ridge": 1e-3, "name": "", "labels": None},
        ),
        "constrained": (REFIT.constrained, {"constraints": LayerConstraints(2)}),
        "losses": (REFIT.losses, {"selected": [0, 1]}),
        "evaluate": (PROBLEM.evaluate, {"selected": [0, 1]}),
        "check": (PROBLEM.check, {"selected": [0, 1]}),
        "Limits": (
            Limits,
            {"time": 1, "iterations": 1, "no_improvement": 1}
            | {"gap": 0.1, "target": 3.0},
        ),
        "Search": (Search, {"problem": PROBLEM, "warm_start": [0, 1]}),
        "Sense.of": (Sense.of, {"value": "min"}),
        "create_solver": (
            create_solver,
            {"method": "random", "options": {"samples": 2}},
        ),
        "register_solver": (
            _registered,
            {"name": "mine", "cls": type(create_solver("top_k")[1])},
        ),
        "unregister_solver": (unregister_solver, {"name": "nobody"}),
        "check_solver": (check_solver, {"method": "nobody"}),
        "backward_order": (
            backward_order,
            {"weights": MATRIX, "values": None, "diagonal": None},
        ),
        "Solution.from_dict": (
            Solution.from_dict,
            {"data": FOUND.to_dict(), "problem": PROBLEM},
        ),
        "Solution.summary": (FOUND.summary, {"published": None}),
        "Trace.from_csv": (Trace.from_csv, {"path": folder / "t.csv"}),
        "RunRecord.from_dict": (RunRecord.from_dict, {"data": study[0].to_dict()}),
        "read": (read, {"path": path, "sense": None}),
        "read_npz": (read_npz, {"path": path, "sense": None}),
        "read_graphml": (read_graphml, {"path": folder / "g.graphml", "sense": None}),
        "read_dimacs": (read_dimacs, {"path": folder / "g.clq"}),
        "read_mdplib": (read_mdplib, {"path": folder / "g.txt"}),
        "read_problem": (read_problem, {"path": folder / "g.txt"}),
        "write": (write, {"graph": GRAPH, "path": folder / "w.txt", "k": 2}),
        "write_npz": (write_npz, {"graphs": GRAPH, "path": folder / "w.npz"}),
        "write_graphml": (
            write_graphml,
            {"graph": GRAPH, "path": folder / "w.graphml"},
        ),
        "write_dimacs": (write_dimacs, {"graph": GRAPH, "path": folder / "w.clq"}),
        "write_mdplib": (write_mdplib, {"problem": PROBLEM, "path": folder / "w.txt"}),
        "cite": (cite, {"method": "greedy"}),
        "best_known": (best_known, {"instance": "GKD-c_1_n500_m50"}),
        "best_known_for": (best_known_for, {"problem": PROBLEM}),
        "describe": (describe, {"graph": GRAPH}),
        "gap_to": (gap_to, {"reference": 1.0, "value": 2.0}),
        "ranks": (ranks, {"study": study, "metric": "seconds"}),
        "friedman": (friedman, {"study": study, "metric": "seconds"}),
        "wilcoxon": (wilcoxon, {"study": study, "metric": "seconds"}),
        "performance_profile": (
            performance_profile,
            {"study": study, "metric": "seconds"},
        ),
        "compare, problems": (as_instances, {"problems": GRAPH, "k": 2}),
        "compare, methods": (as_methods, {"methods": "greedy"}),
        "compare, the rest": (
            _compared,
            {"seeds": 1, "time_limit": 1.0, "limits": Limits(), "certify": False}
            | {"n_jobs": 1, "results": None},
        ),
        "Study.load": (Study.load, {"results": folder / "none"}),
    }


@pytest.fixture(scope="module")
def cases(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Write the files that the functions read."""
    return _cases(tmp_path_factory.mktemp("hostile"))


def test_only_errors_of_ours(
    cases: dict[str, tuple[Callable[..., Any], dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """An answer, or a SirfpError; where the argument is a path, an OSError, too."""
    monkeypatch.chdir(tmp_path)
    raw = {}
    for name, (function, right) in cases.items():
        for argument in right:
            for value in HOSTILE:
                expected: tuple[type[Exception], ...] = (SirfpError,)
                if argument in ("path", "results") or isinstance(value, Path):
                    expected = (SirfpError, OSError)
                if argument == "callback" and callable(value):
                    continue  # what it raises is its own
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        function(**right | {argument: value})
                except expected:
                    continue
                except Exception as error:
                    raw[name, argument] = f"{value!r:.40}: {error!r:.150}"
    assert not raw, "\n".join(f"{name}: {told}" for name, told in raw.items())


def test_every_public_name_is_covered() -> None:
    """What the package exports is called above, or is no function of its own."""
    text = Path(__file__).read_text(encoding="utf-8")
    elsewhere = {
        *("NetworkProblem", "solve_network", "PruningPlan"),  # tests of the network
        *("Bound", "Progress", "Solver", "SolverInfo", "Status", "TraceEvent"),
        *("available_solvers", "Objective"),
    }
    names = {n for n in sirfp_opt.__all__ if not n.endswith("Error")} - elsewhere
    assert not {n for n in names if f'"{n}' not in text and f"{n}." not in text}
