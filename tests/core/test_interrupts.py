"""Who runs `solve` stays in charge of it: callbacks, Ctrl-C, SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from sirfp_opt import (
    LayerConstraints,
    NoSolutionError,
    Progress,
    PruningProblem,
    Search,
    SolverInfo,
    available_solvers,
    solve,
)
from sirfp_opt._parallel import run_all
from sirfp_opt.graph import ChannelGraph

DRAWN = np.random.default_rng(0).random((12, 12))
PROBLEM = PruningProblem(ChannelGraph(DRAWN + DRAWN.T), LayerConstraints(5))


@dataclass(frozen=True)
class Waits:
    """Offers a set, or none, and then waits to be stopped."""

    offers: bool = True
    info: ClassVar[SolverInfo] = SolverInfo(summary="waits", exact=False)

    def solve(self, search: Search) -> None:
        """Look at the clock until told to stop."""
        if self.offers:
            search.offer_items(range(5))
        while not search.stop():
            time.sleep(0.005)


def test_a_callback_is_asked_although_nothing_improves() -> None:
    """One improvement, then silence: the callback is still asked, and can stop it."""
    told: list[Progress] = []

    def enough(progress: Progress) -> bool:
        told.append(progress)
        return len(told) == 4

    found = solve(PROBLEM, method=Waits(), callback=enough)
    assert found.limit == "callback"
    assert len(told) == 4
    assert {p.objective for p in told} == {found.objective}
    assert told[0].seconds < told[1].seconds < told[2].seconds


def test_a_callback_is_asked_before_there_is_any_set() -> None:
    """Then it is told None, and stopping is no answer."""
    told: list[Progress] = []

    def stop(progress: Progress) -> bool:
        told.append(progress)
        return True

    with pytest.raises(NoSolutionError, match="callback"):
        solve(
            PROBLEM,
            method=Waits(offers=False),
            callback=stop,
        )
    assert told[0].objective is None


def test_a_callback_is_only_called_in_the_callers_thread() -> None:
    """A solver's own threads may ask, offer and prove; the callback is not theirs.

    What they find it is told all the same, by the end at the latest.
    """
    callers, known = set(), []

    @dataclass(frozen=True)
    class Threaded(Waits):
        def solve(self, search: Search) -> None:
            search.offer_items(range(5))
            time.sleep(0.12)
            for work in (search.stop, lambda: search.offer_items(range(7, 12))):
                thread = threading.Thread(target=work)
                thread.start()
                thread.join()

    def note(progress: Progress) -> None:
        callers.add(threading.get_ident())
        known.append(progress.objective)

    found = solve(PROBLEM, method=Threaded(), callback=note)
    assert known[-1] == found.objective
    assert callers == {threading.get_ident()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("method", available_solvers().names)
def test_a_signal_hands_back_the_incumbent(method: str, number: signal.Signals) -> None:
    """Whatever the method, the set it has found by then is the answer."""
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    told: list[float | None] = []

    def ask_to_stop(progress: Progress) -> None:
        told.append(progress.objective)
        if progress.objective is not None:
            signal.raise_signal(number)

    found = solve(PROBLEM, method=method, callback=ask_to_stop)
    assert found.limit == "interrupt"
    assert found.objective == told[-1]
    assert PROBLEM.evaluate(found.selected) == found.objective
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interrupt_ends_a_block_of_runs() -> None:
    """In a loop over layers Ctrl-C is for the loop, not for the layer it meets."""
    begun: list[int] = []

    def one(number: int) -> object:
        begun.append(number)
        return solve(PROBLEM, method="greedy", callback=interrupt if number else None)

    def interrupt(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_all(one, [(number,) for number in range(9)])
    assert begun == [0, 1]


def test_handlers_of_the_user_stay() -> None:
    """A handler that is not the default one is called, not replaced."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        found = solve(
            PROBLEM,
            method="greedy",
            callback=lambda p: signal.raise_signal(signal.SIGTERM),
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert set(seen) == {signal.SIGTERM}
    assert found.limit is None


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    """Only the main thread may set handlers; elsewhere `solve` just runs."""
    found = []
    thread = threading.Thread(
        target=lambda: found.append(solve(PROBLEM, method="greedy"))
    )
    thread.start()
    thread.join()
    assert found[0].objective > 0


SCRIPT = """
import signal, time
import numpy as np
from sirfp_opt import solve
from tests.core.test_interrupts import PROBLEM, Waits
found = solve(PROBLEM, method=Waits(offers={offers}), callback=lambda p: (
    print("running", flush=True), time.sleep(0.01))[0])
print(found.limit, found.objective, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


@pytest.mark.parametrize("offers", [True, False])
def test_sigterm_from_outside(offers: bool) -> None:
    """A set is handed back; without one the process ends by the signal, as ever."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(offers=offers)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    if offers:
        assert process.returncode == 0
        limit, objective, restored = out.split()[-3:]
        assert (limit, restored) == ("interrupt", "True")
        assert float(objective) == PROBLEM.evaluate(range(5))
    else:
        assert process.returncode == -signal.SIGTERM
