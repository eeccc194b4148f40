"""Draw the picture at the top of the README: one layer from its maps to its clique.

Everything in it is computed: the maps are those of the demo network's first layer on
one scene, the edges are their cosines on 32 scenes, the clique is proved the best::

    OMP_NUM_THREADS=1 python docs/_idea.py     # writes docs/idea.png
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from PIL import Image

from sirfp_opt import ChannelGraph, solve
from sirfp_opt.demo.network import load_checkpoint
from sirfp_opt.demo.scenes import make_scenes
from sirfp_opt.plotting import plot_clique

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PICTURE = Path(__file__).with_name("idea.png")
SHOWN = range(4, 28, 2)  # 12 of the 32 channels: more of them are too small to see
KEEP = 4
SCENE = 3


def measured() -> tuple[NDArray[np.float64], ChannelGraph]:
    """Return the maps of one scene, and the graph of all scenes' redundancies."""
    network = load_checkpoint().eval()
    scenes, _ = make_scenes(32, split="calibration", seed=0)
    with torch.no_grad():
        maps = torch.relu(network.backbone.stem(scenes))[:, list(SHOWN)]
    maps = maps.flatten(2).double()
    unit = maps / maps.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    alike = (unit @ unit.transpose(1, 2)).mean(0).numpy()
    side = scenes.shape[-1] // 2
    return maps[SCENE].reshape(-1, side, side).numpy(), ChannelGraph.from_redundancy(
        alike
    )


def show_maps(
    ax: Axes, maps: NDArray[np.float64], channels: NDArray[np.int64], columns: int
) -> None:
    """Draw numbered maps in rows."""
    rows = -(-len(channels) // columns)
    for place, channel in enumerate(channels):
        across, down = place % columns, place // columns
        inset = ax.inset_axes(
            (
                (across + 0.05) / columns,
                1 - (down + 0.95) / rows,
                0.9 / columns,
                0.9 / rows,
            )
        )
        inset.imshow(maps[channel], cmap="cividis")
        inset.set_xticks([])
        inset.set_yticks([])
        inset.text(
            0.04,
            0.95,
            str(channel),
            transform=inset.transAxes,
            va="top",
            fontsize=7,
            color="white",
        )
    ax.set_axis_off()


def main() -> None:
    """Write the picture."""
    mpl.use("agg")
    maps, graph = measured()
    best = solve(graph, KEEP, method="exact")
    every = np.arange(graph.n)
    figure, axes = plt.subplots(1, 4, figsize=(12.4, 3.5), layout="constrained")
    show_maps(axes[0], maps, every, 3)
    axes[0].set_title(f"1. A layer: {graph.n} channels")
    plot_clique(graph, ax=axes[1])
    axes[1].set_title("2. Its graph: the more alike,\nthe thicker the edge")
    plot_clique(best, ax=axes[2])
    axes[2].set_title(f"3. The least redundant {KEEP},\nproved {best.status.value}")
    show_maps(axes[3], maps, best.selected, 2)
    axes[3].set_title(f"4. A smaller layer: {KEEP} channels")
    for ax in axes:
        ax.title.set_fontsize(11)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(128).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
