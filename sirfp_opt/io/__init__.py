"""Graphs from files and to files, and the best values known for public instances.

>>> from sirfp_opt.io import best_known
>>> best_known("MDG-a_1_n500_m50").value
7833.83
"""

from __future__ import annotations

from sirfp_opt.io.best_known import BestKnown, best_known, best_known_for
from sirfp_opt.io.biqcrunch import read_biqcrunch
from sirfp_opt.io.dimacs import read_dimacs, write_dimacs
from sirfp_opt.io.files import read, read_problem, write
from sirfp_opt.io.graphml import read_gexf, read_gml, read_graphml, write_graphml
from sirfp_opt.io.mdplib import read_mdplib, write_mdplib
from sirfp_opt.io.npz import read_npz, write_npz
from sirfp_opt.io.tables import read_csv, read_matrix_market, read_npy, read_rudy

__all__ = [
    "BestKnown",
    "best_known",
    "best_known_for",
    "read",
    "read_biqcrunch",
    "read_csv",
    "read_dimacs",
    "read_gexf",
    "read_gml",
    "read_graphml",
    "read_matrix_market",
    "read_mdplib",
    "read_npy",
    "read_npz",
    "read_problem",
    "read_rudy",
    "write",
    "write_dimacs",
    "write_graphml",
    "write_mdplib",
    "write_npz",
]
