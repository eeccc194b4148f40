"""Which module of a network runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.nn.modules import module as nn_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["Running"]


class Running:
    """Follows calls of a network's modules, by hooks that every module has.

    Attributes
    ----------
    stack : list of str
        The modules whose forward is under way, the innermost last; first "", the code
        that calls the network.
    last : str
        The module that runs, or ran when an error was raised.
    """

    def __init__(self, network: nn.Module) -> None:
        self._names = {module: name for name, module in network.named_modules()}
        self.stack = [""]
        self.last = ""

    @property
    def where(self) -> str:
        """The module that runs; of one that is not the network's, its caller."""
        return self.stack[-1]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow what runs in the block."""
        self.stack = [""]
        before = nn_module.register_module_forward_pre_hook(self._enter)
        after = nn_module.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(self._names.get(module, self.where))
        self.last = self.where

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if len(self.stack) > 1:
            self.stack.pop()
        if output is not None:  # None: an error is on its way up
            self.last = self.where
