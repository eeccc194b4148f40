"""What pruning did, as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sirfp_opt._page import as_svg, as_table, need_pages, write_page

if TYPE_CHECKING:
    from pathlib import Path

    from sirfp_opt.pytorch.report import PruneReport
    from sirfp_opt.pytorch.result import PruneResult

__all__ = ["write_report"]

_BODY = """
<style>
  .network img { min-width: min({{ 16 * units|length + 100 }}px, 46rem); }
  .costs td, .units td { white-space: nowrap; }
  meter { width: 6rem; } table.units td:nth-child(4) { text-align: left; }
</style>

<p><strong>{{ report.headline }}</strong></p>
{% if report.warning %}
<p class="warning"><strong>Warning:</strong> {{ report.warning }}</p>
{% endif %}
<h2>Costs</h2>
<div class="wide"><table class="costs">
<thead><tr><th>cost</th><th>before</th><th>after</th><th>reached</th><th>asked</th></tr>
</thead><tbody>
{% for row in costs %}<tr><td>{{ row.name }}</td>
<td>{{ "{:,}".format(row.before) }}</td><td>{{ "{:,}".format(row.after) }}</td>
<td>{{ "{:.2%}".format(row.reached) }}</td>
<td>{{ "≤ {:.2%}".format(row.asked) if row.asked is not none else "" }}</td></tr>
{% endfor %}</tbody></table></div>
<p>MACs: multiply-accumulates of one sample.
{% for reason in report.reasons %}{{ reason }} {% endfor %}
{% if report.max_difference is not none %}The pruned network was compared with the
original whose removed channels are zero: their outputs differ by at most
{{ "{:.2g}".format(report.max_difference) }}, at outputs up to
{{ "{:.3g}".format(report.output_scale) }}.
{% else %}The pruned network was not compared with the masked original.
{% endif %}{% if report.refit %}That was before the refit.{% endif %}</p>
{% if report.split and report.split.bound is not none %}<p>The plan has objective
{{ "{:.6g}".format(report.split.objective) }}, proven bound
{{ "{:.6g}".format(report.split.bound) }} over all splits, gap
{{ "{:.3%}".format(report.split.gap) }}{% if report.out_of_time %} when the time of the
split was over{% endif %}.</p>{% endif %}

<h2>Channels kept</h2>
<figure class="network wide">
<img alt="Channels of each unit, before and kept" src="{{ picture }}"></figure>
<div class="wide"><table class="units">
<thead><tr><th>unit</th><th>kept</th><th>of</th><th></th>
<th>objective before</th><th>after</th><th>gap</th><th>set</th><th>layers cut</th></tr>
</thead><tbody>
{% for unit in units %}<tr><td>{{ unit.unit }}</td><td>{{ unit.kept }}</td>
<td>{{ unit.size }}</td>
<td><meter max="{{ unit.size }}" value="{{ unit.kept }}"></meter></td>
<td>{{ "{:.4g}".format(unit.objective_before) }}</td>
<td>{{ "{:.4g}".format(unit.objective) }}</td><td>{{ gaps.get(unit.unit, "") }}</td>
<td>{{ unit.status }}</td>
<td>{{ unit.layers if unit.kept < unit.size else "" }}</td></tr>
{% endfor %}</tbody></table></div>
<p>A unit is a set of channels that several layers share: they go together. The
objective is that of its graph, in the graph's scale: {{ goal }}. Gap: between the set's
objective and a proven bound, where there is one. Set: <em>optimal</em> is proved,
<em>feasible</em> is the method's best, <em>allocation</em> was chosen with the numbers,
<em>whole</em> lost nothing.</p>
{% if explorer %}<p><a href="{{ explorer }}">Explore the units</a>: move k, and see
which channels stay.</p>
{% endif %}

