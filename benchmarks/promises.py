"""Run every method on random problems of every kind, and find a wrong word.

Protocol
--------
Problems of 2 to 8 channels (`tests.fuzz.problems`): both senses; Gram, mixed, whole,
decimal, constant and spread weights, copies of channels, dead ones; all of it times
5e-324 to 1e290; vertex weights, missing edges, must_keep, must_drop, tied groups of
several sizes, ranges, multiples. All feasible sets are enumerated and priced by loops
that share no line with the package. Of each problem some methods, chosen by the seed so
that all come round, and one level of `bound` are asked. A word is wrong where

- a set is not feasible, or its objective not what it is worth,
- "optimal" or "infeasible" is said and is not so, or a bound is passed,
- an exact method ends without a proof, or a method refuses what it says it supports,
- anything but an error of the package's own comes out, or NumPy warns,
- a solution does not survive JSON.

Prints each wrong word, and ends with code 1 if there is any.

    python -m benchmarks.promises --problems 5000 --methods 3
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.problems import METHODS, faults


def main() -> int:
    """Run the problems; return how the process should end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", type=int, default=3)
    options = parser.parse_args()
    started, wrong = time.process_time(), 0
    for seed in range(options.first_seed, options.first_seed + options.problems):
        for fault in faults(seed, options.methods):
            wrong += 1
            print(fault, flush=True)
    print(
        f"{options.problems} problems, {options.methods} of {len(METHODS)} methods on "
        f"each: {wrong} wrong words; {time.process_time() - started:.0f} CPU seconds"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
