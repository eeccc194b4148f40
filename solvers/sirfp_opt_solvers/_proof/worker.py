"""Run a foreign solver beside the main thread, so the user stays in charge of it.

A C++ solver that calls back into Python, or that runs for minutes without looking at
signals, makes three things hard: Ctrl-C, errors in the user's callback, and sharing
one `Search` among threads. Here the foreign solver runs in a thread of its own and
only puts events on a queue; everything else happens where `solve` was called.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_beside"]

_TICK = 0.05  # seconds between looks at the clock, and at Ctrl-C


def run_beside(
    work: Callable[[Callable[[Any], None]], None],
    *,
    handle: Callable[[Any], bool],
    idle: Callable[[], bool],
    cancel: Callable[[], None],
) -> None:
    """Run `work` in a thread; handle its events in this one, until it ends.

    Parameters
    ----------
    work : callable
        Called as ``work(post)``; ``post(event)`` may be called from any thread.
    handle : callable
        Called with each event here, in order. Once true, `work` is cancelled and later
        events are dropped, so the outcome does not depend on how fast it stops.
    idle : callable
        Asked now and then whether to cancel.
    cancel : callable
        Asks `work` to stop; called again and again until it has.

    Raises
    ------
    BaseException
        What `work`, `handle` or the keyboard raised; `work` has ended by then.
    """
    queue: SimpleQueue[Any] = SimpleQueue()
    end = object()
    failure: list[BaseException] = []

    def body() -> None:
        try:
            work(queue.put)
        except BaseException as error:
            failure.append(error)
        finally:
            queue.put(end)

    thread = threading.Thread(target=body, name="sirfp_opt-solver", daemon=True)
    thread.start()
    stopping = False
    try:
        while True:
            try:
                event = queue.get(timeout=_TICK)
            except Empty:
                if stopping or idle():
                    stopping = True
                    cancel()
                continue
            if event is end:
                break
            if not stopping and handle(event):
                stopping = True
                cancel()
    finally:
        while thread.is_alive():
            cancel()
            thread.join(_TICK)
    if failure:
        raise failure[0]
