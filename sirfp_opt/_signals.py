"""SIGINT and SIGTERM as one exception, while there is something to hand back."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Interrupted", "as_one", "interruptible", "part_of_one"]

_depth = threading.local()  # of blocks of runs


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


@contextmanager
def interruptible(note: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise `Interrupted` on SIGINT and SIGTERM in a block; put handlers back after.

    Only in the main thread, since no other can; and only where the signal has its
    default handler: one that the user has set, or a signal that is ignored, stays.

    Parameters
    ----------
    note : callable
        Called first: where the exception is lost, in a destructor say, a flag is not.
    """
    defaults: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }

    def handle(signum: int, frame: Any) -> None:
        note()
        raise Interrupted(signum)

    ours = []
    if threading.get_ident() == threading.main_thread().ident:
        ours = [s for s, usual in defaults.items() if signal.getsignal(s) is usual]
    try:
        for signum in ours:
            signal.signal(signum, handle)
        yield
    finally:
        for signum in ours:
            signal.signal(signum, defaults[signum])


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
