"""The dependency graph of a network, read through Torch-Pruning.

Torch-Pruning follows autograd from the outputs back to the layers and says which
channels of which layers go together (G. Fang et al., *DepGraph: Towards Any Structural
Pruning*, CVPR 2023, doi:10.1109/CVPR52729.2023.01544).  This module runs it on a copy
of the network and turns each of its groups into plain positions by layer name, with
the operations on the way; `coupling` decides what may be pruned.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch_pruning._helpers import _HybridIndex
from torch_pruning.dependency import index_mapping

from sirfp_opt.errors import SirfpError, UnsupportedError
from sirfp_opt.pytorch.batches import Forward, evaluating, outputs_of, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt._validate import IntArray
    from sirfp_opt.network.plan import Side

__all__ = ["Group", "Operation", "Touch", "Tracer", "is_depthwise"]

OPTYPE = tp.ops.OPTYPE
OUTPUT = "the network's output"
UNUSED = "made, but no output depends on them"


@dataclass(frozen=True)
class Touch:
    """A layer's positions that a group's channels are: ``rows[c]`` for channel c."""

    layer: str
    module: nn.Module
    side: Side
    channels: IntArray
    positions: IntArray


@dataclass(frozen=True)
class Operation:
    """An operation without parameters, or a raw parameter, that a group passes."""

    kind: Literal["op", "parameter", "input", "output", "lost"]
    name: str
    after: str
    grad_fn: Any = None


@dataclass
class Group:
    """Everything that follows from removing output channels of one layer."""

    root: str
    size: int
    touches: list[Touch] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)


class _Traced(nn.Module):
    """A network behind one identity layer for each input.

    Torch-Pruning does not see the network's inputs.  With a layer in their place, a
    residual add with an input is a coupling like any other, and a concatenation with
    one has the right offsets.
    """

    def __init__(self, model: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.model = model
        self.inputs = nn.ModuleList()
        self._forward = forward
        self.output_grads: list[Any] = []
        self.made: list[Tensor] = []
        self.unused_grads: set[Any] = set()

    def add_input(self, tensor: Tensor) -> nn.Module:
        """Return an identity layer for an input of such a shape."""
        # Made without a random start: the user's generator is not to move.
        identity: nn.Conv2d | nn.Linear
        if tensor.dim() == 4:
            identity = nn.Conv2d(1, 1, 1, bias=False, device="meta")
            width = identity.in_channels = identity.out_channels = tensor.shape[1]
            eye = torch.eye(width)[:, :, None, None]
        else:
            identity = nn.Linear(1, 1, bias=False, device="meta")
            width = identity.in_features = identity.out_features = tensor.shape[-1]
            eye = torch.eye(width)
        identity.weight = nn.Parameter(eye)
        self.inputs.append(identity.to(tensor.device, tensor.dtype))
        return identity

    def forward(self, *leaves: Any) -> list[Tensor]:
        """Pass the inputs through their identities, and on to the network."""
        layers = iter(self.inputs)
        shaped = [next(layers)(leaf) if _is_map(leaf) else leaf for leaf in leaves]
        batch = pytree.tree_unflatten(shaped, self.spec)
        outputs = outputs_of(run(self.model, batch, self._forward))
        outputs = [tensor for tensor in outputs if tensor.grad_fn is not None]
        self.output_grads = [tensor.grad_fn for tensor in outputs]
        return outputs + self._unused()

    def _unused(self) -> list[Tensor]:
        """Return what layers have made that no output depends on.

        An auxiliary head that is run for nothing reads channels all the same.
        """
        if not self.output_grads:
            return []
        reached: set[Any] = set()
        _reach(self.output_grads, reached)
        unused = []
        for tensor in reversed(self.made):
            if tensor.grad_fn not in reached:
                unused.append(tensor)
                _reach([tensor.grad_fn], reached)
        self.made.clear()
        self.unused_grads = {tensor.grad_fn for tensor in unused}
        return unused

    spec: Any = None


def _reach(grad_fns: list[Any], reached: set[Any]) -> None:
    """Add to `reached` all that goes into these."""
    stack = [grad_fn for grad_fn in grad_fns if grad_fn not in reached]
    reached.update(stack)
    while stack:
        for source, _ in stack.pop().next_functions:
            if source is not None and source not in reached:
                reached.add(source)
                stack.append(source)


def _is_map(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() >= 2


class Tracer:
    """A traced copy of a network.

    Parameters
    ----------
    model : nn.Module
        The network; a copy is traced.
    example : Any
        One batch, on the model's device.
    forward : callable, optional
        How the network is called.

    Raises
    ------
    UnsupportedError
        If the network cannot be copied or run, or no output depends on a parameter.
    """

    def __init__(
        self, model: nn.Module, example: Any, forward: Forward | None = None
    ) -> None:
        try:
            model = copy.deepcopy(model)
        except Exception as error:
            raise UnsupportedError(
                f"`model` must be copyable by copy.deepcopy, got {error!r}. "
                "Remove cached tensors and unpicklable members before pruning."
            ) from error
        leaves, spec = pytree.tree_flatten(example)
        self.wrapper = _Traced(model, forward)
        self.wrapper.spec = spec
        for leaf in leaves:
            if _is_map(leaf):
                self.wrapper.add_input(leaf)
        for parameter in self.wrapper.parameters():
            # Frozen layers would vanish from a graph that is read off autograd.
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        self.names: dict[Any, str] = {m: name for name, m in model.named_modules()}
        self._parameter_names = {id(p): name for name, p in model.named_parameters()}
        self._made_by: dict[Any, nn.Module] = {}
        hooks = [m.register_forward_hook(self._record) for m in model.modules()]
        try:
            with evaluating(self.wrapper), torch.enable_grad():
                self._build(tuple(leaves))
        except SirfpError:
            raise
        except Exception as error:
            raise UnsupportedError(
                "`model` must run on the first batch and be traced by autograd, "
                f"got {type(error).__name__}: {error}. Try it by hand first: "
                "model(batch), or pass `forward`."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        if not self.wrapper.output_grads:
            raise UnsupportedError(
                "`model` must return a floating-point tensor that depends on its "
                "parameters, got none (an argmax, or outputs under no_grad?). "
                "Pass `forward` that returns the scores."
            )
        self._widest = max(
            (max(p.shape) for p in model.parameters() if p.dim() > 0), default=0
        )
        self.output_layers = {
            self.names[self._made_by[grad_fn]]: what
            for grad_fns, what in (
                (self.wrapper.unused_grads, UNUSED),
                (self.wrapper.output_grads, OUTPUT),
            )
            for grad_fn in grad_fns
            if grad_fn in self._made_by
        }

    def _build(self, leaves: tuple[Any, ...]) -> None:
        """Run and trace; where the channels' way through a view is not found, note it.

        Torch-Pruning divides channels by channels in a reshape, and stops the whole
        trace where that fails.
        """
        self.unmapped: set[Any] = set()
        self.graph = tp.DependencyGraph()
        try:
            self.graph.build_dependency(
                self.wrapper,
                leaves,
                forward_fn=lambda wrapper, args: wrapper(*args),
                unwrapped_parameters=[],
                verbose=False,
            )
        except ArithmeticError:
            for node in self.graph.module2node.values():
                for dependency in node.dependencies:
                    dependency.index_mapping = [None, None]
            for node in self.graph.module2node.values():
                if node.type not in _MAPPINGS:
                    continue
                try:
                    _MAPPINGS[node.type](self.graph, node)
                except ArithmeticError:
                    self.unmapped.add(node)

    def _record(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.grad_fn is not None:
            # The innermost layer of a nest comes first: that is the maker.
            self._made_by.setdefault(output.grad_fn, module)
            if not any(module.children()):
                self.wrapper.made.append(output)

    def input_groups(self) -> Iterator[Group]:
        """Yield the groups that hang on the network's inputs."""
        for module in self.wrapper.inputs:
            if module in self.graph.module2node:
                yield self._group(module, "")

    def layers(self) -> list[tuple[str, nn.Module, int]]:
        """List the layers that make channels: (name, module, channels)."""
        out: list[tuple[str, nn.Module, int]] = []
        for module, name in self.names.items():
            if module not in self.graph.module2node:
                continue
            if isinstance(module, nn.modules.conv._ConvNd):
                if not is_depthwise(module):
                    out.append((name, module, module.out_channels))
            elif isinstance(module, nn.Linear):
                out.append((name, module, module.out_features))
        return out

    def group(self, name: str, module: nn.Module) -> Group:
        """Return what goes with the output channels of a layer."""
        return self._group(module, name)

    def _group(self, module: nn.Module, name: str) -> Group:
        pruner = self.graph.get_pruner_of_module(module)
        size = int(pruner.get_out_channels(module))
        group = Group(root=name, size=size)
        seen: set[int] = set()
        found, lost = self._closure(module, size)
        for (node, handler), pairs in found.items():
            if node.module in self.names and node.type in LAYER_TYPES:
                side: Side = "in" if "_in_" in handler.__name__ else "out"
                table = np.array(sorted(pairs), dtype=np.int64)
                group.touches.append(
                    Touch(
                        layer=self.names[node.module],
                        module=node.module,
                        side=side,
                        channels=table[:, 1],
                        positions=table[:, 0],
                    )
                )
            elif id(node) not in seen:
                seen.add(id(node))
                if not self._is_own_product(node.grad_fn):
                    group.operations.append(self._operation(node))
        lost += [node for node, _ in found if node in self.unmapped]
        for node in lost:  # last: a rule that knows the operation says more
            group.operations.append(replace(self._operation(node), kind="lost"))
        return group

    def _closure(
        self, module: nn.Module, size: int
    ) -> tuple[dict[tuple[Any, Any], set[_HybridIndex]], list[Any]]:
        """Follow the dependencies from a layer's outputs until nothing new comes.

        Returns, for each node and way of cutting it, the pairs (position there,
        channel of the layer), and the nodes where the trail was lost.
        Torch-Pruning's own walk compares whole lists of
        positions and does not end on some networks; pairs are finitely many.
        """
        graph = self.graph
        root = graph.module2node[module]
        start = (root, graph.get_pruner_of_module(module).prune_out_channels)
        found = {start: {_HybridIndex(i, i) for i in range(size)}}
        work = [(start, list(found[start]))]
        lost: list[Any] = []
        while work:
            (node, handler), news = work.pop()
            for dependency in node.dependencies:
                if not dependency.is_triggered_by(handler):
                    continue
                pairs = news
                try:
                    for mapping in dependency.index_mapping:
                        pairs = pairs if mapping is None else mapping(pairs)
                except IndexError:  # a split of which not all parts are used
                    lost.append(dependency.source)
                    continue
                key = (dependency.target, dependency.handler)
                before = found.get(key, set())
                if len(before) > self._room(*key):  # two channels at one position
                    lost.append(dependency.source)
                    continue
                fresh = set(pairs) - before
                if fresh:
                    found.setdefault(key, set()).update(fresh)
                    # A position that no layer has is wrong, and leads nowhere.
                    work.append((key, [p for p in fresh if p.idx < self._widest]))
        return found, lost

    def _room(self, node: Any, handler: Any) -> int:
        """Return how many positions a node can have."""
        if node.module not in self.names:
            return self._widest
        pruner = self.graph.get_pruner_of_module(node.module)
        reads = "_in_" in handler.__name__
        count = (pruner.get_in_channels if reads else pruner.get_out_channels)(
            node.module
        )
        return self._widest if count is None else int(count)

    def _is_own_product(self, grad_fn: Any) -> bool:
        """Tell whether a matrix product is the inside of a linear layer.

        On inputs of more than two dimensions autograd shows a linear layer as a
        product between reshapes, the last of which passes for the layer.
        """
        if not re.match(r"(Mm|Addmm|Bmm)Backward", getattr(grad_fn, "name", str)()):
            return False
        sources = [source for source, _ in grad_fn.next_functions if source is not None]
        further = [f for s in sources for f, _ in s.next_functions if f is not None]
        leaves = {id(getattr(f, "variable", None)) for f in [*sources, *further]}
        return any(
            id(module.weight) in leaves and module in self.graph.module2node
            for module in self.names
            if isinstance(module, nn.Linear)
        )

    def _operation(self, node: Any) -> Operation:
        after = self._nearest(node)
        if any(node.module is layer for layer in self.wrapper.inputs):
            return Operation("input", "the network's input", after)
        if node.type == OPTYPE.PARAMETER:
            name = self._parameter_names.get(id(node.module), "a parameter")
            return Operation("parameter", name, after)
        if node.module in self.names:
            name = type(node.module).__name__
            return Operation("op", name, self.names[node.module])
        if node.type == OPTYPE.OUTPUT or node.grad_fn in self.wrapper.output_grads:
            unused = node.grad_fn in self.wrapper.unused_grads
            what = UNUSED if unused else OUTPUT
            return Operation("output", what, after, node.grad_fn)
        name = node.grad_fn.name() if hasattr(node.grad_fn, "name") else "unknown"
        return Operation("op", name, after, node.grad_fn)

    def _nearest(self, node: Any) -> str:
        """Name the layer upstream that is fewest operations away."""
        queue, seen = [node], {id(node)}
        for current in queue:
            if current.module in self.names:
                return self.names[current.module]
            for source in current.inputs:
                if id(source) not in seen:
                    seen.add(id(source))
                    queue.append(source)
        return ""


_MAPPINGS = {
    OPTYPE.CONCAT: index_mapping.update_concat_index_mapping,
    OPTYPE.SPLIT: index_mapping.update_split_index_mapping,
    OPTYPE.RESHAPE: index_mapping.update_reshape_index_mapping,
    OPTYPE.UNBIND: index_mapping.update_unbind_index_mapping,
    OPTYPE.EXPAND: index_mapping.update_expand_index_mapping,
    OPTYPE.SLICE: index_mapping.update_slice_index_mapping,
}

LAYER_TYPES = {
    OPTYPE.CONV,
    OPTYPE.DEPTHWISE_CONV,
    OPTYPE.LINEAR,
    OPTYPE.BN,
    OPTYPE.PRELU,
    OPTYPE.IN,
    OPTYPE.GN,
}
"""Layers that this package cuts; any other that holds channels is refused."""


def is_depthwise(module: nn.Module) -> bool:
    """Tell whether a convolution maps each channel to itself alone."""
    return (
        isinstance(module, nn.modules.conv._ConvNd)
        and module.groups == module.in_channels == module.out_channels
        and module.groups > 1
    )
