"""Settle what may be cut: trial by trial, what fails gets another way, or stays whole.

Labels say which positions are one channel; they do not say what the code around them
takes for granted. It may lay channels out in rows and columns, count them in an
attribute, or need two equal numbers. A failing trial points at an operation
(`evidence`), that at the channels which it touches, and these are given another way to
be cut, all alike in one go; without one they stay whole.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sirfp_opt.pytorch.coupling.coupling import Exclusion
from sirfp_opt.pytorch.coupling.evidence import Witness
from sirfp_opt.pytorch.coupling.labels.products import PRODUCTS
from sirfp_opt.pytorch.coupling.trial import Finding, Trials, staggered
from sirfp_opt.pytorch.coupling.ways import Way, Ways

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.drafting import Candidate, Drafting
    from sirfp_opt.pytorch.coupling.labels.records import Step

__all__ = ["Settled", "settle"]

logger = logging.getLogger(__name__)

MOST = 40
"""Trials after which whatever is still under suspicion stays whole."""

ENOUGH = 2
"""Units given up at one line of code after which all others of their kind are."""

MOST_BACK = 6
"""Units given up that are tried once more when the others have passed."""

SMALL = 8
"""Groups of a unit up to which a wrong one may fit by chance."""


@dataclass
class Settled:
    """What passed, what did not, and the number of trials."""

    candidates: list[Candidate]
    exclusions: list[Exclusion]
    trials: int


@dataclass
class _Decision:
    """The ways for some channels, and which one is in use; -1 is none of them."""

    labels: set[int]
    ways: list[Way]
    reason: tuple[str, str]
    used: int = -1

    @property
    def way(self) -> Way | None:
        return self.ways[self.used] if 0 <= self.used < len(self.ways) else None


def settle(
    drafting: Drafting,
    trials: Trials,
    ignored: Mapping[str, str],
    rng: np.random.Generator,
) -> Settled:
    """Try units until a joint cut of all that are left is exact, twice in a row.

    Parameters
    ----------
    drafting : Drafting
    trials : Trials
    ignored : mapping of str to str
        Layers to leave whole, and the pattern that says so.
    rng : numpy.random.Generator
        Of the channels that are cut.
    """
    return _Settling(drafting, trials, ignored, rng).settle()


@dataclass
class _Settling:
    drafting: Drafting
    trials: Trials
    ignored: Mapping[str, str]
    rng: np.random.Generator
    decisions: list[_Decision] = field(default_factory=list)
    # Channels that are given up, by class: where and why.
    whole: dict[int, tuple[str, str]] = field(default_factory=dict)
    # How many were given up at a line of code.
    lost_at: Counter[tuple[str, int]] = field(default_factory=Counter)
    lost: list[_Decision] = field(default_factory=list)

    def settle(self) -> Settled:
        self.witness = Witness(self.drafting.tables)
        self.ways = Ways(self.drafting)
        self.members = _members_of_heads(self.drafting)
        candidates, exclusions = self._narrow()
        back = self._readmit()
        if back:  # whatever is taken back has to pass with all others, too
            taken, excluded = self._draft()
            if self._passes(taken):
                candidates, exclusions = taken, excluded
            else:
                for decision in back:
                    self.whole.update(dict.fromkeys(decision.labels, decision.reason))
        return Settled(candidates, self.drafting.ordered(exclusions), self.trials.runs)

    def _passes(self, candidates: Sequence[Candidate]) -> bool:
        turns = range(1, 1 + _turns(candidates))
        return all(self._try(candidates, turn) is None for turn in turns)

    def _readmit(self) -> list[_Decision]:
        """Take back what was given up beside others that were to blame."""
        back = []
        for decision in self.lost[:MOST_BACK]:
            for one in decision.labels:
                self.whole.pop(one, None)
            candidates, _ = self._draft()
            if self._try(candidates, 1) is None and self._try(candidates, 2) is None:
                back.append(decision)
            else:
                self.whole.update(dict.fromkeys(decision.labels, decision.reason))
        return back

    def _narrow(self) -> tuple[list[Candidate], list[Exclusion]]:
        """Try until all that is left passes."""
        passed = turn = 0
        while True:
            candidates, exclusions = self._draft()
            if not candidates:
                return [], exclusions
            finding = self._try(candidates, turn)
            turn += 1
            if finding is None:
                passed += 1
                if passed >= _turns(candidates):
                    return candidates, exclusions
                continue
            passed = 0
            hit, alike = self._blamed(finding, candidates)
            logger.info(
                "trial %d: %s; %s",
                self.trials.runs,
                finding.text,
                [c.unit.name for c in [*hit, *(one for one, _ in alike)]],
            )
            where = finding.step.where if finding.step is not None else ""
            for candidate in hit:
                self._advance(candidate, candidates, finding, where, direct=True)
            for candidate, there in alike:
                self._advance(candidate, candidates, finding, there, direct=False)

    def _draft(self) -> tuple[list[Candidate], list[Exclusion]]:
        """Return what is to be tried under the decisions of now."""
        while True:
            ways = [d.way for d in self.decisions if d.way is not None]
            ties = [tie for way in ways for tie in way.ties]
            loose: set[int] = set().union(*(way.loose for way in ways))
            tables = self.drafting.tables
            drafts = tables.drafts(tables.groups(ties, loose))
            for draft in drafts:
                draft.loose = not loose.isdisjoint(draft.labels)
            candidates, excluded = self.drafting.sort(drafts, self.ignored)
            # A way that ties channels to what stays is none.
            stay = [draft for _, draft in excluded]
            stay += [c.draft for c in candidates if self._lost(c) is not None]
            stuck = [
                decision
                for decision in self.decisions
                if decision.way is not None
                and any(not decision.labels.isdisjoint(d.labels) for d in stay)
            ]
            if not stuck:
                break
            for decision in stuck:
                self._next(decision)
        good, exclusions = [], [exclusion for exclusion, _ in excluded]
        for candidate in candidates:
            lost = self._lost(candidate)
            if lost is not None:
                layer, reason = lost
                unit = candidate.unit
                exclusions.append(Exclusion(unit.name, unit.size, layer, reason))
                continue
            chosen = self._decision(candidate)
            if chosen is not None and chosen.way is not None and chosen.way.broad:
                candidate = self.drafting.counting_broadly(candidate)
            good.append(candidate)
        return good, exclusions

    def _lost(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return where and why a candidate was given up, None if it was not."""
        labels = candidate.draft.labels
        return next((self.whole[one] for one in labels if one in self.whole), None)

    def _try(self, candidates: Sequence[Candidate], turn: int) -> Finding | None:
        units = [candidate.unit for candidate in candidates]
        labels = {c.unit.name: c.draft.labels for c in candidates}
        kept = staggered(units, self.rng, turn)
        return self.trials.run(units, kept, labels, self.witness)

    def _decision(self, candidate: Candidate) -> _Decision | None:
        labels = candidate.draft.labels
        mine = (d for d in self.decisions if not d.labels.isdisjoint(labels))
        return next(mine, None)

    def _advance(
        self,
        candidate: Candidate,
        others: Sequence[Candidate],
        finding: Finding,
        where: str,
        *,
        direct: bool,
    ) -> None:
        """Give a candidate its next way; if it is to blame itself, perhaps none."""
        decision = self._decision(candidate)
        if decision is None:
            layer = candidate.unit.name.partition("[")[0]
            ways = self.ways.of(candidate, others, where)
            reason = (where or layer, finding.text)
            labels = set(candidate.draft.labels)
            decision = _Decision(labels, ways, reason)
            self.decisions.append(decision)
        if self.trials.runs > MOST:
            decision.used = len(decision.ways)
        last = decision.used >= len(decision.ways) - 1
        line = finding.step.line if finding.step is not None else ("", 0)
        if last and not direct and self.lost_at[line] < ENOUGH:
            return
        if last and direct:
            self.lost_at[line] += 1
        self._next(decision)

    def _next(self, decision: _Decision) -> None:
        decision.used += 1
        if decision.used >= len(decision.ways):
            self.whole.update(dict.fromkeys(decision.labels, decision.reason))
            self.decisions.remove(decision)
            self.lost.append(decision)

    def _blamed(
        self, finding: Finding, candidates: list[Candidate]
    ) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
        """Return the candidates that are to blame, and others of their kind.

        The others with the module whose code is the same there.
        """
        step = finding.step
        hit = [] if step is None else self._touching(step, candidates, finding.removed)
        if step is not None and not hit:  # what is cut beside it in the same code
            return self._beside(step, candidates)
        if step is None:
            return self._searched(candidates), []
        kind = type(self.drafting.modules.get(step.where))
        again: dict[int, str] = {}
        for other in self.witness.steps:
            where = type(self.drafting.modules.get(other.where))
            if (other.line, other.name, where) == (step.line, step.name, kind):
                read, touched = self._touched(other)
                again.update(dict.fromkeys(read or touched, other.where))
        decisions = [self._decision(candidate) for candidate in hit]
        ways = {decision.used for decision in decisions if decision is not None}
        alike = []
        for candidate in candidates:
            decision = self._decision(candidate)
            if decision is not None and decision.used not in ways:
                continue
            there = next((again[o] for o in candidate.draft.labels if o in again), None)
            if there is not None and candidate not in hit:
                alike.append((candidate, there))
        return hit, alike

    def _beside(
        self, step: Step, candidates: list[Candidate]
    ) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
        """Return the candidates in the module that fails, and in others of its kind."""
        modules, near = self.drafting.modules, self.drafting.counting.near
        hit = [c for c in candidates if step.where in near(c.draft)]
        if not hit or not step.where:
            return self._searched(candidates), []
        kind = type(modules[step.where])
        alike = []
        for candidate in candidates:
            same = [n for n in near(candidate.draft) if type(modules[n]) is kind]
            if same and candidate not in hit:
                alike.append((candidate, same[0]))
        return hit, alike

    def _touching(
        self, step: Step, candidates: Sequence[Candidate], removed: IntArray
    ) -> list[Candidate]:
        """Return the candidates that an operation reads, or else touches at all."""
        lost = set(removed.tolist())
        for labels in self._touched(step):
            mine = labels & lost
            found = [c for c in candidates if not mine.isdisjoint(c.draft.labels)]
            if found:
                return found
        return []

    def _touched(self, step: Step) -> tuple[set[int], set[int]]:
        """Return the classes that an operation reads, and those that it touches."""
        roots = self.drafting.tables.roots
        touched = set(roots[step.touched].tolist())
        for head in list(touched):
            touched |= self.members.get(head, set())
        made: set[int] = set()
        if step.label is not None and step.name in PRODUCTS:
            made = set(roots[step.label.numpy().ravel()].tolist())
        return touched - made, touched

    def _searched(self, candidates: list[Candidate]) -> list[Candidate]:
        """Find one candidate to blame by halving, where there is no evidence."""
        alone = [c for c in candidates if not self.trials.can_cut(c.unit)]
        if alone:
            return alone
        low, high = 0, len(candidates)
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(candidates[:middle], middle) is None:
                low = middle
            else:
                high = middle
        return candidates[low:high]


def _turns(candidates: Sequence[Candidate]) -> int:
    """Return how many trials in a row must pass: small sets may fit by chance."""
    smallest = min(len(candidate.draft.blocks) for candidate in candidates)
    return 2 if smallest > SMALL else 4


def _members_of_heads(drafting: Drafting) -> dict[int, set[int]]:
    tables = drafting.tables
    heads = {int(tables.roots[label]) for label in tables.tracker.products}
    found: dict[int, set[int]] = {}
    for one, other in tables.soft.T.tolist():
        for head, member in ((one, other), (other, one)):
            if head in heads:
                found.setdefault(head, set()).add(member)
    return found
