"""SIGINT and SIGTERM as one exception, while there is something to hand back."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Interrupted", "as_one", "interruptible", "part_of_one"]

_depth = threading.local()  # of blocks of runs

# What is behind the functions of `signal`, which turn every number into an enum and
# back. That takes ten times as long, and every call of `solve` needs six of them.
try:
    _core: Any = import_module("_signal")
except ImportError:  # another Python than CPython
    _core = signal

# By signal, what handles it where nobody has said otherwise.
_USUAL: dict[int, Any] = {
    int(signal.SIGINT): signal.default_int_handler,
    int(signal.SIGTERM): int(signal.SIG_DFL),
}


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to stop.

    Attributes
    ----------
    signum : int
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum

    def redeliver(self) -> None:
        """Let SIGTERM do now what it does without us, which ends the process."""
        if self.signum != signal.SIGINT:
            signal.raise_signal(self.signum)


class interruptible:
    """Raise `Interrupted` on SIGINT and SIGTERM in a block; put handlers back after.

    Only in the main thread, since no other can; and only where the signal has its
    default handler: one that the user has set, or a signal that is ignored, stays.

    Parameters
    ----------
    note : callable
        Called first: where the exception is lost, in a destructor say, a flag is not.
    """

    def __init__(self, note: Callable[[], None] = lambda: None) -> None:
        self._note = note
        self._ours: list[int] = []

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        self._ours = [s for s, usual in _USUAL.items() if _core.getsignal(s) == usual]
        try:
            for signum in self._ours:
                _core.signal(signum, self._handle)
        except BaseException:  # the first signal may come before the second is ours
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for signum in self._ours:
            _core.signal(signum, _USUAL[signum])

    def _handle(self, signum: int, frame: Any) -> None:
        self._note()
        raise Interrupted(signum)


@contextmanager
def as_one() -> Iterator[None]:
    """Let an interrupt end a whole block of runs, not only the run that it meets."""
    outer = part_of_one()
    _depth.inside = True
    try:
        yield
    finally:
        _depth.inside = outer


def part_of_one() -> bool:
    """Tell whether an interrupt is for a block of runs, see `as_one`."""
    return bool(getattr(_depth, "inside", False))
