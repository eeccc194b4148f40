"""Refit a vision transformer whose queries and keys lose half of their dimensions.

Protocol
--------
A transformer of six blocks (48 channels, six heads, MLPs of 96, no batch norm) is
trained for 16 epochs on 1300 of scikit-learn's digits; 256 of these, unlabelled, are
what it is cut and refitted on, the other 497 what it is judged on: the share that it
gets right, and the mean divergence KL(original, cut) of its answers. Channels are
chosen by ``metric="refit"``, ``method="greedy"``. Two cuts:

- "q, k": half of the dimensions of queries and keys, the same places of every head;
- "all": these first, then heads, hidden channels of the MLPs and the stream, by
  `prune`, so that half of the original's MACs are left.

Each is left as cut, refitted in the layers that read what was cut only, and refitted in
these and in queries and keys. With ``--sums`` the error of the logits, as a share of
their square on pictures that the fit has not seen, is printed: of queries and keys as
they were cut ("before") and with the best map of the queries that stay (CORP), fitted
to each picture or to sums over all of them; and the same in the basis in which few
dimensions carry the logits.

    python -m benchmarks.refit_attention --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from sirfp_opt.pytorch import apply_plan, count_macs, couple, extract, prune
from sirfp_opt.pytorch.extraction.bases import basis_of
from sirfp_opt.pytorch.extraction.logits import gram_pairs, watch_pair
from sirfp_opt.pytorch.refitting.bilinear import fit_logits
from sirfp_opt.pytorch.refitting.refit import refit_pruned
from sirfp_opt.pytorch.refitting.settings import Refit
from sirfp_opt.pytorch.refitting.turning import find_cuts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.coupling.coupling import Coupling
    from sirfp_opt.pytorch.refitting.turning import Cut

WIDTH, HEADS, DEPTH, EPOCHS = 48, 6, 6, 16


class Attention(nn.Module):
    """Self-attention as it is written out in many networks: its scale is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.scale = (WIDTH // HEADS) ** -0.5
        self.query, self.key, self.value, self.project = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend, (N, T, C) to (N, T, C)."""
        images, count, _ = tokens.shape
        query, key, value = (
            layer(tokens).view(images, count, self.num_heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = (query @ key.transpose(-1, -2) * self.scale).softmax(dim=-1)
        return self.project((weights @ value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and an MLP, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Add both to the tokens."""
        tokens = tokens + self.attention(self.first(tokens))
        return tokens + self.mlp(self.second(tokens))


class Transformer(nn.Module):
    """A classifier of 8 x 8 pictures, cut into 16 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 2, stride=2)
        self.places = nn.Parameter(0.1 * torch.randn(1, 16, WIDTH))
        self.blocks = nn.Sequential(*[Block() for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of the ten digits."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
        scores: Tensor = self.head(self.norm(self.blocks(tokens)).mean(dim=1))
        return scores


def train(seed: int, images: Tensor, labels: Tensor) -> Transformer:
    """Return a network trained on labelled digits."""
    torch.manual_seed(seed)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(images[some]), labels[some]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Run the protocol and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sums", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in options.seeds:
        for row in measure(seed, sums=options.sums):
            print(row, flush=True)
            rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "refit_attention.csv", index=False)
    print(table.groupby(["cut", "refitted"], sort=False).mean(numeric_only=True))


def measure(seed: int, *, sums: bool) -> Iterator[dict[str, Any]]:
    """Give one row for each refit."""
    data, target = load_digits(return_X_y=True)
    images = torch.tensor(data / 16.0, dtype=torch.float32).view(-1, 1, 8, 8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order], torch.tensor(target)[order]
    model = train(seed, images[:1300], labels[:1300])
    batches = list(images[:256].split(64))
    with torch.no_grad():
        original = model(images[1300:]).log_softmax(dim=1)

    def judged(name: str, refitted: str, network: nn.Module, **more: Any) -> Any:
        with torch.no_grad():
            answers = network(images[1300:]).log_softmax(dim=1)
        right = (answers.argmax(dim=1) == labels[1300:]).float().mean()
        apart = F.kl_div(answers, original, log_target=True, reduction="batchmean")
        row = {"seed": seed, "cut": name, "refitted": refitted}
        return row | {"right": float(right), "divergence": float(apart)} | more

    yield judged("nothing", "", model)
    inside = couple(model, batches[:1], heads="inside")
    narrow = chosen(model, batches, inside)
    dense = count_macs(model, images[:1])
    if sums:
        for name, share in logit_errors(model, narrow, batches, inside).items():
            print(f"logits, {name}: {share:.4f} of their square")
    for refitted in ("no", "readers", "readers, queries and keys"):
        first, seconds = refit_as(refitted, model, narrow, batches, inside)
        yield judged("q, k", refitted, first, cpu_seconds=seconds)
        began = time.process_time()
        second = prune(
            first,
            batches,
            macs=dense // 2,
            refit=None if refitted == "no" else "full",
            progress=False,
        )
        more = round(time.process_time() - began, 2)
        yield judged("all", refitted, second.model, cpu_seconds=seconds + more)


def chosen(model: nn.Module, batches: list[Tensor], coupling: Coupling) -> PruningPlan:
    """Return the plan that keeps half of the queries and keys."""
    graphs = extract(model, batches, metric="refit", coupling=coupling, progress=False)
    keep = {name: 0.5 for name in graphs if "query" in name}
    return prune(
        model,
        batches,
        keep=keep,
        multiple_of=1,
        method="greedy",
        graphs=graphs,
        refit=None,
        progress=False,
    ).plan


def refit_as(
    refitted: str,
    model: nn.Module,
    plan: PruningPlan,
    batches: list[Tensor],
    coupling: Coupling,
) -> tuple[nn.Module, float]:
    """Return the cut network, refitted in part, and the CPU seconds of it."""
    pruned, began = apply_plan(model, plan), time.process_time()
    if refitted != "no":
        pairings = coupling.pairings if "queries" in refitted else ()
        refit_pruned(model, pruned, plan, batches, Refit(), pairings=pairings)
    return pruned, round(time.process_time() - began, 2)


def logit_errors(
    model: nn.Module, plan: PruningPlan, batches: list[Tensor], coupling: Coupling
) -> dict[str, float]:
    """Return the share of the logits' square that is lost on the last batch."""
    cuts = find_cuts(model, apply_plan(model, plan), plan, coupling.pairings)
    lost: dict[str, float] = {}
    for cut in cuts:
        for head, (first, second) in zip(
            cut.heads, sums_of(model, cut, batches), strict=True
        ):
            seen = slice(len(first) - len(batches[-1]))
            others = slice(len(first) - len(batches[-1]), None)
            n = second.shape[1]
            one, two = basis_of(
                first[seen, :n, :n].sum(0),
                second[seen].sum(0),
                1e-3,
                [*head.kept, *head.gone],
            )
            wide = torch.block_diag(one, torch.ones(1, 1).double())
            turned = wide.T @ first @ wide, two.T @ second @ two
            signal = float((first[others, :n, :n] * second[others]).sum())
            for name, (left, right), pooled in (
                ("in the dimensions that stay, by sums", (first, second), True),
                ("in the dimensions that stay", (first, second), False),
                ("in the basis", turned, False),
            ):
                parts = [part[seen].sum(0, keepdim=pooled) for part in (left, right)]
                if not pooled:
                    parts = [left[seen], right[seen]]
                fit = fit_logits(*parts, head.kept, head.gone, ridge=1e-3, bias=True)
                errors = fit.judge(left[others], right[others], lambda values: values)
                for what, error in (
                    (f"{name}, before", errors.before),
                    (name, errors.after),
                ):
                    share = error / signal / HEADS / len(cuts)
                    lost[what] = lost.get(what, 0.0) + share
    return lost


def sums_of(
    model: nn.Module, cut: Cut, batches: list[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give Q'Q and K'K of each picture, head by head."""
    sides: list[tuple[Tensor, Tensor]] = []

    def take(queries: Tensor, keys: Tensor) -> None:
        sides.append(gram_pairs(cut.pairing, queries, keys))

    hooks = watch_pair(cut.pairing, dict(model.named_modules()), take)
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for hook in hooks:
        hook.remove()
    for head in cut.heads:
        first, second = (
            torch.cat([side[i][:, head.number] for side in sides]).double()
            for i in range(2)
        )
        yield first, second


if __name__ == "__main__":
    main()
