"""From the table of results to tables, tests and pictures; nothing is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from examples.studies.accuracy.runs import (
    DEFAULT,
    EXPERIMENTS,
    METRICS,
    SCORES,
    Run,
    members,
)
from sirfp_opt.study.statistics import holm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = [
    "compared",
    "correlations",
    "draw",
    "gaps",
    "of_experiment",
    "shipped_against",
    "tables",
    "write_report",
]

BLOCK = ["network", "budget", "seed"]
ARM = ["criterion", "allocation", "solver", "schedule"]

SPATIAL, OURS = (
    ("spatial", "uniform", "greedy", "once"),
    (DEFAULT, "uniform", "greedy", "once"),
)
SHIPPED_ARM = (DEFAULT, "balanced", "greedy", "once")
"""What `prune` does when it is asked for nothing else."""

BASELINES: dict[str, dict[str, tuple[str, ...]]] = {
    "criteria": {"to spatial": SPATIAL, "to the default": OURS},
    "solvers": {"to greedy": SPATIAL},
    "solvers_default": {"to greedy": OURS},
    "allocations": {
        "to spatial": ("spatial", "threshold", "greedy", "once"),
        "to the default": SHIPPED_ARM,
    },
    "schedules": {"to spatial, once": SPATIAL},
    "later": {"to spatial": SPATIAL},
}
"""What the arms of an experiment are compared with."""

TITLES = {
    "criteria": "Which channels: the same number of each unit for all (uniform)",
    "solvers": "How well the cliques of spatial redundancy are solved (uniform)",
    "solvers_default": "How well the cliques of the default are solved (uniform)",
    "allocations": "Which and how many: each criterion splits the MACs by itself",
    "schedules": "One cut or two (uniform)",
    "later": "Added after the first results, so exploratory (uniform)",
}


def of_experiment(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows that belong to an experiment, in its order of arms."""
    arms = {_arm(run): place for place, run in enumerate(members(experiment, ""))}
    placed = frame.assign(arm=_arms(frame))
    placed["place"] = placed["arm"].map(arms)
    return placed.dropna(subset="place").sort_values([*BLOCK, "place"])


def compared(rows: pd.DataFrame, baseline: tuple[str, ...]) -> pd.DataFrame:
    """Compare each arm with the baseline, seed by seed.

    Parameters
    ----------
    rows : DataFrame
        Of one experiment, network and budget.
    baseline : tuple of str
        The arm to compare with.

    Returns
    -------
    DataFrame
        By arm: seeds, failed runs, share of the MACs, mean mIoU after the cut and after
        tuning with standard deviation, mean difference to the baseline over the seeds
        that both have, its 95 % interval and p (paired t-test, two-sided), and p
        corrected by Holm's rule for the number of arms.
    """
    table = rows.pivot_table(index="seed", columns="arm", values="miou", sort=False)
    lines = []
    for arm, runs in rows.groupby("arm", sort=False):
        good = runs[runs["status"] == "ok"]
        difference = np.empty(0)
        if arm != baseline and {arm, baseline} <= set(table):
            difference = (table[arm] - table[baseline]).dropna().to_numpy()
        low, high, pvalue = _paired(difference)
        lines.append(
            {
                "arm": arm,
                "seeds": len(good),
                "failed": len(runs) - len(good),
                "macs": good["macs"].mean(),
                "cut": good["miou_cut"].mean(),
                "miou": good["miou"].mean(),
                "sd": good["miou"].std(),
                "density": good["density"].mean(),
                "difference": difference.mean() if len(difference) else np.nan,
                "low": low,
                "high": high,
                "p": pvalue,
            }
        )
    found = pd.DataFrame(lines)
    tested = found["p"].notna()
    found["p_holm"] = np.nan
    if tested.any():
        found.loc[tested, "p_holm"] = holm(found.loc[tested, "p"].to_numpy())
    return found


def _paired(difference: np.ndarray) -> tuple[float, float, float]:
    """Return the 95 % interval of the mean and p; NaN where nothing can be tested."""
    if len(difference) < 2:
        return np.nan, np.nan, np.nan
    if np.ptp(difference) < 1e-12:  # the same plans: nothing differs, nothing to test
        mean = float(difference[0])
        return mean, mean, 1.0 if abs(mean) < 1e-12 else np.nan
    test = stats.ttest_1samp(difference, 0.0)
    interval = test.confidence_interval(0.95)
    return float(interval.low), float(interval.high), float(test.pvalue)


def gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the solvers with the distance to the best known objective.

    All of them keep the same number of channels of each unit, on the same graphs, so
    that their objectives compare; `gap` is |objective / best - 1|. Redundancy is
    minimised, what the default measures is maximised.
    """
    parts = []
    best: Literal["min", "max"]
    for experiment, best in (("solvers", "min"), ("solvers_default", "max")):
        rows = of_experiment(frame, experiment)
        rows = rows[rows["objective"].notna()].copy()
        known = rows.groupby(BLOCK)["objective"].transform(best)
        rows["gap"] = (rows["objective"] / known - 1).abs()
        parts.append(rows)
    return pd.concat(parts)


def correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rank correlations of mIoU with what was minimised.

    mIoU is compared within network, budget and seed (its ranks among the runs there
    are those that are averaged), so that easy seeds do not make a correlation.
    """
    solved = gaps(frame)
    criteria = of_experiment(frame, "criteria")
    pairs = [
        ("redundancy left, all criteria", criteria, "density"),
        *(
            (f"gap, solvers and controls, {name}", rows, "gap")
            for name, rows in solved.groupby("criterion", sort=False)
        ),
    ]
    lines = []
    for (what, rows, column), tuned in ((p, t) for p in pairs for t in (False, True)):
        target = "miou" if tuned else "miou_cut"
        for (network, budget), part in rows.groupby(["network", "budget"], sort=False):
            values = [
                stats.spearmanr(block[column], block[target]).statistic
                for _, block in part.dropna(subset=[column, target]).groupby("seed")
                if len(block) > 2 and block[column].nunique() > 2
                and block[target].nunique() > 1
            ]  # fmt: skip
            if values:
                lines.append(
                    {
                        "mIoU against": what,
                        "network": network,
                        "budget": budget,
                        "mIoU": "tuned" if tuned else "cut",
                        "seeds": len(values),
                        "mean rho": f"{np.mean(values):.2f}",
                        "least": f"{min(values):.2f}",
                        "most": f"{max(values):.2f}",
                    }
                )
    return pd.DataFrame(lines)


def shipped_against(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare what is shipped with each single criterion under its better split.

    What is shipped is the default metric under the default split, by greedy. A rival's
    better split (uniform, or its own) is chosen by the very mIoU that it is judged by,
    which favours the rival. p is of the paired t-test over seeds, Holm's correction
    over the rivals of a network and budget.
    """
    lines: list[pd.DataFrame] = []
    arms = frame.assign(arm=_arms(frame))
    pairs = frame[["network", "budget"]].drop_duplicates().itertuples(index=False)
    for network, budget in pairs:
        rows = arms[(arms["network"] == network) & (arms["budget"] == budget)]
        means = rows.groupby("arm")["miou"].mean()
        if SHIPPED_ARM not in means:
            continue
        best = [SHIPPED_ARM]
        for criterion in (*SCORES, *METRICS):
            solver = "rank" if criterion in SCORES else "greedy"
            splits = [(criterion, a, solver, "once") for a in ("uniform", "threshold")]
            known = [arm for arm in splits if arm in means]
            if known:
                best.append(max(known, key=lambda arm: float(means[arm])))
        found = compared(rows[rows["arm"].isin(best)], SHIPPED_ARM)
        found = found.assign(network=network, budget=budget)
        lines.append(found[found["arm"] != SHIPPED_ARM])
    return pd.concat(lines) if lines else pd.DataFrame()


def tables(frame: pd.DataFrame) -> dict[str, str]:
    """Return all tables of the report as Markdown, by title."""
    out: dict[str, str] = {}
    whole = frame[frame["criterion"] == "none"]
    if len(whole):
        trained = [_text(miou) for miou in whole["miou"]]
        table = pd.DataFrame({"network": whole["network"], "mIoU": trained})
        out["The trained networks"] = _markdown(table)
    out["What was run"] = _markdown(_inventory(frame))
    rivals = shipped_against(frame)
    if len(rivals):
        title = "What is shipped against single criteria, each under its better split"
        out[title] = _markdown(_rivals_shown(rivals))
    # Experiments share runs; those of the first alone are no comparison of another.
    first = {_arm(run) for run in members("criteria", "")}
    shared = dict.fromkeys(("solvers", "solvers_default", "schedules", "later"), first)
    for experiment in EXPERIMENTS:
        rows = of_experiment(frame, experiment)
        for (network, budget), part in rows.groupby(["network", "budget"], sort=False):
            if set(part["arm"]) <= shared.get(experiment, set()):
                continue
            table = _shown(part, experiment)
            if experiment in ("solvers", "solvers_default"):
                table = _with_gaps(table, part, gaps(part))
            title = f"{TITLES[experiment]}: {network}, {budget:.0%} of the MACs"
            out[title] = _markdown(table)
    correlated = correlations(frame)
    if len(correlated):
        out["Does less redundancy go with more mIoU?"] = _markdown(correlated)
    failed = frame[frame["status"] != "ok"]
    if len(failed):
        out["What failed"] = _markdown(failed[[*ARM, *BLOCK, "status"]])
    return out


def write_report(frame: pd.DataFrame, folder: Path) -> None:
    """Write ``report.md`` and the pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"## {title}\n\n{table}\n" for title, table in tables(frame).items()]
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")
    draw(frame, folder)


