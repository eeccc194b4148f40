"""Products of queries and keys, the logits: what is summed of them, and measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sirfp_opt.pytorch.coupling.units import Member
from sirfp_opt.pytorch.cutting.layers import channel_dim
from sirfp_opt.pytorch.extraction.assemble import Reading, reading_of
from sirfp_opt.pytorch.extraction.averages import (
    Averaging,
    LayerStatistics,
    Measured,
)
from sirfp_opt.pytorch.extraction.bases import bases_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch.utils.hooks import RemovableHandle

    from sirfp_opt.network.plan import PruningUnit
    from sirfp_opt.pytorch.coupling.pairings import Pairing
    from sirfp_opt.pytorch.extraction.metrics import Metric

__all__ = ["LogitStatistics", "gram_pairs", "logit_members", "tokens_of", "watch_pair"]


def tokens_of(module: nn.Module, output: Tensor) -> Tensor:
    """Return what a layer makes as (N, T, C), for each sample all of its positions.

    A linear layer's samples are all leading dimensions but that of the tokens.
    """
    wide = torch.promote_types(output.dtype, torch.float32)
    maps = output.detach().to(wide).movedim(channel_dim(module, output), -1)
    if isinstance(module, nn.Linear):
        return maps.reshape(-1, maps.shape[-2] if maps.dim() > 1 else 1, maps.shape[-1])
    if maps.dim() == len(module.kernel_size) + 1:  # type: ignore[arg-type]
        maps = maps[None]
    return maps.flatten(1, -2)


def gram_pairs(
    pairing: Pairing, queries: Tensor, keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Q'Q and K'K of each sample and head.

    Keys are taken about the mean of each sample's, where that makes no difference.

    Parameters
    ----------
    pairing : Pairing
    queries, keys : Tensor of shape (N, T, C)
        What its layers make.

    Returns
    -------
    Tensor of shape (N, heads, n + 1, n + 1)
        The last entry of each query is 1: what a bias adds to.
    Tensor of shape (N, heads, n, n)
    """
    index = torch.tensor(pairing.query_rows, device=queries.device)
    q = queries[:, :, index].transpose(1, 2)
    q = torch.cat([q, torch.ones_like(q[..., :1])], dim=-1)
    k = keys[:, :, torch.tensor(pairing.key_rows, device=keys.device)].transpose(1, 2)
    if pairing.centred:
        k = k - k.mean(dim=2, keepdim=True)
    return q.transpose(-1, -2) @ q, k.transpose(-1, -2) @ k


def watch_pair(
    pairing: Pairing,
    modules: Mapping[str, nn.Module],
    take: Callable[[Tensor, Tensor], None],
) -> list[RemovableHandle]:
    """Call ``take(queries, keys)`` whenever both layers have run, see `tokens_of`."""
    seen: dict[str, Tensor] = {}

    def hook(layer: str) -> Any:
        def made(module: nn.Module, _: Any, output: Tensor) -> None:
            if torch._C._current_graph_task_id() != -1:
                return  # a backward pass that recomputes what was seen before
            seen[layer] = output.detach()
            if pairing.queries in seen and pairing.keys in seen:
                with (
                    torch.inference_mode(False),
                    torch.no_grad(),
                    torch.autocast(output.device.type, enabled=False),
                ):
                    both = [
                        tokens_of(modules[name], seen[name])
                        for name in (pairing.queries, pairing.keys)
                    ]
                    seen.clear()
                    take(*both)

        return made

    layers = dict.fromkeys((pairing.queries, pairing.keys))
    return [modules[name].register_forward_hook(hook(name)) for name in layers]


