"""What a refit did to each layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["LayerRefit", "RefitReport"]


@dataclass(frozen=True)
class LayerRefit:
    """One layer that reads pruned channels, or two that make queries and keys.

    Attributes
    ----------
    layer : str
        Its name; ``"q @ k"`` for queries and keys that lost dimensions.
    kind : {"full", "merge", "logits", "cut"}
        How it was refitted: "logits", the layer of the queries, so that their products
        with the keys change least; "cut": not at all.
    unknowns : int
        Free weights to one output.
    rows : int
        Positions that the fit rests on; of logits, samples.
    before, after : float or None
        Mean square of the error of its outputs, or of the logits, as they were cut, and
        refitted, as a share of their variance, when it reads what it read in the
        original network, or what it reads in the cut one: see `RefitReport.inputs`.
        On the pictures of the fit: all rows where sums tell, else a sample of them.
        Without their means where a norm takes these out.
    held_before, held_after : float or None
        The same on a sample of positions of pictures that were held out.
    offset : {"bias", "norm", "none"}
        What takes up the means of the channels that are gone: its bias, the running
        mean of the norm behind it, or nothing. Without any, weights are fitted to make
        up for the means as well as they can.
    reason : str
        Why it was left as cut, merged where every weight was to be free, or fitted to
        inputs of the original network where others were to be taken.
    """

    layer: str
    kind: str
    unknowns: int = 0
    rows: int = 0
    before: float | None = None
    after: float | None = None
    held_before: float | None = None
    held_after: float | None = None
    offset: str = "none"
    reason: str = ""


@dataclass(frozen=True)
class RefitReport:
    """What `refit` did.

    Attributes
    ----------
    settings : dict
        The `Refit`, as plain values.
    layers : tuple of LayerRefit
        Every layer that lost inputs, in the network's order, and every pair of layers
        whose queries and keys lost dimensions.
    pictures, held_out : int
        Samples seen, and how many of them only judged.
    norms : int
        Batch norms whose statistics were corrected, or re-estimated.
    inputs : {"original", "cut"}
        Which inputs the readers were fitted to.
    passes : tuple of int
        How often the original network was run over the pictures for the fit, and the
        cut one, where that was up to the layers in question; those for the batch
        norms are not among them.
    seconds : dict of str to float
        By stage.
    """

    settings: dict[str, Any]
    layers: tuple[LayerRefit, ...]
    pictures: int = 0
    held_out: int = 0
    norms: int = 0
    inputs: str = "original"
    passes: tuple[int, int] = (1, 0)
    seconds: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> LayerRefit:
        return next(row for row in self.layers if row.layer == layer)

    def __str__(self) -> str:
        done = [row for row in self.layers if row.kind != "cut"]
        head = (
            f"{len(done)} of {len(self.layers)} layers refitted on "
            f"{self.pictures - self.held_out} pictures"
        )
        if self.held_out:
            head += f", {self.held_out} held out"
        if self.inputs == "cut":
            head += f", one after the other in {sum(self.passes)} passes"
        if self.norms:
            head += f"; {self.norms} batch norms {self.settings['batch_norms']}"
        lines = [head]
        width = max((len(row.layer) for row in self.layers), default=5)
        if self.layers:
            lines.append(
                f"{'layer':{width}}  kind   unknowns   error   refit   held out   refit"
            )
        for row in self.layers:
            figures = "".join(
                f"{'–' if value is None else format(value, '.4f'):>{room}}"
                for value, room in (
                    (row.before, 8),
                    (row.after, 8),
                    (row.held_before, 11),
                    (row.held_after, 8),
                )
            )
            reason = f"  ({row.reason})" if row.reason else ""
            lines.append(
                f"{row.layer:{width}}  {row.kind:6}{row.unknowns:9}{figures}{reason}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings and numbers."""
        return asdict(self)
