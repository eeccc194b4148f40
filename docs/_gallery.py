"""Draw the pictures of the gallery from the layers in `examples/data`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from sirfp_opt import ChannelGraph, solve
from sirfp_opt.explorer import explore
from sirfp_opt.network.plan import PruningPlan, PruningUnit
from sirfp_opt.plotting import (
    plot_anytime,
    plot_clique,
    plot_embedding,
    plot_plan,
    plot_redundancy,
)
from sirfp_opt.study import (
    compare,
    plot_gaps,
    plot_performance_profile,
    plot_value_curve,
)

DATA = Path(__file__).parents[1] / "examples" / "data" / "layers.npz"


def draw(folder: Path) -> list[str]:
    """Write the pictures as SVG files, the explorer as a page; return their names."""
    mpl.use("agg")
    folder.mkdir(parents=True)
    with np.load(DATA) as arrays:
        layers = {
            name: ChannelGraph.from_redundancy(arrays[name], name=name)
            for name in ("stem0", "stem1", "low")
        }
    solution = solve(layers["stem1"], 8, method="greedy")
    study = compare(
        layers,
        ["greedy", "top_k", "anneal", ("random", {"samples": 100})],
        k=[0.25, 0.5, 0.75],
        time_limit=0.1,
        certify=True,
        progress=False,
    )
    runs = [r for r in study if r.instance == "stem1" and r.k == 8]
    sizes = {name: graph.n for name, graph in layers.items()}
    plan = PruningPlan(
        [PruningUnit(name, size, ()) for name, size in sizes.items()],
        {n: solve(g, g.n // 2, method="greedy").selected for n, g in layers.items()},
    )
    drawn = {
        "redundancy": lambda: plot_redundancy(solution),
        "clique": lambda: plot_clique(solution),
        "embedding": lambda: plot_embedding(solution),
        "anytime": lambda: plot_anytime(runs, log_time=True),
        "profile": lambda: plot_performance_profile(study),
        "gaps": lambda: plot_gaps(study),
        "curve": lambda: plot_value_curve(study, "low"),
        "plan": lambda: plot_plan(plan),
    }
    for name, picture in drawn.items():
        picture().figure.savefig(folder / f"{name}.svg")
    mpl.pyplot.close("all")
    explore(solution, time_limit=None).save(folder / "explorer.html")
    return [*(f"{name}.svg" for name in drawn), "explorer.html"]
