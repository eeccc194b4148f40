"""Back ends that solve a PuLP model: HiGHS and CBC watched while they run, any other.

Models are minimised: see `LinearModel`.
"""

from __future__ import annotations

import copy
import math
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import InvalidProblemError, SolverNotInstalledError
from sirfp_opt_solvers._proof.milp_model import columns
from sirfp_opt_solvers._proof.worker import run_beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from sirfp_opt_solvers._proof.milp_model import LinearModel

__all__ = ["Event", "find_backend", "run_any", "run_cbc", "run_highs"]

# What the back ends are told to work to, in a model of coefficients up to about 1000.
TOLERANCE = 1e-10
ABSOLUTE_GAP = 1e-8


@dataclass(frozen=True)
class Event:
    """What a back end has to say.

    Attributes
    ----------
    bound : float or None
        No value of the objective is less, but for the back end's tolerances.
    chosen : list of int or None
        Items of a new solution.
    infeasible : bool
        Nothing is feasible, says the back end.
    timed_out : bool
        It stopped by its own clock.
    """

    bound: float | None = None
    chosen: list[int] | None = None
    infeasible: bool = False
    timed_out: bool = False


def find_backend(solver: Any) -> tuple[str, Any]:
    """Return "highs", "cbc" or "other", and the PuLP solver for the last.

    Raises
    ------
    InvalidProblemError
        If PuLP knows no such solver.
    SolverNotInstalledError
        If PuLP says that it cannot be run here.
    """
    import pulp

    if isinstance(solver, pulp.LpSolver):
        name, found = solver.name, copy.copy(solver)
    else:
        known = {n.lower(): n for n in pulp.listSolvers()}
        name = known.get(str(solver).lower(), str(solver).lower())
        if name == "HiGHS":
            return "highs", None
        if name in ("cbc", "PULP_CBC_CMD", "COIN_CMD"):
            if _cbc_path() is None:
                raise _not_here(name)
            return "cbc", None
        if name not in known.values():
            raise InvalidProblemError(
                f"`solver` must be one that PuLP knows, got {solver!r}. Known: "
                f"{', '.join(sorted(known.values()))}."
            )
        found = pulp.getSolver(name, msg=False)
    if not found.available():
        raise _not_here(name)
    return "other", found


def _not_here(name: str) -> SolverNotInstalledError:
    import pulp

    ready = ", ".join(pulp.listSolvers(onlyAvailable=True))
    return SolverNotInstalledError(
        f"`solver` must be installed, got {name!r}, which PuLP cannot run here (its "
        f"program or licence is missing). Install it, or take one of: {ready}."
    )


def run_highs(
    model: LinearModel,
    workers: int,
    seconds: float,
    handle: Callable[[Event], bool],
    idle: Callable[[], bool],
) -> None:
    """Run HiGHS on the model as PuLP hands it over, with a start and callbacks."""
    import highspy
    import pulp

    halt = threading.Event()

    def work(post: Callable[[Any], None]) -> None:
        def heed(event: Any) -> None:
            if halt.is_set():
                event.interrupt()

        class Watched(pulp.HiGHS):  # type: ignore[misc]
            def callSolver(self, lp: Any) -> None:
                highs, variables = lp.solverModel, columns(lp)
                start = [v.varValue for v in variables]
                if all(v is not None for v in start):
                    solution = highspy.HighsSolution()
                    solution.col_value = start
                    highs.setSolution(solution)
                place = {v.name: c for c, v in enumerate(variables)}
                index = [place[x.name] for x in model.x]
                last = -math.inf

                def look(event: Any) -> None:
                    nonlocal last
                    bound = event.data_out.mip_dual_bound
                    if last < bound < highspy.kHighsInf:
                        last = bound
                        post(Event(bound=bound))
                    heed(event)

                def solved(event: Any) -> None:
                    values = event.data_out.mip_solution
                    post(
                        Event(
                            chosen=[i for i, c in enumerate(index) if values[c] > 0.5]
                        )
                    )

                highs.cbMipInterrupt += look
                highs.cbSimplexInterrupt += heed
                highs.cbMipImprovingSolution += solved
                highs.run()
                status = highs.getModelStatus()
                if status == highspy.HighsModelStatus.kInfeasible:
                    post(Event(infeasible=True))
                elif highs.getInfo().mip_dual_bound > -highspy.kHighsInf:
                    post(Event(bound=highs.getInfo().mip_dual_bound))
                if status == highspy.HighsModelStatus.kTimeLimit:
                    post(Event(timed_out=True))

        try:
            model.lp.solve(
                Watched(
                    msg=False,
                    threads=workers,
                    gapRel=0.0,
                    gapAbs=ABSOLUTE_GAP,
                    timeLimit=seconds if math.isfinite(seconds) else None,
                    mip_feasibility_tolerance=TOLERANCE,
                    primal_feasibility_tolerance=TOLERANCE,
                    dual_feasibility_tolerance=TOLERANCE,
                )
            )
        finally:
            # HiGHS keeps its threads; the next run may want another number of them.
            highspy.Highs.resetGlobalScheduler(False)

    run_beside(work, handle=handle, idle=idle, cancel=halt.set)


