"""Measure what can be cut of the networks that people use, and how exactly.

Protocol
--------
Each network of `tests.pytorch.zoo` whose package is installed, with random weights and
statistics, at the picture side given there, in a process of its own that may use
``--limit`` CPU seconds. `couple` finds the units (float32, one thread; its CPU seconds
are noted). Then, in float64 where the network runs in it:

1. every unit at once is cut to a random half of its groups, and the outputs are
   compared with the masked network's, the original one whose removed channels are zero
   where they are made and where they are read: max |cut - masked| over the largest
   output. More than 1e-9 (float32: 1e-4) is a wrong network;
2. MACs and parameters of the cut network are counted, and compared with the cost
   model's prediction.

*Channels*: the share of channels in units among all that layers make, a coupled channel
counted once. *Half*: MACs with half of each unit's groups, over MACs before. *Least*:
MACs with one group of each unit, over MACs before: what no budget gets below.

    python -m benchmarks.zoo                           # all, into results/zoo.json
    python -m benchmarks.zoo --networks timm/dla34     # one anew, the others as known
    python -m benchmarks.zoo --table docs/guide/networks.md   # only what is known anew
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

EXACT = {"float64": 1e-9, "float32": 1e-4}
BEGIN, END = "<!-- zoo: begin -->", "<!-- zoo: end -->"


def measure(name: str) -> dict[str, Any]:
    """Couple, cut and compare one network of the zoo."""
    import torch

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch import (
        apply_plan,
        count_macs,
        count_params,
        couple,
        mask,
        read_cost,
    )
    from sirfp_opt.pytorch.batches import frozen_outputs
    from tests.pytorch.cuts import largest_difference
    from tests.pytorch.zoo import ZOO

    entry = ZOO[name]
    model, images, forward = entry.build(), entry.images(), entry.forward
    began = time.process_time()
    coupling = couple(model, images, forward=forward)
    seconds = time.process_time() - began
    units = coupling.units
    free = sum(unit.size for unit in units)
    whole = sum(exclusion.size for exclusion in coupling.exclusions)
    held: Counter[str] = Counter()
    for exclusion in coupling.exclusions:
        held[exclusion.reason] += exclusion.size
    row: dict[str, Any] = {
        "units": len(units),
        "channels": free,
        "share": free / max(1, free + whole),
        "seconds": seconds,
        "held": dict(held.most_common()),
    }
    if not units:
        return {**row, "half": 1.0, "least": 1.0}
    cost = read_cost(model, units, images, forward=forward)
    full = cost.predict({unit.name: unit.size for unit in units})
    groups = {unit.name: unit.classes for unit in units}
    one = {name: len(some[0]) for name, some in groups.items()}
    half = {name: n * max(1, len(groups[name]) // 2) for name, n in one.items()}
    row["half"] = cost.predict(half)["macs"] / full["macs"]
    row["least"] = cost.predict(one)["macs"] / full["macs"]
    try:
        wide, batch = entry.build().double(), images.double()
        frozen_outputs(wide, batch, forward)
    except Exception:  # whatever: the network is tied to float32
        wide, batch = model, images
    row["dtype"] = str(batch.dtype).removeprefix("torch.")
    rng = np.random.default_rng(0)
    kept = {}
    for unit, some in groups.items():
        count = max(1, len(some) // 2)
        chosen = rng.choice(len(some), size=count, replace=False)
        kept[unit] = np.sort(np.concatenate([some[i] for i in chosen]))
    plan = PruningPlan(units, kept)
    pruned = apply_plan(wide, plan)
    with torch.no_grad():
        gap, scale = largest_difference(
            frozen_outputs(pruned, batch, forward),
            frozen_outputs(mask(wide, plan), batch, forward),
        )
    row["difference"] = gap / scale
    row["cost"] = cost.predict(plan.counts) == {
        "macs": count_macs(pruned, batch[:1], forward),
        "params": count_params(pruned),
    }
    return row


def verdict(row: dict[str, Any]) -> str:
    """Say in a word what came out: cut, whole, wrong, or an error."""
    if row.get("error"):
        return str(row["error"])
    if not row["units"]:
        return "whole"
    exact = row["difference"] <= EXACT[row["dtype"]]
    return "cut" if exact else "WRONG"


def guarded(name: str, limit: int) -> dict[str, Any]:
    """Measure a network in a process of its own, which has what is imported here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        try:
            row = measure(name)
        except BaseException as error:  # whatever: it is the result
            row = {"error": f"{type(error).__name__}: {error}"[:200]}
        with os.fdopen(writing, "w") as pipe:
            json.dump(row, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"error": f"not in {limit} CPU s (status {status})"}
    found: dict[str, Any] = json.loads(text)
    return found


def table(rows: dict[str, dict[str, Any]], before: str = "") -> str:
    """Return the table of the guide, in Markdown.

    Lines of the one `before` stay for networks that were not measured anew.
    """
    told = {line.split(" | ")[0].strip("| "): line for line in before.splitlines()}
    lines = [
        "| network | units | channels | half | least | difference | s | left whole |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys((*told, *rows)):
        row = rows.get(name)
        if row is None:
            lines += [told[name]] if "/" in name else []
            continue
        if row.get("error"):
            lines.append(f"| {name} | | | | | | | {row['error']} |")
            continue
        total = row["channels"] / row["share"] if row["share"] else 0
        most = [
            f"{why} ({n / total:.1%})".replace("%", " %") if total else why
            for why, n in list(row["held"].items())[:2]
        ]
        gap = f"{row['difference']:.0e}" if row["units"] else ""
        if gap and row["dtype"] == "float32":
            gap += " (float32)"
        share = f"{row['share']:.1%}".replace("%", " %")
        lines.append(
            f"| {name} | {row['units']} | {share} | {row['half']:.3f} "
            f"| {row['least']:.3f} | {gap} | {row['seconds']:.1f} "
            f"| {'; '.join(most) or 'nothing'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--networks", nargs="*", help="names of the zoo; default all")
    parser.add_argument("--limit", type=int, default=120, help="CPU s a network")
    parser.add_argument("--table", type=Path, help="write the table of known results")
    options = parser.parse_args()
    import torch

    from tests.pytorch.zoo import ZOO

    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "zoo.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    names = options.networks or [] if options.table else options.networks
    if names is None:
        names = [name for name in ZOO if ZOO[name].importable]
    for name in names:
        known[name] = guarded(name, options.limit)
        print(f"{name}: {verdict(known[name])} {json.dumps(known[name])}", flush=True)
        file.write_text(json.dumps(known, indent=1))
    rows = {name: known[name] for name in ZOO if name in known}
    words = Counter(verdict(row) for row in rows.values())
    print(f"{len(rows)} networks: {dict(words)}")
    if options.table:
        text = options.table.read_text()
        before, _, rest = text.partition(BEGIN)
        known_rows, _, after = rest.partition(END)
        made = f"{before}{BEGIN}\n\n{table(rows, known_rows)}\n\n{END}{after}"
        options.table.write_text(made)


if __name__ == "__main__":
    main()
