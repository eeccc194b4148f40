"""Sites: where a unit's channels live in a tensor, an index table in its short form."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sirfp_opt._validate import IntArray, as_int
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Side", "Site"]

Side = Literal["in", "out"]


@dataclass(frozen=True)
class Site:
    """One dimension of a parameter or buffer at which a unit's channels live.

    Channel c of the unit is `repeat` positions of that dimension: the row c of an index
    table. A regular table is told by four numbers, ::

        table[c, r] = offset + c * step + r * stride,

    any other one is given row by row (`rows`).

    Parameters
    ----------
    tensor : str
        Its qualified name, as in ``named_parameters`` and ``named_buffers``:
        ``"stages.1.conv.weight"``, ``"pos_embed"``.
    dim : int or None
        The dimension. None: `tensor` names a *layer*, all of whose tensors on that
        `side` are meant; so plans of format 1 are read.
    channels : int
        How many positions there are, before pruning; the input channels of a grouped
        convolution are counted over all of its groups.
    side : "in" or "out"
        Whether the channels are read there (what a weight is summed over) or made.
    offset : int
        The first position of channel 0: what stands before it in a concatenation.
    repeat : int
        The positions of one channel: those of a flattened map; a query, a key and a
        value.
    step : int
        From one channel to the next; 0, the default, stands for `repeat`.
    stride : int
        From one position of a channel to its next.
    rows : sequence of sequences of int, optional
        The table itself; `offset`, `repeat`, `step` and `stride` are not used then.

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt.network.sites import Site
    >>> Site("fc.weight", 1, 12, "in", repeat=4).positions(np.array([0, 2]))
    array([ 0,  1,  2,  3,  8,  9, 10, 11])
    >>> site = Site.of_table("qkv.weight", 0, 6, [[0, 2, 4], [1, 3, 5]])
    >>> site.offset, site.step, site.repeat, site.stride
    (0, 1, 3, 2)
    """

    tensor: str
    dim: int | None
    channels: int
    side: Side = "out"
    offset: int = 0
    repeat: int = 1
    step: int = 0
    stride: int = 1
    rows: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.side not in ("in", "out"):
            raise InvalidProblemError(
                f"`side` must be 'in' or 'out', got {self.side!r}. "
                "Channels are read or made where they live."
            )
        if not isinstance(self.tensor, str):
            raise InvalidProblemError(
                f"`tensor` must be the name of a parameter or buffer, got "
                f"{self.tensor!r}. Pass for instance 'conv1.weight'."
            )
        if self.dim is not None:
            as_int(self.dim, "dim", least=0)
        as_int(self.channels, "channels", least=1)
        as_int(self.offset, "offset", least=0)
        as_int(self.repeat, "repeat", least=1)
        as_int(self.stride, "stride", least=1)
        if self.step == 0:
            object.__setattr__(self, "step", self.repeat)
        as_int(self.step, "step", least=1)
        if self.rows is not None:
            object.__setattr__(self, "rows", _as_rows(self.rows))

    @classmethod
    def of_layer(
        cls,
        layer: str,
        side: Side,
        channels: int,
        offset: int = 0,
        repeat: int = 1,
    ) -> Site:
        """Return the site that stands for all of a layer's tensors on one side."""
        return cls(layer, None, channels, side, offset, repeat)

    @classmethod
    def of_table(
        cls,
        tensor: str,
        dim: int | None,
        channels: int,
        table: Any,
        side: Side = "out",
    ) -> Site:
        """Return the site of an index table, one row a channel, in its short form.

        Parameters
        ----------
        tensor, dim, channels, side
            As for `Site`.
        table : array_like of int, (unit's channels, positions of one)
            A one-dimensional table has one position a channel.
        """
        rows = np.asarray(table)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "iu":
            raise InvalidProblemError(
                f"`table` must be a table of positions, one row a channel, got an "
                f"array of shape {rows.shape} and type {rows.dtype}. "
                "Pass for instance [[0, 4], [1, 5]]."
            )
        size, repeat = rows.shape
        offset = int(rows[0, 0])
        stride = int(rows[0, 1]) - offset if repeat > 1 else 1
        step = int(rows[1, 0]) - offset if size > 1 else repeat
        regular = min(step, stride) > 0 and offset >= 0
        if (
            regular
            and _apart(size, repeat, step, stride)
            and np.array_equal(rows, _regular(size, offset, repeat, step, stride))
        ):
            return cls(tensor, dim, channels, side, offset, repeat, step, stride)
        return cls(tensor, dim, channels, side, rows=rows)  # type: ignore[arg-type]

    @property
    def layer(self) -> str:
        """The module that holds the tensor."""
        return self.tensor if self.dim is None else self.tensor.rpartition(".")[0]

    @property
    def contiguous(self) -> bool:
        """Whether the channels follow each other: only `offset` and `repeat` matter."""
        near = self.repeat == 1 or self.stride == 1
        return self.rows is None and near and self.step == self.repeat

    def table(self, size: int) -> IntArray:
        """Return the index table, (size, positions of one channel).

        Parameters
        ----------
        size : int
            The unit's channels.
        """
        if self.rows is not None:
            return np.array(self.rows, dtype=np.int64)
        return _regular(size, self.offset, self.repeat, self.step, self.stride)

    def positions(self, channels: IntArray) -> IntArray:
        """Return the positions of some of the unit's channels, in their order."""
        if self.rows is not None:
            return self.table(len(self.rows))[channels].ravel()
        rows = np.asarray(channels, dtype=np.int64)[:, None] * self.step
        return (self.offset + rows + np.arange(self.repeat) * self.stride).ravel()

    def fits(self, size: int) -> bool:
        """Whether each of `size` channels has positions of its own, within the site."""
        if self.rows is not None:
            flat = [p for row in self.rows for p in row]
            own = len(self.rows) == size and len(set(flat)) == len(flat)
            return own and max(flat) < self.channels
        ahead = (self.repeat - 1) * self.stride  # of a channel's first position
        last = self.offset + (size - 1) * self.step + ahead
        own = _apart(size, self.repeat, self.step, self.stride)
        return own and last < self.channels

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is as by default is left out."""
        data: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name in ("tensor", "dim", "channels")
            or getattr(self, field.name) != field.default
        }
        if self.step == self.repeat:
            data.pop("step", None)
        if self.rows is not None:
            data.pop("rows")
            data["runs"] = [len(self.rows), *_runs(self.table(0).ravel())]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Site:
        """Read what `to_dict` has written."""
        values = dict(data)
        runs = values.pop("runs", None)
        if runs is not None:
            size = as_int(runs[0], "runs", least=1)
            if sum(count for _, count, _ in runs[1:]) > values["channels"]:
                raise ValueError("more positions than the site has")
            flat = np.concatenate(
                [first + step * np.arange(count) for first, count, step in runs[1:]]
            )
            values["rows"] = flat.reshape(size, -1).tolist()
        return cls(**values)


def _as_rows(rows: Any) -> tuple[tuple[int, ...], ...]:
    try:
        table = np.asarray(rows)
    except ValueError:  # rows of several lengths
        table = np.zeros(0)
    if table.ndim != 2 or table.size == 0 or table.dtype.kind not in "iu":
        raise InvalidProblemError(
            "`rows` must be a table of positions, one row a channel, got "
            f"{str(rows)[:60]}. Every channel has equally many positions at a site."
        )
    if int(table.min()) < 0:
        raise InvalidProblemError(
            f"`rows` must hold positions from 0 on, got {int(table.min())}. "
            "Numbering starts at 0."
        )
    return tuple(tuple(row) for row in table.tolist())


def _apart(size: int, repeat: int, step: int, stride: int) -> bool:
    """Tell whether no two rows of a regular table meet, as far as is easily seen.

    Either one's positions end before the next one starts, or all the channels fit
    between two positions of one.
    """
    return (repeat - 1) * stride < step or (size - 1) * step < stride


def _regular(size: int, offset: int, repeat: int, step: int, stride: int) -> IntArray:
    rows = offset + np.arange(size, dtype=np.int64)[:, None] * step
    return rows + np.arange(repeat, dtype=np.int64) * stride


def _runs(flat: IntArray) -> list[list[int]]:
    """Cut a list of numbers into runs: first number, how many, from one to the next."""
    runs: list[list[int]] = []
    for value in flat.tolist():
        if runs and (
            runs[-1][1] == 1 or value == runs[-1][0] + runs[-1][1] * runs[-1][2]
        ):
            if runs[-1][1] == 1:
                runs[-1][2] = value - runs[-1][0]
            runs[-1][1] += 1
        else:
            runs.append([value, 1, 1])
    return runs
