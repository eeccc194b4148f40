"""Study: the runs of a comparison, as tables and files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sirfp_opt._extras import require_extra
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.study.metrics import (
    BEST_TOLERANCE,
    best_objective,
    gap_to,
    horizon_of,
    primal_integral,
)
from sirfp_opt.study.problems import Count, as_instances
from sirfp_opt.study.record import RunRecord
from sirfp_opt.study.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from sirfp_opt.study.statistics import FriedmanResult
    from sirfp_opt.study.tables import Table

__all__ = ["Study"]


class Study(Sequence[RunRecord]):
    """The runs of a comparison. `compare` makes one, `load` reads one.

    Parameters
    ----------
    runs : sequence of RunRecord

    Examples
    --------
    >>> import numpy as np
    >>> from sirfp_opt.study import compare
    >>> matrix = np.random.default_rng(0).random((8, 8))
    >>> study = compare(matrix + matrix.T, ["random", "brute_force"], k=4)
    >>> study.summary().loc["brute_force", "best"].item()
    1
    """

    def __init__(self, runs: Sequence[RunRecord]) -> None:
        self.runs = tuple(runs)

    @classmethod
    def load(
        cls,
        results: str | Path,
        problems: Any = None,
        *,
        k: Count | Iterable[Count] | None = None,
    ) -> Study:
        """Read every run that is stored in a results folder.

        Parameters
        ----------
        results : str or Path
            What was given to `compare`. Of a run that was repeated the last counts.
        problems, k : optional
            What was given to `compare`, too: then each set is checked and priced
            again. Without them a row is only checked against itself and its digest.

        Raises
        ------
        InvalidProblemError
            If there are no runs, or a row is not sound; file and line are named.
        """
        known = [] if problems is None else as_instances(problems, k)
        store = ResultStore(results, {i.fingerprint: i for i in known})
        latest = {record.key: record for record in store}
        if not latest:
            raise InvalidProblemError(
                f"`results` must be a folder that `compare` has filled, got {results}, "
                "which holds no run. Pass the same folder as there."
            )
        return cls(list(latest.values()))

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self.runs)

    def __getitem__(self, index: Any) -> Any:
        return Study(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __repr__(self) -> str:
        failed = sum(run.failed for run in self.runs)
        told = f", {failed} failed" if failed else ""
        return (
            f"Study({len(self)} runs: {len(self.by_problem)} problems x "
            f"{len(self.methods)} methods x {len({r.seed for r in self})} seeds{told})"
        )

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in the order given."""
        return tuple(dict.fromkeys(run.method for run in self.runs))

    @cached_property
    def by_problem(self) -> Mapping[str, tuple[RunRecord, ...]]:
        """The runs of each problem (graph and k), by its fingerprint."""
        grouped: dict[str, list[RunRecord]] = {}
        for run in self.runs:
            grouped.setdefault(run.problem, []).append(run)
        return {problem: tuple(runs) for problem, runs in grouped.items()}

    @cached_property
    def best(self) -> Mapping[str, float | None]:
        """The best objective of each problem over all runs, by its fingerprint."""
        return {p: best_objective(runs) for p, runs in self.by_problem.items()}

    @property
    def failures(self) -> Study:
        """The runs that gave no answer, with their `error`."""
        return Study([run for run in self.runs if run.failed])

    # -- tables ------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """Return a tidy DataFrame, one row a run.

        Returns
        -------
        pandas.DataFrame
            Columns instance, n, k, sense, method, options (JSON), seed, objective,
            bound, gap (objective to bound), gap_to_best (objective to the best of all
            runs of the problem; 1 for a run without a solution), status, limit,
            seconds, overran (its time limit, by much), time_to_best (until the run
            found its own best), primal_integral (seconds, see
            `sirfp_opt.study.primal_integral`), error, versions (JSON), machine, problem
            (fingerprint of graph and constraints).
        """
        import pandas as pd

        horizons = {p: horizon_of(runs) for p, runs in self.by_problem.items()}
        rows = []
        for run in self.runs:
            best = self.best[run.problem]
            horizon = horizons[run.problem]
            rows.append(
                {
                    "instance": run.instance,
                    "n": run.n,
                    "k": run.k,
                    "sense": run.sense,
                    "method": run.method,
                    "options": json.dumps(dict(run.options)),
                    "seed": run.seed,
                    "objective": run.objective,
                    "bound": run.bound,
                    "gap": run.gap,
                    "gap_to_best": None
                    if best is None
                    else gap_to(best, run.objective),
                    "status": run.status,
                    "limit": run.limit,
                    "seconds": run.seconds,
                    "overran": run.overran,
                    "time_to_best": run.time_to_best,
                    "primal_integral": (
                        None if best is None else primal_integral(run, best, horizon)
                    ),
                    "error": run.error,
                    "versions": json.dumps(dict(run.versions)),
                    "machine": run.machine,
                    "problem": run.problem,
                }
            )
        frame = pd.DataFrame(rows)
        numbers = ["objective", "bound", "gap", "gap_to_best", "time_to_best"]
        frame = frame.astype(dict.fromkeys([*numbers, "primal_integral"], "float64"))
        return frame.astype({"k": "Int64"})

    def summary(self) -> pd.DataFrame:
        """Return one row a method, best mean gap first.

        Returns
        -------
        pandas.DataFrame
            Index method; columns runs, failed, optimal (proved), best (as good as the
            best of all runs of the problem), gap_to_best (mean), worst_gap (largest
            gap_to_best), rank (mean over the problems, 1 is best, ties share), seconds
            (mean), late (runs that passed their time limit by a quarter and 0.25 s),
            time_to_best, primal_integral (means), p_holm (of Wilcoxon's test of
            gap_to_best against the first row's method, corrected for the number of
            methods; NaN for that method itself, or with fewer than two problems).
        """
        from sirfp_opt.study.statistics import against, ranks

        frame = self.to_frame()
        failed = {run.status for run in self.runs if run.failed}
        grouped = frame.groupby("method", sort=False)
        table = grouped.agg(
            runs=("seed", "size"),
            failed=("status", lambda column: int(column.isin(failed).sum())),
            optimal=("status", lambda column: int((column == "optimal").sum())),
            best=("gap_to_best", lambda gap: int((gap <= BEST_TOLERANCE).sum())),
            gap_to_best=("gap_to_best", "mean"),
            worst_gap=("gap_to_best", "max"),
            seconds=("seconds", "mean"),
            late=("overran", "sum"),
            time_to_best=("time_to_best", "mean"),
            primal_integral=("primal_integral", "mean"),
        )
        table.insert(6, "rank", ranks(self).mean())
        table = table.sort_values(["gap_to_best", "primal_integral"], kind="stable")
        table["p_holm"] = against(self, str(table.index[0]))
        return table

    def friedman(self, metric: str = "gap_to_best") -> FriedmanResult:
        """Test whether the methods differ at all; see `sirfp_opt.study.friedman`."""
        from sirfp_opt.study.statistics import friedman

        return friedman(self, metric)

    def wilcoxon(self, metric: str = "gap_to_best") -> pd.DataFrame:
        """Test each pair of methods; see `sirfp_opt.study.wilcoxon`."""
        from sirfp_opt.study.statistics import wilcoxon

        return wilcoxon(self, metric)

    # -- files -------------------------------------------------------------------

    def to_csv(self, path: str | Path) -> None:
        """Write `to_frame` as CSV, numbers to the last bit."""
        self.to_frame().to_csv(path, index=False)

    def to_parquet(self, path: str | Path) -> None:
        """Write `to_frame` as Parquet (needs pyarrow)."""
        require_extra("parquet", "pyarrow")
        self.to_frame().to_parquet(path, index=False)

    def by_instance(self) -> pd.DataFrame:
        """Return one row a problem; see `sirfp_opt.study.tables.by_instance`."""
        from sirfp_opt.study.tables import by_instance

        return by_instance(self)

    def to_markdown(
        self, path: str | Path | None = None, *, table: Table = "summary"
    ) -> str:
        """Return a table as Markdown, and write it to `path` if given.

        Parameters
        ----------
        path : path-like, optional
        table : {"summary", "instances", "pairs"}
            A row a method, a row a problem, or a row a pair of methods (Wilcoxon's
            test with Holm's correction).
        """
        from sirfp_opt.study.tables import readable

        require_extra("study", "tabulate")
        text = str(readable(self, table).to_markdown(disable_numparse=True))
        return _written(text + "\n", path)

    def to_latex(
        self, path: str | Path | None = None, *, table: Table = "summary"
    ) -> str:
        """Return a table as LaTeX (booktabs), and write it to `path` if given.

        Parameters
        ----------
        path : path-like, optional
        table : {"summary", "instances", "pairs"}
            As for `to_markdown`.
        """
        from sirfp_opt.study.tables import as_latex, readable

        require_extra("study", "jinja2")
        return _written(as_latex(readable(self, table)), path)

    def to_html(self, path: str | Path, *, title: str = "Solver study") -> None:
        """Write a self-contained page: tables, tests, pictures, failures.

        Parameters
        ----------
        path : str or Path
        title : str
        """
        from sirfp_opt.study.report import write_report

        write_report(self, path, title=title)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.readable_summary().to_html()}"

    def readable_summary(self) -> pd.DataFrame:
        """Return `summary` as text, numbers cut to what a reader can use."""
        table = self.summary()
        shown = table.astype("object")
        for column in ("gap_to_best", "worst_gap"):
            shown[column] = [f"{100 * value:.3g} %" for value in table[column]]
        for column in ("rank", "seconds", "time_to_best", "primal_integral", "p_holm"):
            shown[column] = [f"{value:.3g}" for value in table[column]]
        shown = shown.astype(str).replace({"nan": "-", "nan %": "-"})
        return shown.rename(columns=lambda name: str(name).replace("_", " "))


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(text)
    return text