def _cbc_path() -> str | None:
    """Return the CBC that PuLP would run: one on the PATH, else the bundled one."""
    import pulp

    found = pulp.COIN_CMD(msg=False)
    if found.available():
        return str(found.path)
    bundled = getattr(pulp, "PULP_CBC_CMD", None)
    path = getattr(bundled, "pulp_cbc_path", None)
    return str(path) if path and found.executable(path) else None


_NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)"
_POSSIBLE = re.compile(r"best possible " + _NUMBER)
_LOWER = re.compile(r"^Lower bound: +" + _NUMBER)
_VALUE = re.compile(r"^Objective value: +" + _NUMBER)
_OPTIMUM = re.compile(r"^Optimal - objective value +" + _NUMBER)


def run_cbc(
    model: LinearModel,
    workers: int,
    seconds: float,
    handle: Callable[[Event], bool],
    idle: Callable[[], bool],
) -> None:
    """Run CBC on the model as PuLP writes it, and read its log as it goes.

    PuLP itself reports neither CBC's bound nor its gap, and cannot stop it.
    """
    process: list[subprocess.Popen[str]] = []

    def work(post: Callable[[Any], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command, names = _write_for_cbc(model, Path(folder), workers, seconds)
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # Ctrl-C is for us, not for CBC
            ) as running:
                process.append(running)
                optimal = False
                for line in running.stdout or ():
                    optimal |= line.startswith("Result - Optimal solution found")
                    for pattern in (_POSSIBLE, _LOWER, *([_VALUE] * optimal)):
                        match = pattern.search(line)
                        if match:
                            post(Event(bound=_at_least(match[1])))
                    if line.startswith("Result - "):
                        infeasible, timed_out = "infeasible" in line, "time" in line
                        post(Event(infeasible=infeasible, timed_out=timed_out))
            answer = _read_from_cbc(Path(folder) / "model.sol", names)
            if answer is not None:
                post(answer)

    def cancel() -> None:
        for running in process:
            running.kill()

    run_beside(work, handle=handle, idle=idle, cancel=cancel)


def _at_least(text: str) -> float:
    """Return the least number that is printed as `text`."""
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    last = Decimal(1).scaleb(exponent) if isinstance(exponent, int) else Decimal(0)
    return float(number - last / 2)


def _write_for_cbc(
    model: LinearModel, folder: Path, workers: int, seconds: float
) -> tuple[list[str], dict[str, int]]:
    """Write model and start; return the command and the items by column name."""
    first, second, _, last = model.lp.writeMPS(
        str(folder / "model.mps"), mpsSense=1, rename=1
    )
    variables = columns(model.lp)
    # PuLP 3 gives the new name by the old one; PuLP 4 lists both in column order.
    names = second if isinstance(second, dict) else dict(zip(last, first, strict=True))
    command = [str(_cbc_path()), str(folder / "model.mps")]
    if all(v.varValue is not None for v in variables):
        lines = ["Stopped on time - objective value 0"]
        lines += [
            f"{i} {names[v.name]} {v.varValue!r} 0" for i, v in enumerate(variables)
        ]
        (folder / "start.sol").write_text("\n".join(lines) + "\n")
        command += ["-mipstart", str(folder / "start.sol")]
    settings: dict[str, object] = {
        "timeMode": "elapsed",
        "threads": workers if workers > 1 else 0,
        "primalTolerance": TOLERANCE,
        "dualTolerance": TOLERANCE,
        "integerTolerance": TOLERANCE,
        "ratioGap": 0,
        "allowableGap": ABSOLUTE_GAP,
        "increment": 0,
    }
    if math.isfinite(seconds):
        settings["seconds"] = 0.95 * seconds  # the rest is for writing its answer
    for option, value in settings.items():
        command += [f"-{option}", str(value)]
    command += ["-solve", "-solution", str(folder / "model.sol")]
    return command, {names[x.name]: i for i, x in enumerate(model.x)}


def _read_from_cbc(path: Path, names: dict[str, int]) -> Event | None:
    """Read CBC's solution file: the items chosen, and the optimum, in more digits.

    It may hold no solution, or half of one.
    """
    if not path.exists():
        return None
    head, *lines = path.read_text().splitlines() or [""]
    chosen = []
    for line in lines:
        fields = line.replace("**", " ").split()
        if len(fields) >= 3 and fields[1] in names and float(fields[2]) > 0.5:
            chosen.append(names[fields[1]])
    optimum = _OPTIMUM.match(head)
    bound = None if optimum is None else _at_least(optimum[1])
    return Event(chosen=sorted(chosen), bound=bound)


def run_any(
    model: LinearModel,
    solver: Any,
    seconds: float,
    handle: Callable[[Event], bool],
) -> None:
    """Let PuLP run any solver it knows; there is no bound to be had from it."""
    if math.isfinite(seconds):
        own = solver.timeLimit
        solver.timeLimit = seconds if own is None else min(own, seconds)
    model.lp.solve(solver)
    handle(Event(chosen=model.chosen()))
