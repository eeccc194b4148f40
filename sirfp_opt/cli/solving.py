"""`solve`, `bound`, `inspect`, `solvers`: one layer at a time."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sirfp_opt.api import solve as solve_problem
from sirfp_opt.bounds import DEFAULTS, EFFORTS
from sirfp_opt.bounds import bound as bound_problem
from sirfp_opt.cli.common import (
    AsJson,
    Effort,
    ExitCode,
    parse_count,
    parse_indices,
    parse_options,
    print_json,
    print_pairs,
    print_table,
    read_contents,
    read_json,
    the_graph,
)
from sirfp_opt.cli.config import Config  # noqa: TC001  (typer reads it)
from sirfp_opt.constraints import LayerConstraints, share_of
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.io.best_known import best_known_for
from sirfp_opt.limits import Limits
from sirfp_opt.objective import Objective
from sirfp_opt.problem import PruningProblem
from sirfp_opt.registry import available_solvers
from sirfp_opt.solution import Solution, Status

if TYPE_CHECKING:
    from sirfp_opt.graph import ChannelGraph

__all__ = ["add_commands"]

File = Annotated[
    Path, typer.Argument(help="A file of one or more graphs; - for standard input.")
]
Layer = Annotated[
    str | None, typer.Option("--layer", "-l", help="Which graph, of several.")
]
Count = Annotated[
    str | None, typer.Option("-k", help="Channels to keep: 16, a share 0.5, or 8:16.")
]

SenseText = Annotated[
    str | None,
    typer.Option("--sense", help="minimize or maximize, where the file does not say."),
]
Seconds = Annotated[float | None, typer.Option("--time-limit", "-t", help="Seconds.")]
MustKeep = Annotated[str, typer.Option(help="Channels that stay: 0,3,7 or 0-7.")]
MustDrop = Annotated[str, typer.Option(help="Channels that go.")]
Tied = Annotated[
    list[str] | None,
    typer.Option(help="Channels that stay or go together: 0,1,2; may be given again."),
]
MultipleOf = Annotated[int, typer.Option(help="Keep a multiple of so many.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        epilog="Example: sirfp-opt solve layers.npz --layer conv1 -k 0.5 -m anneal -t 5"
    )(solve)
    app.command(
        epilog="Example: sirfp-opt bound layers.npz -l conv1 -k 0.5 -e semidefinite"
    )(bound)
    app.command(
        epilog="Example: sirfp-opt inspect layers.npz -l conv1 --html conv1.html"
    )(inspect)
    app.command(epilog="Example: sirfp-opt solvers --json")(solvers)


def solve(
    file: File,
    k: Count = None,
    method: Annotated[
        str, typer.Option("--method", "-m", help="See `sirfp-opt solvers`.")
    ] = "auto",
    layer: Layer = None,
    sense: SenseText = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="A parameter of the method: name=value."),
    ] = None,
    time_limit: Seconds = None,
    iterations: Annotated[
        int | None, typer.Option(help="Limit, in the method's own unit.")
    ] = None,
    gap: Annotated[float | None, typer.Option(help="Stop at this gap.")] = None,
    target: Annotated[
        float | None, typer.Option(help="Stop at an objective as good as this.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same answer.")] = 0,
    must_keep: MustKeep = "",
    must_drop: MustDrop = "",
    tied: Tied = None,
    multiple_of: MultipleOf = 1,
    warm_start: Annotated[
        Path | None, typer.Option(help="A solution written by --out, to begin with.")
    ] = None,
    certify: Annotated[
        bool, typer.Option("--certify", help="Add a proven bound to a heuristic's set.")
    ] = False,
    effort: Effort = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="End with code 5 unless proved optimal.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write it as JSON, too.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Keep k channels of least redundancy (or of most diversity)."""
    problem = _problem(file, k, layer, sense, must_keep, must_drop, tied, multiple_of)
    start = None
    if warm_start is not None:
        start = Solution.from_dict(read_json(warm_start, "--warm-start"))
    solution = solve_problem(
        problem,
        method=method,
        limits=Limits(time=time_limit, iterations=iterations, gap=gap, target=target),
        seed=seed,
        warm_start=start,
        certify=effort or certify,
        **parse_options(option or ()),
    )
    told = solution.to_dict() | {"graph": problem.graph.name}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(told)
    else:
        published = best_known_for(problem)
        print(solution.summary(published=published))
        print("kept      " + " ".join(map(str, solution.selected.tolist())))
    if prove and solution.status is not Status.OPTIMAL:
        raise typer.Exit(ExitCode.NOT_PROVED)