class LogitStatistics(LayerStatistics):
    """Running inner products of the terms of which logits are the sum.

    Term d of the logits is q_d k_d', a matrix over pairs of tokens. Terms d and e have
    the inner product (Q'Q)_de (K'K)_de, summed over samples; those of two heads have
    none. With filters of ones this is the problem of a layer that sums the terms up.

    Where the metric is that of a refit, the terms are those in the basis to which a
    refit takes queries and keys, whatever dimensions they lose (`bases_of`): terms of a
    head are orthogonal there, but for what is left of it where samples are unlike, or
    heads share their keys. Dimension 0 is the strongest.
    """

    def __init__(
        self, pairing: Pairing, metric: Metric, averaging: Averaging, *, skip: bool
    ) -> None:
        super().__init__(metric, averaging, importance=None, skip=skip)
        self.pairing = pairing

    def watch(
        self, modules: Mapping[str, nn.Module], order: dict[str, None]
    ) -> list[RemovableHandle]:
        """Take in what both layers make at each pass; `order` notes the name."""

        def take(queries: Tensor, keys: Tensor) -> None:
            order[self.pairing.name] = None
            self.take(queries, keys)

        return watch_pair(self.pairing, modules, take)

    def take(self, queries: Tensor, keys: Tensor) -> None:
        """Take in what the two layers make, (N, T, C) each."""
        if len(queries) != len(keys):
            return
        first, second = gram_pairs(self.pairing, queries, keys)
        first = first[..., :-1, :-1] / queries.shape[1]
        second = second / keys.shape[1]
        apart = self.metric is not None and self.metric.apart
        terms = torch.cat([first, second], 1) if apart else first * second
        self.update(terms.flatten(1, 2))

    def reading(self, measured: Measured, metric: Metric) -> Reading:
        """Return what was measured, as of a layer that reads the terms."""
        rows = self.pairing.key_rows
        heads, n = len(rows), len(rows[0])
        if metric.apart and measured.gram.numel():
            both = _blocks(measured.redundancy(), n).double()
            first, second = both[:heads], both[heads:]
            bases = bases_of(rows, first, second, 0.0, [range(n)] * heads)
            terms = [
                (t.T @ one @ t) * (r.T @ other @ r)
                for one, other, (t, r) in zip(first, second, bases, strict=True)
            ]
            gram, mass = _side_by_side(torch.stack(terms)), measured.mass[: heads * n]
            measured = replace(measured, gram=gram, mass=mass)
        filters = _side_by_side(torch.ones(heads, n, n).to(measured.gram))
        return reading_of(measured, filters, metric.apart)

    def _add_maps(
        self, maps: Tensor, metric: Metric, old: float, new: float, most: int
    ) -> None:
        del metric, most  # terms are summed as they are
        if self._shift.numel() == 0:
            self._shift = torch.zeros_like(self._mass)
        n = maps.shape[2]
        blocks = maps.sum(dim=0).reshape(-1, n, n)
        self._gram.mul_(old).add_(_side_by_side(blocks), alpha=new)


def _blocks(matrix: Tensor, n: int) -> Tensor:
    """Return the blocks on the diagonal of a matrix, (H, n, n)."""
    heads = len(matrix) // n
    each = torch.arange(heads)
    return matrix.reshape(heads, n, heads, n)[each, :, each]


def _side_by_side(blocks: Tensor) -> Tensor:
    """Return the matrix with these blocks, (H, n, n), on its diagonal."""
    heads, n, _ = blocks.shape
    whole = blocks.new_zeros(heads, n, heads, n)
    each = torch.arange(heads)
    whole[each, :, each] = blocks
    return whole.reshape(heads * n, heads * n)


def logit_members(
    units: Iterable[PruningUnit], pairings: Iterable[Pairing]
) -> dict[str, tuple[Member, ...]]:
    """Return by unit the products whose terms are its channels, one by one.

    Where a head's channels go all together, its logits go with it.
    """
    found: dict[str, tuple[Member, ...]] = {}
    pairings = [pairing for pairing in pairings if not pairing.reason]
    for unit in units:
        members = []
        for pairing in pairings:
            rows = pairing.terms_of(unit)
            if rows is not None:
                members.append(
                    Member(pairing.name, rows[0], len(rows) // unit.size, rows)
                )
        found[unit.name] = tuple(members)
    return found