{% if report.refit %}<h2>Refitted</h2>
<div class="wide"><table class="refit">
<thead><tr><th>layer</th><th>how</th><th>unknowns</th><th>error as cut</th>
<th>refitted</th><th>held out: as cut</th><th>refitted</th><th></th></tr></thead><tbody>
{% for row in report.refit.layers %}<tr><td>{{ row.layer }}</td><td>{{ row.kind }}</td>
<td>{{ row.unknowns or "" }}</td>
{% for value in (row.before, row.after, row.held_before, row.held_after) %}
<td>{{ "{:.4f}".format(value) if value is not none else "" }}</td>
{% endfor %}<td>{{ row.reason }}</td></tr>
{% endfor %}</tbody></table></div>
<p>Layers that lost inputs, with weights refitted without labels on
{{ report.refit.pictures - report.refit.held_out }} pictures. Errors are shares of the
variance of a layer's outputs, when it reads what it read in the original network.
{% if report.refit.norms %}{{ report.refit.norms }} batch norms were
{{ report.refit.settings.batch_norms }}.
{% endif %}</p>{% endif %}

<h2>Left whole</h2>
{% if excluded is not none %}<div class="wide">{{ excluded }}</div>
{% else %}<p>Nothing: every unit that was found may be cut.</p>{% endif %}
{% if report.untraced %}<p>No output depends on {{ report.untraced|join(", ") }}.</p>
{% endif %}
{% if report.notes %}<h2>Notes</h2>
<ul>{% for note in report.notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
<details><summary>{{ "{:.1f}".format(report.seconds.values()|sum) }} seconds</summary>
<div class="wide">{{ seconds }}</div></details>
"""


_GOALS = {
    "minimize": "the redundancy between the channels kept",
    "maximize": "what the layers that read them keep of their input",
}


def write_report(
    result: PruneResult, path: str | Path, *, title: str, explorer: str | None = None
) -> None:
    """Write a self-contained page: costs, picture, units, what was left whole.

    Parameters
    ----------
    result : PruneResult
    path : str or Path
    title : str
    explorer : str, optional
        Where the explorer's page lies, seen from this one.

    Raises
    ------
    MissingExtraError
        If jinja2 or matplotlib is not installed.
    """
    need_pages()
    import pandas as pd
    import torch

    report, kept = result.report, sum(result.plan.counts.values())
    columns = ["unit", "size", "layer", "reason"]
    seconds = [{"stage": k, "seconds": v} for k, v in report.seconds.items()]
    write_page(
        path,
        _BODY,
        title=title,
        facts=(
            f"{kept} of {sum(result.plan.sizes.values())} channels kept; "
            f"{report.allocation} allocation, method {report.method}, "
            f"graphs of {result.graphs.images} images"
        ),
        made=f"; torch {torch.__version__}",
        report=report,
        explorer=explorer,
        units=report.units,
        goal=_GOALS[report.units[0].sense],
        costs=_costs(report),
        gaps={
            name: "" if found.gap is None else f"{found.gap:.2%}"
            for name, found in result.solutions.items()
        },
        picture=_picture(result),
        excluded=(
            as_table(pd.DataFrame(report.exclusions)[columns], words=True)
            if report.exclusions
            else None
        ),
        seconds=as_table(pd.DataFrame(seconds), digits=3),
    )


def _costs(report: PruneReport) -> list[dict[str, Any]]:
    return [
        {
            "name": {"macs": "MACs", "params": "parameters"}.get(name, name),
            "before": before,
            "after": report.pruned[name],
            "reached": report.reached[name],
            "asked": report.asked.get(name),
        }
        for name, before in report.original.items()
    ]


def _picture(result: PruneResult) -> str:
    from matplotlib.figure import Figure

    from sirfp_opt.plotting import plot_plan

    size = (min(14.0, max(5.0, 0.28 * len(result.plan))), 4.2)
    figure = Figure(figsize=size, layout="constrained")
    plot_plan(result.plan, ax=figure.subplots())
    return as_svg(figure)