def bound(
    file: File,
    k: Count = None,
    effort: Annotated[
        str, typer.Option("--effort", "-e", help=f"The last of {', '.join(EFFORTS)}.")
    ] = DEFAULTS[Objective.CLIQUE],
    layer: Layer = None,
    sense: SenseText = None,
    time_limit: Seconds = None,
    must_keep: MustKeep = "",
    must_drop: MustDrop = "",
    tied: Tied = None,
    multiple_of: MultipleOf = 1,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Bound what any k channels can be worth, without choosing them."""
    problem = _problem(file, k, layer, sense, must_keep, must_drop, tied, multiple_of)
    found = bound_problem(problem, effort=effort, time_limit=time_limit)
    if as_json:
        print_json(found.to_dict() | {"graph": problem.graph.name})
        return
    print_pairs(
        {"bound": f"{found.value:.12g} ({found.sense.value})"}
        | {level: f"{value:.12g}" for level, value in found.levels.items()}
        | {"seconds": f"{found.seconds:.3g}"}
    )


def inspect(
    file: File,
    layer: Layer = None,
    sense: SenseText = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page on which k is moved: clique, matrix, curve."),
    ] = None,
    k: Annotated[
        str | None, typer.Option("-k", help="Where the page opens: 16, or a share 0.5.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", help="What looks for the page's best sets. [auto]"
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option("--time-limit", "-t", help="Seconds for each k of it. [1]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a file of graphs holds, and how hard its graphs look."""
    asked = {"k": parse_count(k), "method": method, "time_limit": time_limit}
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and html is None:
        raise InvalidProblemError(
            f"`--html` must be given where {', '.join(asked)} is, got none. It names "
            "the page that they are for."
        )
    contents = read_contents(file, sense)
    graphs = contents.graphs
    if layer is not None:
        graphs = {layer: the_graph(contents, file, layer)}
    if html is not None:
        _explore(graphs, contents.problem, html, asked)
    facts = {name: _facts(graph) for name, graph in graphs.items()}
    if as_json:
        print_json(facts)
    elif len(facts) == 1:
        ((name, only),) = facts.items()
        print_pairs({"graph": name} | only | ({} if html is None else {"page": html}))
    else:
        columns = ("n", "sense", "mean", "variation", "negative", "effective_rank")
        print_table(
            "",
            ("graph", *(column.replace("_", " ") for column in columns), "convex"),
            [
                (name, *(_short(told[c]) for c in columns), _short(told["convex"]))
                for name, told in facts.items()
            ],
        )


def _explore(
    graphs: dict[str, ChannelGraph],
    stated: PruningProblem | None,
    page: Path,
    asked: dict[str, Any],
) -> None:
    """Write the explorer's page; a file that states k says where it opens."""
    from sirfp_opt.explorer import explore

    if stated is not None and stated.constraints.k is not None:
        asked = {"k": stated.constraints.k} | asked
    made = explore(graphs, **asked, progress=sys.stderr.isatty())
    page.parent.mkdir(parents=True, exist_ok=True)
    made.save(page)


def solvers(as_json: AsJson = False) -> None:
    """List the methods: what they are, what they honour, whether they can run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the table says it too
        table = available_solvers()
    if as_json:
        print_json(table.to_frame().to_dict(orient="records"))
        return
    print_table(
        "",
        ("method", "kind", "limits", "options", "what it does"),
        [
            (
                row.name,
                row.kind,
                ", ".join(row.limits),
                ", ".join(
                    f"{name} ({row.rules[name]})" if name in row.rules else name
                    for name in row.options
                ),
                row.summary if row.installed else f"not installed: {row.reason}",
            )
            for row in table
        ],
    )


def _problem(
    file: Path,
    k: str | None,
    layer: str | None,
    sense: str | None,
    must_keep: str,
    must_drop: str,
    tied: list[str] | None,
    multiple_of: int,
) -> PruningProblem:
    contents = read_contents(file, sense)
    graph = the_graph(contents, file, layer)
    rules = LayerConstraints(
        must_keep=parse_indices(must_keep, "--must-keep"),
        must_drop=parse_indices(must_drop, "--must-drop"),
        tied=[parse_indices(group, "--tied") for group in tied or ()],
        multiple_of=multiple_of,
    )
    count = parse_count(k)
    if count is None and contents.problem is not None:
        count = contents.problem.constraints.k
    if isinstance(count, float):
        count = share_of(count, graph.n, multiple_of)
    return PruningProblem(graph, rules if count is None else rules.with_count(count))


def _facts(graph: ChannelGraph) -> dict[str, Any]:
    from sirfp_opt.study.facts import describe

    facts = describe(graph).to_dict()
    del facts["name"]
    return facts


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
