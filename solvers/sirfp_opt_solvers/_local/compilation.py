"""When kernels are compiled, what is done meanwhile, and what is said of it.

One rule: a time limit holds for the whole call, compilation included. With a time
limit, kernels that are not at hand are made in a thread in the background, by solving
tiny problems, while NumPy swaps improve the greedy set; when the limit comes first, the
best set of those is the answer. Without one they are made first. Either way once: numba
keeps them on disk, beside the kernels' source or in NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.graph import ChannelGraph
from sirfp_opt.objective import Objective
from sirfp_opt.problem import PruningProblem
from sirfp_opt.reconstruction import ReconstructionProblem
from sirfp_opt.search import Search
from sirfp_opt_solvers._local.descent import MixedDescents
from sirfp_opt_solvers._local.start import is_open

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sirfp_opt.canonical_form import CanonicalForm

__all__ = ["COMPILED", "REFIT", "SWEEPS", "compiling", "warm_up"]

_logger = logging.getLogger("sirfp_opt.kernels")

# The methods that have kernels, and what makes their toy runs short.
COMPILED: dict[str, dict[str, Any]] = {
    "greedy": {"compiled": True},
    "local_search": {"descents": 2},
    "tabu": {"patience": 1},
    "anneal": {"coolings": 1, "moves": 100},
    # So few nodes of the compiled tree that the root needs all that it has.
    "exact": {"max_nodes": 3, "budget": 1, "root_rounds": 40},
}
SWEEPS = "sweeps"
"""What large problems need of `exact` beside the rest; as long again to compile."""
REFIT = "refit"
"""What `exact` needs where readers are refitted."""
_TICK = 0.02
# Swaps and compilation share one core at a time (the GIL): while swaps find nothing,
# they pause for ever longer, up to this.
_LONGEST_PAUSE = 0.2


# By method, and by whether items differ in size, which takes kernels of its own: set
# once they are at hand in this process.
_ready: dict[tuple[str, bool], threading.Event] = {}
_lock = threading.Lock()
_spent = 0.0


@cache
def _listen() -> None:
    """Have numba tell of its compilations, from now on."""
    from sirfp_opt_solvers._kernels import numba

    event: Any = numba.core.event

    class Listener(event.Listener):  # type: ignore[misc]
        depth, began, collects = 0, 0.0, True

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                self.began = time.perf_counter()
                _announce()
                # Millions of small objects, most of which stay: to look through them
                # again and again takes a twentieth of the time, and frees little.
                self.collects = gc.isenabled()
                gc.disable()
            self.depth += 1

        def on_end(self, event: Any) -> None:
            global _spent
            self.depth -= 1
            if self.depth == 0:
                _spent += time.perf_counter() - self.began
                if self.collects:
                    gc.enable()

    event.register("numba:compile", Listener())


@cache
def _announce() -> None:
    from sirfp_opt_solvers import _kernels

    where = next(iter(_kernels.__path__))
    _logger.warning(
        "compiling, once: kernels are kept in %s/__pycache__ (or NUMBA_CACHE_DIR); "
        "`sirfp-opt warm-up` does it ahead of time",
        where,
    )


@contextmanager
def compiling(search: Search, *parts: str) -> Iterator[bool]:
    """Tell whether kernels may be used in a block; False: out of time.

    Adds what was compiled in the block to ``search.compile_seconds``.

    Parameters
    ----------
    search : Search
        With an incumbent, if there is to be one: it is improved while kernels are made.
    *parts : str
        Methods of `COMPILED`, or `SWEEPS`, or `REFIT`.
    """
    before, began = search.compile_seconds, _spent
    try:
        if search.limits.time is not None:
            yield all(_ready_in_time(search, part) for part in parts)
        else:
            _listen()
            yield True
            for part in parts:
                _event(search.form, part).set()
    finally:
        # Set, not added to: a block inside of this one has told its part already.
        search.compile_seconds = before + (_spent - began)


def _event(form: CanonicalForm, method: str) -> threading.Event:
    with _lock:
        return _ready.setdefault((method, form.unit_size is None), threading.Event())


def _ready_in_time(search: Search, method: str) -> bool:
    """Have kernels made in the background; return False if the limit comes first."""
    ready = _event(search.form, method)
    if ready.is_set():
        return True
    mixed = search.form.unit_size is None
    name = f"sirfp_opt-compiles-{method}-{mixed}"
    with _lock:
        if not any(thread.name == name for thread in threading.enumerate()):
            threading.Thread(
                target=_make, args=(method, mixed, ready), name=name, daemon=True
            ).start()
    swaps = None
    clique = search.problem.objective is Objective.CLIQUE
    if not ready.wait(_TICK) and clique and is_open(search.canonical):
        best = search.best_items
        rng = np.random.default_rng(search.seed)
        starts = [] if best is None else [best]
        swaps = MixedDescents(search.canonical, rng, starts=starts, descents=None)
    pause = 0.0 if swaps else _TICK
    while not ready.wait(pause):
        if search.stop():
            return False
        if swaps is None:
            continue
        began = time.perf_counter()
        found = swaps.advance(1)
        while found is None and time.perf_counter() - began < _TICK:
            found = swaps.advance(1)
        took = time.perf_counter() - began
        pause = min(pause + took, _LONGEST_PAUSE, search.remaining())
        if found is not None and search.offer_items(found):
            pause = 0.0
    return not search.stop()


def _make(method: str, mixed: bool, ready: threading.Event) -> None:
    try:
        _solve_toys(method, mixed)
    finally:
        ready.set()  # should it have failed, so will the run, and say why


def warm_up(method: str) -> float:
    """Make all of a method's kernels; return the seconds that compiling took.

    Parameters
    ----------
    method : str
        One of `COMPILED`.
    """
    before = _spent
    for mixed in (False, True):
        _solve_toys(method, mixed)
        if method == "exact":  # its incumbents are tabu's; toys do without both
            _solve_toys("tabu", mixed)
            _solve_toys(SWEEPS, mixed)
            _solve_toys(REFIT, mixed)
    return _spent - before


def _solve_toys(part: str, mixed: bool) -> None:
    """Solve a tiny problem that needs every kernel of a method, or of `SWEEPS`."""
    from sirfp_opt.bounds import bound
    from sirfp_opt.registry import create_solver

    _listen()
    rng = np.random.default_rng(0)
    if part == REFIT:
        maps = rng.normal(size=(20, 8))
        layer = ReconstructionProblem(maps.T @ maps, np.eye(8))
        tied = LayerConstraints(4, tied=((0, 1), (2, 3, 4)))
        toy = layer.constrained(tied if mixed else LayerConstraints(4))
        _, solver = create_solver("exact", {"max_nodes": 1})
        solver.solve(Search(toy))
        bound(toy)  # a tree may end before it needs its strongest bound
        return
    n = 20 if part in ("exact", SWEEPS) else 8
    weights = rng.random((n, n))
    graph = ChannelGraph(weights + weights.T)
    rules = LayerConstraints(n // 2, tied=((0, 1), (2, 3, 4)) if mixed else ())
    problem = PruningProblem(graph, rules)
    if part == SWEEPS:
        bound(problem, effort="doubly_nonnegative")
        return
    _, solver = create_solver(part, COMPILED[part])
    solver.solve(Search(problem))
