"""Plans of the tests' sound networks, against those of the code before one road.

Protocol
--------
Each of the sixteen networks of `tests.pytorch.networks.SOUND`, measured by two metrics
on four fixed pictures, is pruned by the allocations "balanced", "optimal" and
"threshold" under four requests, without a refit. The plan's checksum must be the one in
``tests/data/plans.json``, which was written before `prune` went through
`solve_network` (commit 8a4ae98), but for two entries, of "threshold" with
``multiple_of=4`` on networks with dead channels: these no longer come back once they
have been dropped, so that a larger plan fits the budget.

    python -m benchmarks.reference_plans
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import torch

from sirfp_opt import SirfpError
from sirfp_opt.pytorch import extract, prune
from tests.pytorch.networks import SOUND, randomized

REQUESTS: dict[str, dict[str, Any]] = {
    "half": {"macs": 0.5},
    "two": {"macs": 0.7, "params": 0.6},
    "four": {"macs": 0.6, "multiple_of": 4},
    "quarter": {"macs": 0.35, "min_keep": 0.02},
}
ALLOCATIONS = ("balanced", "optimal", "threshold")
METRICS = ("reconstruction", "spatial")
FILE = Path(__file__).parents[1] / "tests" / "data" / "plans.json"


def known_plans() -> dict[str, int | str]:
    """Return checksums, or names of errors, by network/metric/allocation/request."""
    plans: dict[str, int | str] = json.loads(FILE.read_text(encoding="utf-8"))
    return plans


def checksum(kept: dict[str, list[int]]) -> int:
    """Return one number for a plan: the kept channels by unit, sorted."""
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def plans_of(
    name: str,
    metrics: tuple[str, ...] = METRICS,
    requests: tuple[str, ...] = tuple(REQUESTS),
) -> dict[str, int | str]:
    """Prune one network in every way; return checksums, or the names of errors."""
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    model = randomized(SOUND[name])
    found: dict[str, int | str] = {}
    for metric in metrics:
        graphs = extract(model, images, metric=metric)
        for allocation in ALLOCATIONS:
            for request in requests:
                key = f"{name}/{metric}/{allocation}/{request}"
                try:
                    result = prune(
                        model,
                        images,
                        REQUESTS[request],
                        graphs=graphs,
                        allocation=allocation,
                        refit=None,
                        verify=False,
                    )
                except SirfpError as error:
                    found[key] = type(error).__name__
                else:
                    plan = result.plan.items()
                    found[key] = checksum({unit: k.tolist() for unit, k in plan})
    return found


def main() -> None:
    """Compare all plans, and list those that differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default=",".join(SOUND))
    known, wrong, total = known_plans(), 0, 0
    for name in parser.parse_args().networks.split(","):
        for key, found in plans_of(name).items():
            total += 1
            if known[key] != found:
                wrong += 1
                print(f"{key}: {known[key]} was, {found} is")
    print(f"{total} plans, {wrong} differ")


if __name__ == "__main__":
    main()
