"""Random networks: none is cut wrongly, nor priced wrongly.

Protocol: networks of 6 to 16 steps from the layers and joins of
``tests/pytorch/random_networks.py``, by consecutive seeds.  Each is coupled on one
batch and judged on another in float64: three times a random set of every unit goes,
all at once, and the cut network must be the masked one to 1e-9 of its outputs, and cost
what was predicted to the last MAC and parameter.  Prints each fault with its seed, and
a last line of totals.

    python -m benchmarks.random_networks --networks 400
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from tests.pytorch.networks import randomized
from tests.pytorch.random_networks import RandomNetwork
from tests.pytorch.test_random_networks import judge


def main() -> None:
    """Judge networks by consecutive seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    options = parser.parse_args()
    units = faults = judged = 0
    kinds: Counter[str] = Counter()
    begin = time.process_time()
    for seed in range(options.first, options.first + options.networks):
        rng = np.random.default_rng(seed)
        model = randomized(lambda rng=rng: RandomNetwork(rng), seed)
        if not any(model.get_submodule("heads").children()):
            continue
        judged += 1
        kinds.update(step.kind for step in model.steps)
        try:
            units += judge(model, seed + 1000)
        except Exception as error:
            faults += 1
            line = (str(error).splitlines() or [""])[0]
            print(f"seed {seed}: {type(error).__name__}: {line}", flush=True)
    spent = time.process_time() - begin
    print(f"{judged} networks, {units} units, {faults} faults, {spent:.0f} CPU s")
    print(dict(kinds.most_common()))


if __name__ == "__main__":
    main()
