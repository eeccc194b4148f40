from __future__ import annotations

import numpy as np
import pytest

from sirfp_opt import ChannelGraph


@pytest.fixture(scope="session")
def layers() -> dict[str, ChannelGraph]:
    """Two small layers of channel graphs, minimised."""
    rng = np.random.default_rng(5)
    made = {}
    for name, n in (("first", 9), ("second", 12)):
        maps = rng.random((n, 40))
        made[name] = ChannelGraph.from_redundancy(maps @ maps.T, name=name)
    return made
