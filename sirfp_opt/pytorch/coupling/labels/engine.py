"""Follow channels through one run of a network by labels that travel with them.

A network is run without gradients under a dispatch mode.  Every storage has a shadow of
integers, a label for each element, 0 for none.  Views and in-place writes need no rule,
since they share the storage and so the shadow; operations that copy elements are run on
the labels themselves; rules remain for arithmetic (`rules`, `products`).

Labels start at parameters: a *node* is a position of one side of a weight, or an
element of any other parameter or buffer.  Nodes whose labels end up in one class are
one channel: nothing is guessed from shapes, and no dimension is taken for the channels.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from sirfp_opt.pytorch.coupling.labels import internals
from sirfp_opt.pytorch.coupling.labels.classes import ELEMENT, INPUT, PLAIN, Classes
from sirfp_opt.pytorch.coupling.labels.grids import Grid, laid_out, taken_apart
from sirfp_opt.pytorch.coupling.labels.internals import storage_key
from sirfp_opt.pytorch.coupling.labels.layouts import distinct
from sirfp_opt.pytorch.coupling.labels.records import (
    Call,
    Node,
    Param,
    Score,
    Step,
    place_of_user,
)
from sirfp_opt.pytorch.coupling.labels.running import Running
from sirfp_opt.pytorch.coupling.labels.shadows import Shadows, compact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.sites import Side
    from sirfp_opt.pytorch.coupling.labels.joins import Sets

__all__ = ["Tracker", "trace"]

LARGE = 1 << 22
"""Elements of a bare parameter above which it is not followed one by one."""

TAKEN = "_local_scalar_dense"
"""What takes a number out of a tensor: `bool`, `float`, `.item()`."""

BYTES = "its bytes are reinterpreted"

VIEWS = {
    "resize_", "set_", "detach_", "as_strided_", "squeeze_", "unsqueeze_",
    "transpose_", "t_", "requires_grad_", "swapaxes_", "rename_",
}  # fmt: skip
"""In-place operations that change no element."""


def trace(
    model: nn.Module,
    runs: Sequence[tuple[Any, Callable[[Any], Any]]],
    *,
    accepts: Callable[[nn.Module], bool] | None = None,
) -> Tracker:
    """Follow the channels of a network through forward passes.

    Parameters
    ----------
    model : nn.Module
        The network, in the mode to run it in; not changed.
    runs : sequence of (inputs, callable)
        ``run(inputs)`` calls the network and returns its outputs. What several runs
        show is united: a head that only one of them takes, another input size.
    accepts : callable, optional
        Tells whether a module normalises across channels in a way that surgery keeps
        exact when some of them go. By default no module does.

    Returns
    -------
    Tracker

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> found = trace(net, [(torch.rand(1, 3, 5, 5), net)])
    >>> label = {(n.name, n.dim): n.start for n in found.nodes}
    >>> roots = found.classes.all_roots()
    >>> bool(roots[label["0.weight", 0]] == roots[label["2.weight", 1]])
    True
    """
    tracker = Tracker(model, accepts or (lambda module: False))
    with internals.eagerly(), torch.no_grad():
        for inputs, run in runs:
            tracker.follow(inputs, run)
    return tracker


class Tracker(internals.DispatchMode):
    """The dispatch mode under which a network runs; holds what was seen.

    Attributes
    ----------
    classes : Classes
        Which labels are one channel.
    nodes : list of Node
        Where labels started.
    steps : list of list of Step
        What each operation did, by run.
    grids : list of Grid
        Channels laid out in rows and columns.
    read : list of ndarray
        Labels that something reads: a product, a sum.
    sets : list of Sets
        Labels that belong to one head, or are normalised together.
    products : dict of int to str
        By label of a head: the module that multiplies its channels.
    scores : list of Score
        Products of two activations over channels of both.
    counted : list of (str, int, ndarray)
        Norms of a fixed number of channels: the module, which of the normalised
        dimensions, the label of each position.
    spread : list of (Tensor, Tensor, str)
        Bare parameters that are broadcast over several channels each: their labels,
        those of the channels, the module.
    taken : dict of str to None
        Modules whose code takes a number out of what it computes, and goes by it.
    """

    def __init__(self, model: nn.Module, accepts: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        from sirfp_opt.pytorch.coupling.labels.rules import apply

        self._apply = apply
        self.accepts = accepts
        self.classes = Classes()
        self.shadows = Shadows()
        self.nodes: list[Node] = []
        self.steps: list[list[Step]] = []
        self.grids: list[Grid] = []
        self.read: list[IntArray] = []
        self.sets: list[Sets] = []
        self.heads: dict[tuple[int, ...], int] = {}
        self.products: dict[int, str] = {}
        self.scores: list[Score] = []
        self.counted: list[tuple[str, int, IntArray]] = []
        self.spread: list[tuple[Tensor, Tensor, str]] = []
        self.taken: dict[str, None] = {}
        self._data = WeakIdKeyDictionary()  # what the network's input has gone into
        self.modules = dict(model.named_modules())
        self._running = Running(model)
        self.params: dict[int, Param] = {}
        self._find_params(model)

    def _find_params(self, model: nn.Module) -> None:
        named = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]
        for name, tensor in named:
            if not tensor.is_floating_point() or not tensor.dim():
                continue
            if tensor.layout is not torch.strided or not tensor.numel():
                continue
            layer = name.rpartition(".")[0]
            param = Param(name, tensor.detach(), _why_fixed(self.modules[layer]))
            known = self.params.setdefault(storage_key(tensor), param)
            if known is not param and not known.same_as(tensor):
                known.why_fixed = f"it shares its memory with {name!r}"

    @property
    def where(self) -> str:
        """The module that runs."""
        return self._running.where

    # -- running ----------------------------------------------------------------

    def follow(self, inputs: Any, run: Callable[[Any], Any]) -> None:
        """Run the network once on `inputs`, whose own channels stay."""
        self.shadows.sweep()
        self.steps.append([])
        for tensor in pytree.tree_leaves(inputs):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                ones = torch.full((1,) * tensor.dim(), INPUT)
                self.shadows.put(tensor, ones)
                self._data[tensor] = True
        with self._running.watching(), self:
            outputs = run(inputs)
        if hasattr(outputs, "__dataclass_fields__") and not isinstance(outputs, dict):
            outputs = vars(outputs)
        for tensor in pytree.tree_leaves(outputs):
            if isinstance(tensor, Tensor):
                label = self.get(tensor)
                self.classes.fix(label, "", "the network's output")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():
            with self:  # composite operations are not taken apart before they come here
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        name = internals.name_of(func)
        leaves = pytree.tree_leaves((args, kwargs))
        given = [leaf for leaf in leaves if _is_tensor(leaf)]
        keys = {storage_key(tensor) for tensor in given}
        target = kwargs.get("out")
        if target is None and name.endswith("_") and not name.startswith("__"):
            target = args[0] if name not in VIEWS else None
        if isinstance(target, (list, tuple)):
            target = target[0] if target else None
        followed = not keys.isdisjoint(self.params) or any(
            self.shadows.find(tensor) is not None for tensor in given
        )
        labels: Sequence[Tensor | None] = ()
        if target is not None:  # before the run: the rule reads what stands there
            call = self._call(name.rstrip("_"), func, args, kwargs, given, target)
            if followed:
                labels = self._apply(self, call)
            self._log(call, labels, followed=followed)
            if followed:
                self._write(target, labels[0])
            self._note_data(name, given, [target])
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        results = pytree.tree_leaves(result)
        made = [leaf for leaf in results if _is_tensor(leaf)]
        call = self._call(name, func, args, kwargs, given, made[0] if made else None)
        if any(isinstance(t, Tensor) and t.is_nested for t in (*leaves, *results)):
            for tensor in given:
                why = f"its channels cannot be followed through nested tensors ({name})"
                self.fix(self.get(tensor), call, why)
            return result
        self._note_data(name, given, made)
        if all(storage_key(tensor) in keys for tensor in made):  # a view, or a number
            if not (made and followed and self._view(call, made)):
                self._log(call, followed=False)
            return result
        if followed:
            labels = self._apply(self, call)
        self._log(call, labels, followed=followed)
        for tensor, label in zip(made, chain(labels, repeat(None)), strict=False):
            self.shadows.put(tensor, label)
        return result

    def _note_data(self, name: str, given: list[Tensor], made: list[Tensor]) -> None:
        """Follow what is computed from the input, labelled or not, to where it ends."""
        if any(tensor in self._data for tensor in given):
            self._data.update((tensor, True) for tensor in made)
            if name == TAKEN:
                self.taken[self.where] = None

    def _call(
        self, name: str, func: Any, args: Any, kwargs: Any, given: Any, out: Any
    ) -> Call:
        return Call(name, func, args, kwargs, given, out, self.where)

    def _log(
        self, call: Call, labels: Sequence[Tensor | None] = (), *, followed: bool = True
    ) -> None:
        label = labels[0] if labels else None
        touched = np.zeros(0, np.int64)
        if followed:
            seen = [self.get(tensor, quiet=True) for tensor in call.tensors]
            some = [one.flatten() for one in [*seen, label] if one is not None]
            touched = distinct(torch.cat(some).numpy()) if some else touched
        line, owner = place_of_user()
        shape = () if call.out is None else tuple(call.out.shape)
        small = label if label is None or label.numel() <= 1 << 16 else None
        if label is None and call.name in ("clone", "_to_copy"):
            followed = False  # perhaps of a weight
        self.steps[-1].append(
            Step(call.name, call.where, line, touched, small, shape, followed, owner)
        )

    def _view(self, call: Call, made: list[Tensor]) -> bool:
        """Note what a view takes apart; its labels are those of the storage."""
        source, name = call.tensors[0], call.name
        if storage_key(source) in self.params and self.shadows.find(source) is None:
            return False
        before, after = self.get(source), self.get(made[0])
        self._log(call, [after])
        if before is None or after is None:
            return True
        if after.dim() > before.dim() or name in ("view", "_unsafe_view"):
            self._grid(laid_out(after))
        elif name in ("split", "split_with_sizes", "slice", "chunk", "narrow"):
            self._grid(taken_apart(call, before, [self.get(part) for part in made]))
        return True

    def _grid(self, labels: Tensor | None) -> None:
        if labels is None or labels.numel() > 1 << 16:
            return
        if self.classes.kinds(labels) == {PLAIN}:
            self.grids.append(Grid(self.where, labels.numpy().copy()))

    # -- labels -----------------------------------------------------------------

    def get(self, tensor: Tensor, *, quiet: bool = False) -> Tensor | None:
        """Return a tensor's labels: int64, of size 1 where they do not vary.

        A parameter that is asked for so is a bare one, used as it is. With `quiet` it
        is left alone.
        """
        shadow = self.shadows.find(tensor)
        if shadow is None:
            param = self.params.get(storage_key(tensor))
            if param is None or quiet:
                return None
            self._lay_bare(param)
            shadow = self.shadows.find(tensor)
            if shadow is None:
                return None
        label = shadow.read(tensor)
        if label is None:  # seen as numbers of another width
            self.classes.fix(shadow.label, self.where, BYTES)
            return None
        if tensor.is_complex() and shadow.width < tensor.element_size():
            other = shadow.read(tensor, 1)  # both parts are one number
            if other is not None:
                self.classes.unite(label, other)
        label = compact(self.classes.find(label))
        return label if bool((label > 0).any()) else None

    def _lay_bare(self, param: Param) -> None:
        """Give each element of a parameter a label of its own."""
        for node in param.axes.values():
            labels = node.start + torch.arange(node.size)
            why = "its weight is used as a matrix, and otherwise"
            self.classes.fix(labels, param.name.rpartition(".")[0], why)
        param.bare = True
        if param.tensor.numel() > LARGE:
            start = self.classes.fresh(1, ELEMENT)
            label = torch.full((1,) * param.tensor.dim(), start)
            why = f"{param.name} is too large to be followed element by element"
            self.classes.fix(label, param.name.rpartition(".")[0], why)
        else:
            node = self._node(param, None, tuple(param.tensor.shape))
            label = node.start + torch.arange(node.size).view(node.shape)
        self.shadows.put(param.tensor, label)

    def axis(self, param: Param, dim: int, size: int, side: Side = "out") -> Tensor:
        """Return the labels of the positions along one dimension of a weight."""
        if dim not in param.axes:
            param.axes[dim] = self._node(param, dim, (size,), side)
        node = param.axes[dim]
        return self.classes.find(node.start + torch.arange(node.size))

    def _node(
        self, param: Param, dim: int | None, shape: tuple[int, ...], side: Side = "out"
    ) -> Node:
        size = int(np.prod(shape))
        kind = ELEMENT if dim is None else PLAIN
        node = Node(param.name, dim, self.classes.fresh(size, kind), shape, side)
        self.nodes.append(node)
        if param.why_fixed:
            layer = param.name.rpartition(".")[0]
            self.classes.fix(node.start + torch.arange(size), layer, param.why_fixed)
        return node

    def param_of(self, tensor: Tensor) -> Param | None:
        """Return the parameter that a tensor is, or is a part of."""
        param = self.params.get(storage_key(tensor))
        return None if param is None or param.bare else param

    def put_alias(self, tensor: Tensor, param: Param) -> None:
        """Let a converted copy of a whole weight stand for the weight."""
        twin = Param(param.name, tensor, param.why_fixed, axes=param.axes)
        self.params[storage_key(tensor)] = twin

    def _write(self, target: Tensor, label: Tensor | None) -> None:
        shadow = self.shadows.find(target)
        if shadow is None and storage_key(target) in self.params:
            return  # a buffer that the network writes: its old value is gone
        if shadow is None:
            if label is None:
                return
            if target.numel() * target.element_size() == (
                target.untyped_storage().nbytes()
            ):
                self.shadows.put(target, label)
                return
            self.shadows.put(target, torch.zeros((1,) * target.dim(), dtype=torch.long))
            shadow = self.shadows.find(target)
            assert shadow is not None
        blank = torch.zeros((1,) * target.dim(), dtype=torch.long)
        if not shadow.write(target, blank if label is None else label):
            for one in (shadow.label, label):
                self.classes.fix(one, self.where, BYTES)

    def reads(self, label: Tensor | None) -> None:
        """Note that something reads these labels."""
        if label is not None:
            self.read.append(distinct(label.numpy()))

    def fix(self, label: Tensor | None, call: Call, why: str) -> None:
        """Note that labels stay because of what an operation does."""
        self.classes.fix(label, call.where, why)


def _is_tensor(leaf: Any) -> bool:
    """Tell whether labels can be given: nested tensors have no sizes of their own."""
    return isinstance(leaf, Tensor) and not leaf.is_nested


def _why_fixed(module: nn.Module) -> str:
    """Return why the parameters of a module are not cut; empty if they may be."""
    if type(module).__name__ == "ParametrizationList":
        return "its weight is computed from other parameters"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return f"{type(module).__name__} is a layer whose channels are not cut"
    return ""
