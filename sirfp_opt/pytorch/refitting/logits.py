"""Queries and keys that lost dimensions, refitted so that their logits change least."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.utils import parametrize

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.extraction.logits import gram_pairs, watch_pair
from sirfp_opt.pytorch.refitting.bilinear import fit_logits
from sirfp_opt.pytorch.refitting.outcome import NOTHING, shares
from sirfp_opt.pytorch.refitting.readers import FORWARDS
from sirfp_opt.pytorch.refitting.records import Rows
from sirfp_opt.pytorch.refitting.report import LayerRefit
from sirfp_opt.pytorch.refitting.solve import Errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.hooks import RemovableHandle

    from sirfp_opt.network.plan import PruningPlan
    from sirfp_opt.pytorch.coupling.pairings import Pairing
    from sirfp_opt.pytorch.refitting.settings import Refit

__all__ = ["Cut", "Fold", "Logits", "find_cuts"]

HELD = 1 << 23
"""Numbers that are held of one pair of layers: sums of products, sample by sample."""

Positions = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """Queries and keys of which some dimensions are gone.

    Attributes
    ----------
    pairing : Pairing
    target : nn.Module
        The layer of the pruned network that makes the queries.
    heads : tuple of (int, kept, gone, rows)
        Of each head that lost some: its number, the dimensions that stay and that do
        not, and where the pruned layer makes those that stay.
    scale : float
        What the cut has multiplied the queries with, for the sake of a head's width.
    reason : str
        Why they are left as they were cut; empty if they are not.
    """

    pairing: Pairing
    target: nn.Module
    heads: tuple[tuple[int, Positions, Positions, Positions], ...] = ()
    scale: float = 1.0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Fold:
    """A map of queries, to be folded into the layer that makes them.

    Attributes
    ----------
    layer : str
    target : nn.Module
    maps : tuple of (rows, Tensor, Tensor)
        By head: where the layer makes its queries, M of shape (s, s), b of shape (s,):
        queries become M'q + b.
    """

    layer: str
    target: nn.Module
    maps: tuple[tuple[Positions, Tensor, Tensor], ...]

    def apply(self) -> None:
        """Fold it into the weights that the layer has now."""
        weight: Any = self.target.weight
        bias: Any = self.target.bias
        with torch.no_grad():
            for rows, matrix, shift in self.maps:
                index = torch.tensor(rows, device=weight.device)
                old = weight[index].flatten(1).double()
                new = matrix.to(old).T @ old
                weight[index] = new.reshape(weight[index].shape).to(weight.dtype)
                if bias is not None:
                    level = matrix.to(old).T @ bias[index].double() + shift.to(old)
                    bias[index] = level.to(bias.dtype)


def find_cuts(
    model: nn.Module,
    pruned: nn.Module,
    plan: PruningPlan,
    pairings: Sequence[Pairing],
) -> tuple[Cut, ...]:
    """Return every pair of layers that makes queries and keys of which some went."""
    modules, targets = dict(model.named_modules()), dict(pruned.named_modules())
    removed = plan.removed_positions()
    found = []
    for pairing in pairings:
        gone = [
            set(map(int, removed.get((layer, "out"), ())))
            for layer in (pairing.queries, pairing.keys)
        ]
        width = modules[pairing.queries].weight.shape[0]
        stay = [row for row in range(int(width)) if row not in gone[0]]
        place = {row: number for number, row in enumerate(stay)}
        heads, uneven = [], False
        for number, (queries, keys) in enumerate(
            zip(pairing.query_rows, pairing.key_rows, strict=True)
        ):
            kept = tuple(d for d, row in enumerate(queries) if row not in gone[0])
            uneven |= kept != tuple(d for d, r in enumerate(keys) if r not in gone[1])
            lost = tuple(d for d in range(len(queries)) if d not in kept)
            if kept and lost:
                rows = tuple(place[queries[d]] for d in kept)
                heads.append((number, kept, lost, rows))
        if not heads:
            continue
        module, target = modules[pairing.queries], targets[pairing.queries]
        columns = removed.get((pairing.queries, "in"), np.zeros(0, int))
        scale = _scale(module, target, stay, columns)
        reason = pairing.reason or _odd(module, target)
        if not reason and uneven:
            reason = "its queries lost other dimensions than its keys"
        if not reason and scale is None:
            reason = "its weights after the cut are no part of those before it"
        found.append(Cut(pairing, target, tuple(heads), scale or 1.0, reason))
    return tuple(found)


def _odd(module: nn.Module, target: nn.Module) -> str:
    """Say why new queries cannot be had by other weights."""
    for one in (module, target):
        if type(one).forward not in FORWARDS or "forward" in vars(one):
            return f"{type(one).__name__} has a forward pass of its own"
    weight = target._parameters.get("weight")
    if parametrize.is_parametrized(target) or weight is None:
        return "its weight is parametrised"
    return "" if weight.is_floating_point() else f"its weight is of {weight.dtype}"


def _scale(
    module: nn.Module, target: nn.Module, stay: Sequence[int], gone: np.ndarray
) -> float | None:
    """Return the factor between a layer's weights after the cut and before it.

    None where there is no such factor.
    """
    whole, left = module.weight, target.weight
    if not isinstance(whole, Tensor) or not isinstance(left, Tensor):
        return None
    columns = np.setdiff1d(np.arange(whole.shape[1]), gone)
    part = whole.detach()[list(stay)][:, columns.tolist()].double()
    if part.shape != left.shape:
        return None
    left = left.detach().double()
    scale = float((part * left).sum() / part.square().sum().clamp_min(1e-300))
    near = torch.allclose(left, scale * part, rtol=1e-3, atol=1e-6)
    return scale if near and scale > 0 else None


class Logits:
    """Hooks on the original network that sum up what queries and keys are.

    Parameters
    ----------
    model : nn.Module
    cuts : sequence of Cut
    how : Refit
    skipping : bool
        Leave samples with NaN or inf out, instead of raising.

    Notes
    -----
    With Q and K the queries and keys of a head on one sample, S the dimensions that
    stay, the logits of the cut network lack Q_D K_D'. Queries Q_S M + 1 b' with the
    least Σ ‖Q K' - (Q_S M + 1 b') K_S'‖² over all samples, plus a ridge that pulls M to
    the identity, are linear in those that there are: M and b go into the weights and
    the bias of the layer that makes them. (CORP, arXiv 2602.05243, without b.) Where a
    softmax reads the logits, K is about its mean over the tokens of each sample: what a
    whole row of logits has in common makes no difference.
    """

    def __init__(
        self,
        model: nn.Module,
        cuts: Sequence[Cut],
        how: Refit,
        *,
        skipping: bool = False,
    ) -> None:
        self.cuts, self.how, self.skipping = list(cuts), how, skipping
        self._modules = dict(model.named_modules())
        self._hooks: list[RemovableHandle] = []
        self._generator = torch.Generator().manual_seed(how.seed)
        self._held = torch.zeros(0, dtype=torch.bool)
        self._rows = {cut.pairing.name: (_rows_of(cut), _rows_of(cut)) for cut in cuts}
        self._trouble: dict[str, str] = {}

    def __enter__(self) -> Self:
        for cut in self.cuts:
            self._hooks += watch_pair(cut.pairing, self._modules, self._taking(cut))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def begin(self, held: Tensor) -> None:
        """Say which pictures of the next batch only judge the fit."""
        self._held = held

    def _taking(self, cut: Cut) -> Any:
        pairing = cut.pairing
        numbers = [head[0] for head in cut.heads]

        def take(queries: Tensor, keys: Tensor) -> None:
            if len(queries) != len(keys):
                self._trouble[pairing.name] = "its keys are of other samples"
                return
            first, second = gram_pairs(pairing, queries, keys)
            parts = [part[:, numbers].flatten(2) for part in (first, second)]
            rows = torch.cat(parts, dim=2).cpu()
            finite = torch.isfinite(rows).flatten(1).all(dim=1)
            if not bool(finite.all()) and not self.skipping:
                raise InvalidProblemError(
                    f"`batches` must give finite activations, got NaN or inf in "
                    f"{pairing.name!r}. Check the input and the weights."
                )
            held = torch.zeros(len(rows), dtype=torch.bool)
            if len(self._held) and len(rows) % len(self._held) == 0:
                held = self._held.repeat_interleave(len(rows) // len(self._held))
            judged, other = self._rows[pairing.name]
            judged.add(rows[finite & ~held], self._generator)
            other.add(rows[finite & held], self._generator)

        return take

    def fit(
        self, cut: Cut, ranks: torch.device | None
    ) -> tuple[LayerRefit, Fold | None]:
        """Return what the report says of a pair, and the map to fold into it, if any.

        Parameters
        ----------
        cut : Cut
        ranks : torch.device, optional
            Over the ranks of `torch.distributed`: every one must come here.
        """
        pairing = cut.pairing
        row = LayerRefit(pairing.name, "cut", reason=cut.reason)
        seen = [len(rows) for rows in self._rows.get(pairing.name, ((), ()))]
        trouble = bool(self._trouble.get(pairing.name))
        counts = _total(torch.tensor([*seen, int(trouble)]).double(), ranks).tolist()
        if cut.reason:
            return row, None
        if counts[2]:
            return replace(row, reason="its keys are of other samples"), None
        if not counts[0]:
            return replace(row, reason=NOTHING), None
        bias = isinstance(cut.target.bias, Tensor)

        def total(values: Tensor) -> Tensor:
            return _total(values, ranks)

        maps, errors, held = [], Errors(), Errors()
        for number, (_, kept, gone, rows) in enumerate(cut.heads):
            sides = [
                _unpacked(part, number, len(kept) + len(gone))
                for part in self._rows[pairing.name]
            ]
            fit = fit_logits(
                *sides[0],
                kept,
                gone,
                ridge=self.how.ridge,
                bias=bias,
                total=total,
            )
            errors += fit.errors
            held += fit.judge(*sides[1], total)
            maps.append((rows, fit.matrix, cut.scale * fit.shift))
        row = LayerRefit(
            pairing.name,
            "logits",
            max(len(head[1]) * (len(head[1]) + bias) for head in cut.heads),
            int(counts[0]),
            *shares(errors),
            *(shares(held) if counts[1] else (None, None)),
            offset="bias" if bias else "none",
        )
        why = ""
        if not errors.lower:
            why = "a refit would not err less"
        elif held.after > held.before:
            why = "a refit would err more on the pictures that were held out"
        if why:
            return replace(row, kind="cut", offset="none", reason=why), None
        return row, Fold(pairing.queries, cut.target, tuple(maps))


def _rows_of(cut: Cut) -> Rows:
    n = len(cut.pairing.query_rows[0])
    return Rows(max(16, HELD // (len(cut.heads) * ((n + 1) ** 2 + n**2))))


def _unpacked(rows: Rows, number: int, n: int) -> tuple[Tensor, Tensor]:
    """Return Q'Q and K'K of one head, sample by sample."""
    if not len(rows):
        return torch.zeros(0, n + 1, n + 1).double(), torch.zeros(0, n, n).double()
    mine = rows.get()[:, number].double()
    size = (n + 1) ** 2
    return (
        mine[:, :size].reshape(-1, n + 1, n + 1),
        mine[:, size:].reshape(-1, n, n),
    )


def _total(values: Tensor, ranks: torch.device | None) -> Tensor:
    """Return the sum of all ranks."""
    if ranks is None:
        return values
    whole = values.to(ranks)
    dist.all_reduce(whole)
    return whole.to(values)
