"""Reading and writing by suffix and content."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sirfp_opt._validate import as_path, require
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._source import Source
from sirfp_opt.io.biqcrunch import read_biqcrunch
from sirfp_opt.io.dimacs import read_dimacs, write_dimacs
from sirfp_opt.io.graphml import read_gexf, read_gml, read_graphml, write_graphml
from sirfp_opt.io.mdplib import read_mdplib, write_mdplib
from sirfp_opt.io.npz import read_npz, write_npz
from sirfp_opt.io.tables import read_csv, read_matrix_market, read_npy, read_rudy
from sirfp_opt.problem import PruningProblem
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

__all__ = [
    "SUFFIXES",
    "Contents",
    "read",
    "read_contents",
    "read_problem",
    "standard_input",
    "write",
]

# By suffix where files begin alike: an edge list with MDPLIB's first line, say.
_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".sparse": "rudy",
    ".rudy": "rudy",
    ".rud": "rudy",
    ".mc": "rudy",
    ".bc": "biqcrunch",
}

# What `write` knows, and what a folder is searched for.
SUFFIXES = {
    ".npz": "npz",
    ".graphml": "graphml",
    ".clq": "dimacs",
    ".ewclq": "dimacs",
    ".dimacs": "dimacs",
    ".txt": "mdplib",
    ".mdp": "mdplib",
}


def read(
    path: str | os.PathLike[str],
    *,
    sense: Sense | str | None = None,
    weight_rule: str | None = None,
) -> ChannelGraph | dict[str, ChannelGraph]:
    r"""Read the graph, or the graphs by name, of a file.

    What the file holds decides, whatever its suffix: a NumPy array or archive,
    GraphML, GEXF, GML, Matrix Market, DIMACS or MDPLIB text. The suffix decides for
    lists of edges: .csv and .tsv; .rudy, .rud, .sparse and .mc; and for BiqCrunch's
    .bc. Any of them may be packed by gzip, or be the one file of a zip. For MDPLIB and
    .bc, `read_problem` also tells k.

    Parameters
    ----------
    path : path-like
    sense : {"minimize", "maximize"}, optional
        For formats that do not say: NumPy's matrices are minimised, the others
        maximised by default. DIMACS, MDPLIB and rudy are always maximised, .bc says.
    weight_rule : {"ones", "mod200"}, optional
        For DIMACS files without weights; see `read_dimacs`.

    Returns
    -------
    ChannelGraph, or dict of str to ChannelGraph for an archive of several

    Raises
    ------
    InvalidProblemError
        If the file is of no known format or broken (text files: with the line), or
        `sense` contradicts it.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from sirfp_opt.io import read
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
    >>> _ = file.write_text("3 2\n0 1 5\n0 2 1\n1 2 2.5\n")
    >>> read(file)
    ChannelGraph(n=3, sense='maximize', name='tiny')
    """
    graphs = read_contents(path, sense=sense, weight_rule=weight_rule).graphs
    if len(graphs) == 1:
        return next(iter(graphs.values()))
    return dict(graphs)


@dataclass(frozen=True)
class Contents:
    """All that a file states.

    Attributes
    ----------
    graphs : dict of str to ChannelGraph
    problem : PruningProblem or None
        Where the format states k, too.
    """

    graphs: dict[str, ChannelGraph]
    problem: PruningProblem | None = None


def read_contents(
    path: str | os.PathLike[str] | Source,
    *,
    sense: Sense | str | None = None,
    weight_rule: str | None = None,
) -> Contents:
    """Read all that a file states, in one go; see `read`.

    Parameters
    ----------
    path : path-like or Source
        May be a pipe: it is read once, from its beginning to its end.
    sense : {"minimize", "maximize"}, optional
    weight_rule : {"ones", "mod200"}, optional
        See `read_dimacs`.
    """
    source = Source.of(path)
    kind = _kind(source)
    reader = _OF_EITHER_SENSE.get(kind)
    if reader is not None:
        found = reader(source, sense=sense)
        if isinstance(found, ChannelGraph):
            return Contents({found.name or source.stem: found})
        return Contents(found)
    if kind == "biqcrunch":
        return _of_biqcrunch(source, sense)
    if sense is not None and Sense.of(sense) is not Sense.MAXIMIZE:
        raise InvalidProblemError(
            f"`sense` must be 'maximize' for {kind} files, got {sense!r}. "
            "Build the graph you want from the weights of this one."
        )
    if kind == "dimacs":
        graph = read_dimacs(source, weight_rule=weight_rule)
        return Contents({graph.name: graph})
    if kind == "rudy":
        graph = read_rudy(source)
        return Contents({graph.name: graph})
    problem = read_mdplib(source)
    return Contents({problem.graph.name: problem.graph}, problem)


def _of_biqcrunch(source: Source, sense: Sense | str | None) -> Contents:
    stated = read_biqcrunch(source)
    problem = stated if isinstance(stated, PruningProblem) else None
    graph = stated.graph if isinstance(stated, PruningProblem) else stated
    if sense is not None and Sense.of(sense) is not graph.sense:
        raise InvalidProblemError(
            f"`sense` must agree with the file's own {graph.sense.value!r}, got "
            f"{sense!r}. Leave it out."
        )
    return Contents({graph.name: graph}, problem)


def standard_input() -> Source:
    """Return what stands on standard input.

    Raises
    ------
    InvalidProblemError
        If it is closed.
    """
    if sys.stdin is None:
        raise InvalidProblemError(
            "`path` must name something to read, got '-' with standard input closed. "
            "Name a file."
        )
    return Source("standard input", "stdin", sys.stdin.buffer.read())


def read_problem(path: str | os.PathLike[str]) -> PruningProblem:
    """Read a file that states a whole problem, k included: MDPLIB or BiqCrunch's.

    Raises
    ------
    InvalidProblemError
        If the file is broken, or of a format that does not state k.
    OSError
        If there is no such file.
    """
    source = Source.of(path)
    kind = _kind(source)
    if kind == "mdplib":
        return read_mdplib(source)
    stated = read_biqcrunch(source) if kind == "biqcrunch" else None
    if isinstance(stated, PruningProblem):
        return stated
    raise InvalidProblemError(
        f"`path` must name an MDPLIB file, which states k, or a .bc file that does, "
        f"got {source.name} ({kind}). Pass read(path) and k to solve."
    )


def write(
    graph: ChannelGraph | PruningProblem,
    path: str | os.PathLike[str],
    *,
    k: int | None = None,
) -> None:
    """Write a graph in the format that the suffix names.

    Parameters
    ----------
    graph : ChannelGraph or PruningProblem
        Of a problem only MDPLIB takes more than the graph, namely k.
    path : path-like
        .npz and .graphml hold everything; .clq, .ewclq and .dimacs a graph that is
        maximised; .txt and .mdp (MDPLIB) one that is complete as well.
    k : int, optional
        For MDPLIB, beside a bare graph.

    Raises
    ------
    InvalidProblemError
        If the suffix is not known or the format has no room for what the graph has.
    """
    kind = SUFFIXES.get(as_path(path).suffix.lower())
    if not isinstance(graph, PruningProblem):
        require(graph, ChannelGraph, "graph")
    bare = graph.graph if isinstance(graph, PruningProblem) else graph
    if kind == "mdplib":
        if isinstance(graph, ChannelGraph):
            if k is None:
                raise InvalidProblemError(
                    "`k` must be given for MDPLIB, got none. Pass k or a "
                    "PruningProblem, or write .npz."
                )
            graph = PruningProblem(graph, LayerConstraints(k))
        write_mdplib(graph, path)
    elif kind == "dimacs":
        write_dimacs(bare, path)
    elif kind == "graphml":
        write_graphml(bare, path)
    elif kind == "npz":
        write_npz(bare, path)
    else:
        raise InvalidProblemError(
            f"`path` must end in one of {', '.join(sorted(SUFFIXES))}, got {path}. "
            "Rename it."
        )


_OF_EITHER_SENSE: dict[str, Any] = {
    "npz": read_npz,
    "npy": read_npy,
    "graphml": read_graphml,
    "gexf": read_gexf,
    "gml": read_gml,
    "mtx": read_matrix_market,
    "csv": read_csv,
}


def _kind(source: Source) -> str:
    """Tell a file's format by its first bytes, or by its suffix if it is empty."""
    head = source.data[:4096]
    if head[:2] == b"PK":
        return "npz"
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if head[:6] == b"\x93NUMPY":
        return "npy"
    if text[:1] == "<":
        return "gexf" if "<gexf" in text else "graphml"
    if text.startswith("%%MatrixMarket"):
        return "mtx"
    if source.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[source.suffix]
    if source.suffix == ".gml" or re.match(r"graph\s*\[", text):
        return "gml"
    if text[:2].rstrip() in ("c", "p"):
        return "dimacs"
    if text[:1].isdigit() or not text:
        return "mdplib"
    raise InvalidProblemError(
        f"`path` must name a NumPy archive, GraphML, DIMACS, MDPLIB or another format "
        f"of sirfp_opt.io.read, got {source.name}, which begins with "
        f"{text[:20]!r}. Convert it."
    )
