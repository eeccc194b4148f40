"""PruneRequest: what a network is to be cut to, and how, as a value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirfp_opt._parallel import check_jobs
from sirfp_opt._rules import check_fields, check_names, flag, number, ruled, whole
from sirfp_opt._validate import as_int, as_real, brief, plain
from sirfp_opt.api import prepare
from sirfp_opt.constraints import LayerConstraints
from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.limits import Limits
from sirfp_opt.network.allocation import (
    Allocator,
    Threshold,
    as_plain,
    create_allocator,
    from_plain,
)
from sirfp_opt.network.budget import Budget
from sirfp_opt.objective import Objective
from sirfp_opt.pytorch.extraction.metrics import find_metric
from sirfp_opt.pytorch.extraction.settings import Extraction, as_extraction
from sirfp_opt.pytorch.keywords import (
    MOVED,
    SHORT,
    as_patterns,
    as_rules,
    check_fraction,
    must_match,
    said_twice,
)
from sirfp_opt.pytorch.reference import ReferenceOptions
from sirfp_opt.pytorch.refitting.settings import Refit, find_refit
from sirfp_opt.pytorch.verification import TOLERANCE
from sirfp_opt.registry import create_solver

if TYPE_CHECKING:
    from sirfp_opt.protocols import Solver

__all__ = ["PruneRequest", "as_request"]

FORMAT = "sirfp-opt/request/1"


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """What `prune` is asked for.

    `prune` takes one, or its fields as keywords, and these short ones beside them:
    `macs`, `params` and `latency` for those of the budget, `metric` for that of the
    extraction, `time_limit` for that of the limits, and `reference` for all that the
    authors' code does.

    Parameters
    ----------
    budget : Budget or mapping of str to float
        How much of each cost may remain: a fraction up to 1, an absolute number above.
    keep : float or mapping, optional
        Instead of a budget: the fraction of each unit that stays, or by unit name the
        number (int) or the fraction (float); units not named stay whole.
    method : str or Solver
        Which solver chooses a unit's channels: a name from `available_solvers()`.
    options : mapping
        Parameters of the method.
    allocation : str or Allocator, optional
        Which numbers of channels: "uniform", "threshold", "lagrangian" or "optimal",
        which finds the best split of all budgets at once, with a bound. "balanced" and
        "measured" are that, too: with losses squared (`Worth`), or with what each
        unit's loss does to the network's outputs (`Measured`). By default "measured"
        where layers are refitted and a budget is split, else "balanced".
    constraints : mapping of str to LayerConstraints
        By pattern of unit names, or of the layers that make a unit's channels; the
        first that matches counts. Where it has a `multiple_of`, a `k` or a `k_min`,
        these stand in place of `multiple_of` and `min_keep` below.
    min_keep : float
        Least fraction of each unit that stays (rounded down, one channel at least).
    multiple_of : int, optional
        Numbers of channels are multiples of it, or all. None: of 8, in which kernels
        compute, in units of 32 and more without constraints, as long as the budget can
        be reached so; any numbers where `keep` gives them.
    ignore : sequence of str
        Patterns of layers whose outputs stay whole.
    drop_dead : bool
        Drop dead channels (`ExtractedGraphs`) first. They cost no redundancy, so a
        solver alone would rather keep them.
    limits : Limits
        Of each unit's solver.
    seed : int
        Of the solvers and the probe.
    certify : bool or str
        Give each unit's set a proven bound, by a level of `sirfp_opt.bound`; True: the
        tightest, in seconds for each unit of a thousand channels.
    n_jobs : int
        Units solved at a time, by joblib's threads; -1 for all cores.
    extraction : Extraction or mapping, optional
        What is measured, and how; by default what suits `refit`, or whatever
        ready-made graphs are.
    refit : {"full", "merge"}, Refit or None
        Refit the layers that read what was cut, in closed form and without labels, on
        the batches; see `refit`. Channels are then chosen, and the budget split, by
        what is left after it: `extraction` has the metric "refit" by default, where
        method and allocation know such problems. The cut is verified before it. None
        leaves all weights as they are, as the reference mode does.
    verify : bool
        Compare the pruned network's outputs with the masked original's, on a sample of
        every batch and in training mode, too. Units that differ are excluded, and the
        plan is made anew.
    tolerance : float
        Largest difference allowed in any channel of any output, as a share of that
        channel's own size.

    Raises
    ------
    InvalidProblemError, UnknownSolverError, SolverNotInstalledError, UnsupportedError
        If a value breaks a rule: before any network is looked at.

    Examples
    --------
    >>> from sirfp_opt.pytorch import PruneRequest
    >>> request = PruneRequest(budget={"macs": 0.4}, method="tabu")
    >>> PruneRequest.from_json(request.to_json()) == request
    True
    """

    budget: Budget = field(default_factory=Budget)
    keep: float | Mapping[str, int | float] | None = None
    method: str | Solver = "greedy"
    options: Mapping[str, Any] = field(default_factory=dict)
    allocation: str | Allocator | None = None
    constraints: Mapping[str, LayerConstraints] = field(default_factory=dict)
    min_keep: float = ruled(
        number(0.0, 1.0, way="Pass the least fraction of each unit that stays."), 0.1
    )
    multiple_of: int | None = ruled(whole(1, optional=True), None)
    ignore: tuple[str, ...] = ()
    drop_dead: bool = ruled(flag(), True)
    limits: Limits = field(default_factory=Limits)
    seed: int = ruled(whole(0), 0)
    certify: bool | str = False
    n_jobs: int = 1
    extraction: Extraction | None = None
    refit: Refit | None = field(default_factory=Refit)
    verify: bool = ruled(flag(), True)
    tolerance: float = ruled(number(0.0, way="The default is 1e-5."), TOLERANCE)

    def __post_init__(self) -> None:
        store = object.__setattr__
        store(self, "budget", Budget.of(self.budget))
        check_fields(self)
        for name in ("options", "constraints"):
            if not isinstance(getattr(self, name), Mapping):
                raise InvalidProblemError(
                    f"`{name}` must be a mapping, got {brief(getattr(self, name))}. "
                    "Pass a dict."
                )
            store(self, name, dict(getattr(self, name)))
        store(self, "ignore", as_patterns(self.ignore, "ignore"))
        as_patterns(self.constraints, "constraints")
        for name, rules in self.constraints.items():
            if not isinstance(rules, LayerConstraints):
                raise InvalidProblemError(
                    f"`constraints[{name!r}]` must be a LayerConstraints, got "
                    f"{brief(rules)}. Pass LayerConstraints(multiple_of=8)."
                )
        self._check_keep()
        create_allocator(self.split)
        if self.extraction is not None:
            store(self, "extraction", as_extraction(self.extraction))
        check_jobs(self.n_jobs)
        if self.refit is not None:
            store(self, "refit", find_refit(self.refit, "refit"))
        refit = find_metric(self.measured.metric).apart
        prepare(
            self.method,
            self.options,
            limits=self.limits,
            seed=self.seed,
            certify=self.certify,
            objective=Objective.REFIT if refit else Objective.CLIQUE,
        )

    def _check_keep(self) -> None:
        if bool(self.budget) == (self.keep is not None):
            raise InvalidProblemError(
                "`macs`, `params`, `latency` or `keep` must say how much remains, got "
                f"{'both kinds' if self.budget else 'none of them'}. "
                "Pass for instance macs=0.4."
            )
        if isinstance(self.keep, Mapping):
            as_patterns(self.keep, "keep")
            for name, value in self.keep.items():
                if isinstance(value, Integral) and not isinstance(value, bool):
                    as_int(value, f"keep[{name!r}]", least=1)
                else:
                    check_fraction(value, f"keep[{name!r}]")
            object.__setattr__(self, "keep", dict(self.keep))
        elif self.keep is not None:
            check_fraction(self.keep, "keep")

    @property
    def measured(self) -> Extraction:
        """What is extracted where no graphs are given."""
        refitted = self.refit is not None and self.knows_refit
        return self.extraction or Extraction("refit" if refitted else "reconstruction")

    @property
    def split(self) -> str | Allocator:
        """What splits the budget; where numbers are given there is nothing to split."""
        measured = self.keep is None and self.refit is not None and self._takes_refit
        return self.allocation or ("measured" if measured else "balanced")

    @property
    def knows_refit(self) -> bool:
        """Whether method and allocation take problems of refitted readers."""
        return self._takes_refit and not isinstance(
            create_allocator(self.allocation or "balanced"), Threshold
        )

    @property
    def _takes_refit(self) -> bool:
        _, solver = create_solver(self.method, self.options)
        return Objective.REFIT in solver.info.objectives

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse patterns that match no layer of a network, with the nearest names.

        Parameters
        ----------
        names : iterable of str
            Qualified names of the network's modules and parameters.

        Raises
        ------
        InvalidProblemError
        """
        known = [name for name in names if name]
        must_match(self.ignore, known, "ignore")
        must_match(self.constraints, known, "constraints")
        if isinstance(self.keep, Mapping):
            must_match(self.keep, known, "keep", literal=True)

    # -- in and out --------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain values, which go to JSON.

        What is an object of a class of your own is written by its repr, and cannot be
        read back.
        """
        method, options = self.method, dict(self.options)
        if not isinstance(method, str):
            name, solver, *_ = prepare(method)
            method, options = name, asdict(solver)  # type: ignore[call-overload]
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        limits = {name: getattr(self.limits, name) for name in self.limits.given}
        refit, extraction = self.refit, self.extraction
        told = {
            "format": FORMAT,
            **data,
            "budget": self.budget.to_dict(),
            "method": method,
            "options": options,
            "allocation": None
            if self.allocation is None
            else as_plain(self.allocation),
            "constraints": {k: v.to_dict() for k, v in self.constraints.items()},
            "limits": limits,
            "refit": None if refit is None else refit.to_dict(),
            "extraction": None if extraction is None else extraction.to_dict(),
        }
        return {name: plain(part) for name, part in told.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PruneRequest:
        """Read what `to_dict` wrote, or what somebody wrote by hand.

        Everything that is left out is at its default; the short keywords of `prune`
        are understood, too.

        Raises
        ------
        InvalidProblemError
            On another format, unknown names and wrong values.
        """
        if not isinstance(data, Mapping):
            raise InvalidProblemError(
                f"`data` must be a mapping, got {brief(data)}. "
                "Pass what PruneRequest.to_dict returned."
            )
        parts = dict(data)
        found = parts.pop("format", FORMAT)
        if found != FORMAT:
            raise InvalidProblemError(
                f"`data` must be a request of format {FORMAT!r}, got {found!r}. "
                "Write it with PruneRequest.to_json."
            )
        if parts.get("allocation") is not None:
            parts["allocation"] = from_plain(parts["allocation"])
        if isinstance(parts.get("refit"), Mapping):
            parts["refit"] = Refit.from_dict(parts["refit"])
        rules = parts.get("constraints", {})
        if isinstance(rules, Mapping):
            parts["constraints"] = {k: as_rules(v, k) for k, v in rules.items()}
        if isinstance(parts.get("limits"), Mapping):
            limits = parts["limits"]
            check_names(limits, [f.name for f in fields(Limits)], "Limits")
            parts["limits"] = Limits(**limits)
        return as_request(None, parts)

    def to_json(self, path: str | Path | None = None, *, indent: int | None = 1) -> str:
        """Return the request as JSON text, and write it to `path` if there is one."""
        text = json.dumps(self.to_dict(), indent=indent)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> PruneRequest:
        """Read a request from a file, or from JSON text, which starts with "{"."""
        text = source if isinstance(source, str) else ""
        if not text.lstrip().startswith("{"):
            text = Path(source).read_text(encoding="utf-8")
        return cls.from_dict(json.loads(text))


def as_request(
    request: PruneRequest | Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> PruneRequest:
    """Return the one request that a value and keywords beside it stand for.

    Parameters
    ----------
    request : PruneRequest or mapping, optional
    settings : mapping
        Keywords of `prune`, which take the place of what is in `request`.

    Raises
    ------
    InvalidProblemError
        On unknown keywords, and on things that are said twice.
    """
    if isinstance(request, Mapping):
        request = PruneRequest.from_dict(request)
    if not isinstance(request, (PruneRequest, type(None))):
        raise InvalidProblemError(
            f"`request` must be a PruneRequest, got {brief(request)}. Pass one, or "
            "keywords such as macs=0.4."
        )
    names = [f.name for f in fields(PruneRequest)]
    check_names(settings, [*names, *SHORT], "prune", MOVED)
    parts: dict[str, Any] = {k: v for k, v in settings.items() if k in names}
    short = {k: v for k, v in settings.items() if k in SHORT}
    costs = {
        k: short[k] for k in ("macs", "params", "latency") if short.get(k) is not None
    }
    if costs:
        if "budget" in parts:
            raise said_twice("budget", *costs)
        parts["budget"] = Budget(**costs)
    if short.get("time_limit") is not None:
        base = parts.get("limits") or (request.limits if request else Limits())
        if not isinstance(base, Limits):
            raise InvalidProblemError(
                f"`limits` must be a Limits, got {brief(base)}. Pass Limits(time=...)."
            )
        if "limits" in parts and base.time is not None:
            raise said_twice("limits.time", "time_limit")
        as_real(short["time_limit"], "time_limit")
        parts["limits"] = replace(base, time=short["time_limit"])
    reference = short.get("reference", False)
    if reference is not False:
        parts = _as_reference(parts, reference)
    if isinstance(parts.get("extraction"), Mapping):
        rest = {k: v for k, v in parts.items() if k != "extraction"}
        suits = _made(request and replace(request, extraction=None), rest).measured
        parts["extraction"] = as_extraction(parts["extraction"], default=suits)
    if "metric" in short:
        base_extraction = request.extraction if request else None
        stated = as_extraction(parts.get("extraction"), default=base_extraction)
        parts["extraction"] = as_extraction(stated, {"metric": short["metric"]})
    return _made(request, parts)


def _made(request: PruneRequest | None, parts: dict[str, Any]) -> PruneRequest:
    """Return a request with some fields given."""
    if request is None:
        return PruneRequest(**parts)
    parts = dict(parts)
    if "budget" in parts and "keep" not in parts:
        parts["keep"] = None  # one takes the place of the other
    elif parts.get("keep") is not None and "budget" not in parts:
        parts["budget"] = Budget()
    return replace(request, **parts)


def _as_reference(parts: dict[str, Any], reference: Any) -> dict[str, Any]:
    """Put in what the authors' code does."""
    if reference is True:
        reference = ReferenceOptions()
    if not isinstance(reference, ReferenceOptions):
        raise InvalidProblemError(
            f"`reference` must be True, False or ReferenceOptions, got "
            f"{brief(reference)}. Pass True for all that the authors' code does."
        )
    stated = parts.get("extraction")
    return parts | {
        "allocation": reference.threshold,
        "min_keep": reference.min_keep,
        "drop_dead": False,
        "multiple_of": parts.get("multiple_of", 1),
        "refit": parts.get("refit"),
        "extraction": as_extraction(stated, reference.extraction),
    }