def draw(frame: pd.DataFrame, folder: Path) -> None:
    """Write the pictures into a folder."""
    drawings: dict[str, Callable[[Figure, pd.DataFrame], None]] = {
        "miou_against_macs": _draw_macs,
        "miou_against_redundancy": _draw_redundancy,
        "miou_against_gap": _draw_gap,
    }
    import matplotlib.figure

    for name, drawn in drawings.items():
        figure = matplotlib.figure.Figure(figsize=(7.0, 4.2), layout="constrained")
        drawn(figure, frame)
        figure.savefig(folder / f"{name}.png", dpi=110)


def _inventory(frame: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for experiment in EXPERIMENTS:
        rows = of_experiment(frame, experiment)
        for (network, budget), part in rows.groupby(["network", "budget"], sort=False):
            lines.append(
                {
                    "experiment": experiment,
                    "network": network,
                    "budget": budget,
                    "arms": part["arm"].nunique(),
                    "seeds": part["seed"].nunique(),
                    "runs": len(part),
                    "failed": int((part["status"] != "ok").sum()),
                }
            )
    return pd.DataFrame(lines)


def _rivals_shown(rivals: pd.DataFrame) -> pd.DataFrame:
    rivals = rivals.sort_values(
        ["network", "budget", "miou"], ascending=[True, False, False]
    )
    return pd.DataFrame(
        {
            "network": rivals["network"],
            "MACs": [f"{budget:.0%}" for budget in rivals["budget"]],
            "rival": [f"{arm[0]}, {arm[1]}" for arm in rivals["arm"]],
            "its mIoU": [_text(v) for v in rivals["miou"]],
            "shipped beside it": [_text(-v, "{:+.3f}") for v in rivals["difference"]],
            "95 % interval": [
                f"{-high:+.3f} to {-low:+.3f}" if np.isfinite(low) else ""
                for low, high in zip(rivals["low"], rivals["high"], strict=True)
            ],
            **{
                name: ["< 0.001" if v < 0.001 else _text(v) for v in rivals[column]]
                for name, column in (("p", "p"), ("p (Holm)", "p_holm"))
            },
        }
    )


def _shown(rows: pd.DataFrame, experiment: str) -> pd.DataFrame:
    beside = {
        label: compared(rows, baseline)
        for label, baseline in BASELINES[experiment].items()
    }
    found = next(iter(beside.values()))  # what the arms are like is in each of them
    table = pd.DataFrame({"arm": [_name(arm, experiment) for arm in found["arm"]]})
    table["seeds"] = found["seeds"].astype(str) + [
        f" ({n} failed)" if n else "" for n in found["failed"]
    ]
    table["MACs"] = [_text(v, "{:.1%}") for v in found["macs"]]
    table["mIoU cut"] = [_text(v) for v in found["cut"]]
    table["mIoU tuned"] = [
        f"{_text(m)} ± {_text(s)}" if np.isfinite(s) else _text(m)
        for m, s in zip(found["miou"], found["sd"], strict=True)
    ]
    table["redundancy"] = [_text(v, "{:.2f}") for v in found["density"]]
    for label, against in beside.items():
        shown = {
            label: [_text(v, "{:+.3f}") for v in against["difference"]],
            "95 % interval": [
                f"{low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
                for low, high in zip(against["low"], against["high"], strict=True)
            ],
            **{
                name: ["< 0.001" if v < 0.001 else _text(v) for v in against[column]]
                for name, column in (("p", "p"), ("p (Holm)", "p_holm"))
            },
        }
        table = pd.concat([table, pd.DataFrame(shown)], axis=1)
    if experiment in ("criteria", "allocations", "later"):
        order = found["miou"].fillna(-1).argsort(kind="stable")[::-1]
        table = table.iloc[order.to_numpy()]
    return table


def _name(arm: tuple[str, ...], experiment: str) -> str:
    criterion, allocation, solver, schedule = arm
    if experiment.startswith("solvers"):
        return solver
    parts = {"allocations": [criterion, allocation], "schedules": [criterion, schedule]}
    words = parts.get(experiment, [criterion])
    return ", ".join([*words, *([solver] if solver == "tabu" else [])])


def _with_gaps(
    table: pd.DataFrame, rows: pd.DataFrame, here: pd.DataFrame
) -> pd.DataFrame:
    means = here.groupby("arm", sort=False)["gap"].mean()
    proven = here.groupby("arm", sort=False)[["proven", "units"]].sum()
    at = rows["arm"].drop_duplicates()
    table.insert(2, "gap", [_text(100 * means.get(a, np.nan), "{:.3f} %") for a in at])
    table.insert(
        3,
        "units proven",
        [
            f"{proven['proven'].get(a, 0):.0f} of {proven['units'].get(a, 0):.0f}"
            for a in at
        ],
    )
    return table


def _draw_macs(figure: Figure, frame: pd.DataFrame) -> None:
    """Draw single criteria at equal widths, and what is shipped; a panel a network."""
    figure.set_size_inches(10.0, 3.8)
    arms = [_arm(run) for run in members("criteria", "")]
    arms = [arm for arm in arms if arm[0] in (*SCORES, *METRICS, DEFAULT)]
    found = _arms(frame)
    names = frame["network"].unique()
    for ax, network in zip(
        figure.subplots(1, len(names), sharey=True, squeeze=False)[0],
        names,
        strict=True,
    ):
        here = frame["network"] == network
        for arm, style in zip([*arms, SHIPPED_ARM], _marks(), strict=False):
            means = frame[here & (found == arm)].groupby("budget")["miou"].mean()
            label = "shipped" if arm == SHIPPED_ARM else arm[0]
            wide = {"lw": 2.5} if arm == SHIPPED_ARM else {"lw": 1.0}
            ax.plot(means.index, means, label=label, ms=5, **style, **wide)
        whole = frame[here & (frame["criterion"] == "none")]["miou"]
        for level in whole:
            ax.axhline(level, color="#888888", ls=":", lw=1.0)
        ax.set(title=network, xlabel="MACs left")
    figure.axes[0].set(ylabel="mIoU, tuned, mean over seeds")
    figure.axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_redundancy(figure: Figure, frame: pd.DataFrame) -> None:
    ax = figure.subplots()
    rows = of_experiment(frame, "criteria")
    rows = rows[rows["status"] == "ok"]
    for criterion, style in zip(rows["criterion"].unique(), _marks(), strict=False):
        part = rows[rows["criterion"] == criterion]
        label = str(criterion)
        ax.plot(part["density"], part["miou"], ls="", label=label, ms=5, **style)
    ax.set(
        xlabel="spatial redundancy among the kept (1: as among all)",
        ylabel="mIoU, tuned, each run",
    )
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_gap(figure: Figure, frame: pd.DataFrame) -> None:
    ax = figure.subplots()
    rows = gaps(frame)
    arms = rows[["criterion", "solver"]].drop_duplicates().to_numpy().tolist()
    for (criterion, solver), style in zip(arms, _marks(), strict=False):
        part = rows[(rows["solver"] == solver) & (rows["criterion"] == criterion)]
        label = f"{criterion}, {solver}"
        ax.plot(100 * part["gap"], part["miou"], ls="", label=label, ms=5, **style)
    ax.set_xscale("symlog", linthresh=0.01)
    ax.set(xlabel="objective beside the best known, %", ylabel="mIoU, tuned, each run")
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _marks() -> list[dict[str, Any]]:
    colours = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
    return [{"color": c, "marker": m} for m in "osDv^" for c in colours]


def _arms(frame: pd.DataFrame) -> pd.Series[Any]:
    """Return each row's arm, a tuple."""
    arms = [tuple(row) for row in frame[ARM].to_numpy().tolist()]
    return pd.Series(arms, index=frame.index, dtype=object)


def _arm(run: Run) -> tuple[str, ...]:
    return (run.criterion, run.allocation, run.solver, run.schedule)


def _text(value: float, form: str = "{:.3f}") -> str:
    return form.format(value) if np.isfinite(value) else ""


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True)
