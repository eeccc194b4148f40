"""A layer to play with: one page on which a reader moves k and sees what happens.

>>> import numpy as np
>>> from sirfp_opt import ChannelGraph
>>> from sirfp_opt.explorer import explore
>>> maps = np.random.default_rng(0).random((8, 30))
>>> explore(ChannelGraph.from_redundancy(maps @ maps.T, name="layer"))
Explorer(1 layer: layer)
"""

from __future__ import annotations

from sirfp_opt.explorer.layer import ExploredLayer
from sirfp_opt.explorer.page import Explorer
from sirfp_opt.explorer.searching import explore

__all__ = ["ExploredLayer", "Explorer", "explore"]
