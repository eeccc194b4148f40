"""NumPy archives: the format that keeps everything a graph has."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.sense import Sense

if TYPE_CHECKING:
    import os

__all__ = ["read_npz", "write_npz"]

# The archive's own mark: its entries are "<number>.<field>", numbers from 0.
_MARK = "sirfp_opt_graphs"


def read_npz(
    path: str | os.PathLike[str], *, sense: Sense | str | None = None
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
    try:
        with np.load(path, allow_pickle=False) as archive:
            entries = dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidProblemError(
            f"`path` must name a NumPy archive of plain arrays, got {path}: {error}. "
            "Write it anew with numpy.savez or write_npz."
        ) from None
    if _MARK in entries:
        graphs = _own(path, entries, sense)
    else:
        graphs = _foreign(path, entries, sense)
    if len(graphs) == 1:
        return next(iter(graphs.values()))
    return graphs


def _own(
    path: object, entries: Mapping[str, Any], sense: Sense | str | None
) -> dict[str, ChannelGraph]:
    graphs: dict[str, ChannelGraph] = {}
    for key in entries[_MARK].tolist():
        parts = {
            name.split(".", 1)[1]: value
            for name, value in entries.items()
            if name.startswith(f"{len(graphs)}.")
        }
        try:
            weights = parts["weights"].copy()
            np.fill_diagonal(weights, parts["self_redundancy"])
            stored = Sense.of(str(parts["sense"]))
            if sense is not None and Sense.of(sense) is not stored:
                raise InvalidProblemError(
                    f"`sense` must agree with the archive's {stored.value!r}, got "
                    f"{sense!r}. Leave it out."
                )
            graphs[key] = ChannelGraph(
                weights=weights,
                sense=stored,
                vertex_weights=parts["vertex_weights"],
                adjacency=parts.get("adjacency"),
                name=str(parts["name"]),
                labels=tuple(parts["labels"].tolist()) if "labels" in parts else None,
            )
        except KeyError as error:
            raise InvalidProblemError(
                f"`path` must name a complete archive, got {path} without the entry "
                f"{error.args[0]!r} of {key!r}. Write it anew with write_npz."
            ) from None
    return graphs


def _foreign(
    path: object, entries: Mapping[str, Any], sense: Sense | str | None
) -> dict[str, ChannelGraph]:
    direction = Sense.MINIMIZE if sense is None else Sense.of(sense)
    graphs = {
        name: ChannelGraph(weights=value, sense=direction, name=name)
        for name, value in entries.items()
        if value.ndim == 2 and value.shape[0] == value.shape[1] > 0
    }
    if not graphs:
        shapes = {name: value.shape for name, value in list(entries.items())[:6]}
        raise InvalidProblemError(
            f"`path` must name an archive with a square matrix, got {path} with "
            f"{shapes}. Save the matrix of edge weights."
        )
    return graphs


def write_npz(
    graphs: ChannelGraph | Mapping[str, ChannelGraph], path: str | os.PathLike[str]
) -> None:
    """Write one graph or several with all they have; `read_npz` gives them back.

    Parameters
    ----------
    graphs : ChannelGraph or mapping of str to ChannelGraph
    path : path-like
    """
    named = graphs if isinstance(graphs, Mapping) else {graphs.name: graphs}
    entries: dict[str, Any] = {_MARK: np.array(list(named), dtype=np.str_)}
    for number, graph in enumerate(named.values()):
        entries[f"{number}.weights"] = graph.weights
        entries[f"{number}.self_redundancy"] = graph.self_redundancy
        entries[f"{number}.vertex_weights"] = graph.vertex_weights
        entries[f"{number}.sense"] = np.array(graph.sense.value)
        entries[f"{number}.name"] = np.array(graph.name)
        if graph.adjacency is not None:
            entries[f"{number}.adjacency"] = graph.adjacency
        if graph.labels is not None:
            entries[f"{number}.labels"] = np.array(graph.labels)
    with Path(path).open("wb") as file:
        np.savez_compressed(file, **entries)
