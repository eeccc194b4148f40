"""Queries and keys that lost dimensions, refitted so that their logits change least."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.pytorch.extraction.bases import bases_of
from sirfp_opt.pytorch.extraction.logits import gram_pairs, watch_pair
from sirfp_opt.pytorch.refitting.bilinear import fit_logits
from sirfp_opt.pytorch.refitting.outcome import NOTHING, accepted, shares
from sirfp_opt.pytorch.refitting.records import HeldOut, Rows
from sirfp_opt.pytorch.refitting.report import LayerRefit
from sirfp_opt.pytorch.refitting.solve import Errors
from sirfp_opt.pytorch.refitting.turning import Cut, CutHead, Fold, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.hooks import RemovableHandle

    from sirfp_opt.pytorch.refitting.settings import Refit

__all__ = ["Logits"]

HELD = 1 << 23
"""Numbers that are held of one pair of layers: sums of products, sample by sample."""


class Logits:
    """Hooks on the original network that sum up what queries and keys are.

    Parameters
    ----------
    model : nn.Module
    cuts : sequence of Cut
        Without those that are left as they were cut.
    how : Refit
    skipping : bool
        Leave samples with NaN or inf out, instead of raising.

    Notes
    -----
    What stays of a head are s dimensions; which ones makes no difference, for the layer
    can make any others: it reads the same. So the head is taken to the basis in which
    few dimensions carry its logits, `bases_of`, and loses the weakest. Then, with S
    those that stay, queries Q_S M + 1 b' with the least Σ ‖Q K' - (Q_S M + 1 b') K_S'‖²
    over all samples, plus a ridge that pulls M to the identity, make up for what they
    can of the others (`fit_logits`; CORP, arXiv 2602.05243, without b and without the
    basis). Where a softmax reads the logits, K is about its mean over the tokens of
    each sample: what a whole row of logits has in common makes no difference.
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
        self.held = HeldOut(how.held_out)
        self._rows = {cut.pairing.name: (_rows_of(cut), _rows_of(cut)) for cut in cuts}
        self._trouble: set[str] = set()

    def __enter__(self) -> Self:
        for cut in self.cuts:
            self._hooks += watch_pair(cut.pairing, self._modules, self._taking(cut))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def begin(self, pictures: int) -> None:
        """Say how many pictures the next batch has."""
        self.held.begin(pictures)

    def _taking(self, cut: Cut) -> Any:
        pairing = cut.pairing
        numbers = [head.number for head in cut.heads]

        def take(queries: Tensor, keys: Tensor) -> None:
            if len(queries) != len(keys):
                self._trouble.add(pairing.name)
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
            held = self.held.among(len(rows))
            fitted, others = self._rows[pairing.name]
            fitted.add(rows[finite & ~held], self._generator)
            others.add(rows[finite & held], self._generator)

        return take

    def fit(
        self, cut: Cut, ranks: torch.device | None
    ) -> tuple[LayerRefit, Turn | None, Fold | None]:
        """Return what the report says of a pair, its bases, and the map of its queries.

        None of these where it is left as it was cut.

        Parameters
        ----------
        cut : Cut
        ranks : torch.device, optional
            Over the ranks of `torch.distributed`: every one must come here.
        """
        name, side = cut.pairing.name, cut.queries
        row = LayerRefit(name, "cut", reason=cut.reason)
        if cut.reason or side is None:
            return row, None, None
        seen = [*map(len, self._rows[name]), int(name in self._trouble)]
        counts = _total(torch.tensor(seen).double(), ranks).tolist()
        if counts[2] or not counts[0]:
            reason = "its keys are of other samples" if counts[2] else NOTHING
            return replace(row, reason=reason), None, None

        def total(values: Tensor) -> Tensor:
            return _total(values, ranks)

        bias = side.target.bias is not None
        sums = [
            [_unpacked(part, number, cut) for part in self._rows[name]]
            for number in range(len(cut.heads))
        ]
        bases = self._bases(cut, [fitted for fitted, _ in sums], total)
        maps, errors, held = {}, Errors(), Errors()
        for head, (fitted, others) in zip(cut.heads, sums, strict=True):
            new, basis = [], bases[head]
            for first, second in (fitted, others):
                one = torch.block_diag(basis[0], torch.ones(1, 1).to(first))  # type: ignore[no-untyped-call]
                new.append((one.T @ first @ one, basis[1].T @ second @ basis[1]))
            fit = fit_logits(
                *new[0],
                head.kept,
                head.gone,
                ridge=self.how.ridge,
                bias=bias,
                total=total,
            )
            errors += replace(fit.errors, before=_lost(*fitted, head, total))
            before = _lost(*others, head, total)
            held += replace(fit.judge(*new[1], total), before=before)
            maps[head] = (fit.matrix, fit.shift)
        row = LayerRefit(
            name,
            "logits",
            max(len(head.kept) * (len(head.kept) + bias) for head in cut.heads),
            int(counts[0]),
            *shares(errors),
            *(shares(held) if counts[1] else (None, None)),
            offset="bias" if bias else "none",
        )
        row = accepted(row, errors, held)
        if row.kind == "cut":
            return row, None, None
        return row, Turn(cut, bases), Fold(side, maps)

    def _bases(self, cut: Cut, sums: Any, total: Any) -> dict[CutHead, Any]:
        heads = cut.heads
        bases = bases_of(
            [cut.pairing.key_rows[head.number] for head in heads],
            total(torch.stack([first[:, :-1, :-1].sum(dim=0) for first, _ in sums])),
            total(torch.stack([second.sum(dim=0) for _, second in sums])),
            self.how.ridge,
            [[*head.kept, *head.gone] for head in heads],
        )
        return dict(zip(heads, bases, strict=True))


def _rows_of(cut: Cut) -> Rows:
    n = len(cut.pairing.query_rows[0])
    return Rows(max(16, HELD // (len(cut.heads) * ((n + 1) ** 2 + n**2))))


def _unpacked(rows: Rows, number: int, cut: Cut) -> tuple[Tensor, Tensor]:
    """Return Q'Q and K'K of one head, sample by sample."""
    n = len(cut.pairing.query_rows[0])
    if not len(rows):
        return torch.zeros(0, n + 1, n + 1).double(), torch.zeros(0, n, n).double()
    mine, size = rows.get()[:, number].double(), (n + 1) ** 2
    return (
        mine[:, :size].reshape(-1, n + 1, n + 1),
        mine[:, size:].reshape(-1, n, n),
    )


def _lost(first: Tensor, second: Tensor, head: CutHead, total: Any) -> float:
    """Return the square of what the logits lack without some dimensions."""
    gone = list(head.gone)
    return float(
        total((first[:, gone][:, :, gone] * second[:, gone][:, :, gone]).sum())
    )


def _total(values: Tensor, ranks: torch.device | None) -> Tensor:
    """Return the sum of all ranks."""
    if ranks is None:
        return values
    whole = values.to(ranks)
    dist.all_reduce(whole)
    return whole.to(values)
