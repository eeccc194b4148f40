"""NumPy archives: the format that keeps everything a graph has."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._validate import as_path, brief, require
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.io._source import Source
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

__all__ = ["read_npz", "write_npz"]

# The archive's own mark: its entries are "<number>.<field>", numbers from 0.
_MARK = "sirfp_opt_graphs"


def read_npz(
    path: str | os.PathLike[str] | Source, *, sense: Sense | str | None = None
) -> ChannelGraph | dict[str, ChannelGraph]:
    """Read the graph or graphs of a NumPy archive.

    Archives by `write_npz` come back as they were. In any other archive each square
    matrix is taken for a graph named after its entry; other entries are passed over.

    Parameters
    ----------
    path : path-like
    sense : {"minimize", "maximize"}, optional
        Of matrices in foreign archives: redundancies, to be minimised, by default.

    Returns
    -------
    ChannelGraph, or dict of str to ChannelGraph if there are several

    Raises
    ------
    InvalidProblemError
        If the archive is damaged, holds no square matrix, or one that is no graph's;
        or if `sense` contradicts what the archive says.
    OSError
        If there is no such file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from sirfp_opt.io import read_npz
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "layers.npz"
    >>> np.savez(file, stem=np.eye(3), head=np.ones((4, 4)))
    >>> {name: graph.n for name, graph in read_npz(file).items()}
    {'stem': 3, 'head': 4}
    """
    source = Source.of(path)
    try:
        with np.load(io.BytesIO(source.data), allow_pickle=False) as archive:
            # A zip archive may hold anything: only arrays count.
            entries = {
                name: value
                for name, value in archive.items()
                if isinstance(value, np.ndarray)
            }
            others = [name for name in archive.files if name not in entries]
    except Exception as error:  # zipfile, zlib and NumPy fail in a dozen ways
        raise InvalidProblemError(
            f"`path` must name a NumPy archive of plain arrays, got {source.name}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}. Write it "
            "anew with numpy.savez or write_npz."
        ) from None
    if not entries:
        raise InvalidProblemError(
            f"`path` must name a NumPy archive, got {source.name}, which holds "
            f"{', '.join(others[:4]) or 'nothing'}. Unpack it first, or save the "
            "matrices with numpy.savez."
        )
    if _MARK in entries:
        graphs = _own(source.name, entries, sense)
    else:
        graphs = _foreign(source.name, entries, sense)
    if len(graphs) == 1:
        return next(iter(graphs.values()))
    return graphs


def _own(
    path: str, entries: Mapping[str, Any], sense: Sense | str | None
) -> dict[str, ChannelGraph]:
    graphs: dict[str, ChannelGraph] = {}
    names = entries[_MARK]
    if names.ndim != 1 or names.dtype.kind != "U" or not names.size:
        raise _broken(path, f"the list of names {brief(names)}")
    for number, key in enumerate(names.tolist()):
        prefix = f"{number}."
        parts = {
            name.removeprefix(prefix): value
            for name, value in entries.items()
            if name.startswith(prefix)
        }
        lacking = {"weights", "self_redundancy", "vertex_weights", "sense", "name"}
        if lacking := lacking - set(parts):
            raise _broken(path, f"no entry {sorted(lacking)[0]!r} of {key!r}")
        if key in graphs:
            raise _broken(path, f"the name {key!r} twice")
        for field in ("sense", "name"):
            if parts[field].ndim != 0 or parts[field].dtype.kind != "U":
                raise _broken(path, f"{field} {brief(parts[field])} of {key!r}")
        if "labels" in parts and parts["labels"].ndim != 1:
            raise _broken(path, f"labels {brief(parts['labels'])} of {key!r}")
        try:
            stored = Sense.of(str(parts["sense"]))
            graphs[key] = ChannelGraph(
                weights=parts["weights"],
                sense=stored,
                vertex_weights=parts["vertex_weights"],
                adjacency=parts.get("adjacency"),
                name=str(parts["name"]),
                labels=parts["labels"].tolist() if "labels" in parts else None,
                self_redundancy=parts["self_redundancy"],
            )
        except InvalidProblemError as error:
            raise _broken(path, f"in {key!r}: {error}") from None
        if sense is not None and Sense.of(sense) is not stored:
            raise InvalidProblemError(
                f"`sense` must agree with the archive's {stored.value!r}, got "
                f"{sense!r}. Leave it out."
            )
    return graphs


def _broken(path: str, what: str) -> InvalidProblemError:
    return InvalidProblemError(
        f"`path` must name a complete archive of graphs, got {path} with {what}. "
        "Write it anew with write_npz."
    )


def _foreign(
    path: str, entries: Mapping[str, Any], sense: Sense | str | None
) -> dict[str, ChannelGraph]:
    direction = Sense.MINIMIZE if sense is None else Sense.of(sense)
    graphs = {}
    for name, value in entries.items():
        if not (value.ndim == 2 and value.shape[0] == value.shape[1] > 0):
            continue
        try:
            graphs[name] = ChannelGraph(weights=value, sense=direction, name=name)
        except InvalidProblemError as error:
            raise InvalidProblemError(
                f"`path` must name an archive of edge weights, got {path}, where the "
                f"square entry {name!r} is none: {error}"
            ) from None
    if not graphs:
        shapes = {name: value.shape for name, value in list(entries.items())[:6]}
        raise InvalidProblemError(
            f"`path` must name an archive with a square matrix, got {path} with "
            f"{shapes}. Save the matrix of edge weights."
        )
    return graphs


def _name(graph: Any) -> str:
    return str(require(graph, ChannelGraph, "graphs").name)


def write_npz(
    graphs: ChannelGraph | Mapping[str, ChannelGraph], path: str | os.PathLike[str]
) -> None:
    """Write one graph or several with all they have; `read_npz` gives them back.

    Parameters
    ----------
    graphs : ChannelGraph or mapping of str to ChannelGraph
    path : path-like

    Raises
    ------
    InvalidProblemError
        If the mapping is empty.
    """
    target = as_path(path)
    named = graphs if isinstance(graphs, Mapping) else {_name(graphs): graphs}
    if not named:
        raise InvalidProblemError(
            "`graphs` must hold at least one graph, got none. Pass a ChannelGraph."
        )
    entries: dict[str, Any] = {_MARK: np.array(list(named), dtype=np.str_)}
    for number, graph in enumerate(named.values()):
        require(graph, ChannelGraph, "graphs")
        entries[f"{number}.weights"] = graph.weights
        entries[f"{number}.self_redundancy"] = graph.self_redundancy
        entries[f"{number}.vertex_weights"] = graph.vertex_weights
        entries[f"{number}.sense"] = np.array(graph.sense.value)
        entries[f"{number}.name"] = np.array(graph.name)
        if graph.adjacency is not None:
            entries[f"{number}.adjacency"] = graph.adjacency
        if graph.labels is not None:
            entries[f"{number}.labels"] = np.array(graph.labels)
    with target.open("wb") as file:
        np.savez_compressed(file, **entries)
