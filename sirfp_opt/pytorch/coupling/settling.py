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

from sirfp_opt.pytorch.coupling.blame import Blame
from sirfp_opt.pytorch.coupling.coupling import Exclusion
from sirfp_opt.pytorch.coupling.evidence import Witness
from sirfp_opt.pytorch.coupling.hints import in_order
from sirfp_opt.pytorch.coupling.trial import Finding, Trials, staggered
from sirfp_opt.pytorch.coupling.ways import Way, Ways, claimed_twice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.drafting import Candidate, Drafting
    from sirfp_opt.pytorch.coupling.labels.records import Step
    from sirfp_opt.pytorch.coupling.labels.tables import Draft

__all__ = ["Settled", "settle"]

logger = logging.getLogger(__name__)

MOST = 40
"""Trials after which whatever is still under suspicion stays whole."""

ENOUGH = 2
"""Units given up at one line of code after which all others of their kind are."""

MOST_BACK = 6
"""Units given up that are tried once more when the others have passed."""

MOST_WAYS = 4
"""Ways in use together for the same channels."""

MOST_TRIED = 8
"""Ways tried for what goes wrong at one operation."""

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
    """How some channels are cut, and what else there is to be tried.

    Of the ways in `used` all are in use; the last was taken for what went wrong at the
    operation number `step`. Where a later one fails, another way comes in besides.
    """

    labels: set[int]
    reason: tuple[str, str]
    step: int = -1
    used: list[Way] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)

    @property
    def place(self) -> tuple[int, int]:
        """How far the decision is along its ways."""
        return len(self.used), len(self.ways)


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
    # What the last trial kept.
    kept: dict[str, IntArray] = field(default_factory=dict)

    def settle(self) -> Settled:
        self.witness = Witness(self.drafting.tables)
        self.numbers = {id(step): i for i, step in enumerate(self.witness.steps)}
        self.ways = Ways(self.drafting)
        self.blame = Blame(self.drafting, self.witness.steps)
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
        return all(self._fits(candidates, 1 + n) for n in range(_turns(candidates)))

    def _readmit(self) -> list[_Decision]:
        """Take back what was given up beside others that were to blame."""
        back = []
        for decision in self.lost[:MOST_BACK]:
            for one in decision.labels:
                self.whole.pop(one, None)
            candidates, _ = self._draft()
            if self._fits(candidates, 1) and self._fits(candidates, 2):
                back.append(decision)
            else:
                self.whole.update(dict.fromkeys(decision.labels, decision.reason))
        return back

    def _narrow(self) -> tuple[list[Candidate], list[Exclusion]]:
        """Try until all that is left passes."""
        turn = 0
        while True:
            candidates, exclusions = self._draft()
            if not candidates:
                return [], exclusions
            finding = None
            for _ in range(_turns(candidates)):
                finding = self._try(candidates, turn, self.witness)
                turn += 1
                if finding is not None:
                    break
            if finding is None:
                return candidates, exclusions
            hit, alike = self._blamed(finding, candidates)
            logger.info(
                "trial %d: %s at %s; %s",
                self.trials.runs,
                finding.text,
                None if finding.step is None else finding.step.told,
                [c.unit.name for c in [*hit, *(one for one, _ in alike)]],
            )
            where = finding.step.where if finding.step is not None else ""
            taken = [self._advance(one, candidates, finding, where) for one in hit]
            self._follow(alike, candidates, finding, [way for way in taken if way])

    def _draft(self) -> tuple[list[Candidate], list[Exclusion]]:
        """Return what is to be tried under the decisions of now."""
        claims: list[IntArray] = []
        while True:
            ways = [way for d in self.decisions for way in d.used]
            ties = [tie for way in ways for tie in way.ties] + claims
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
                if decision.used
                and any(not decision.labels.isdisjoint(d.labels) for d in stay)
            ]
            for decision in stuck:
                self._next(decision)
            if stuck:
                continue
            good, exclusions = self._sorted(candidates, excluded)
            met = claimed_twice(good)
            if not met:
                return good, exclusions
            claims += met

    def _sorted(
        self,
        candidates: Sequence[Candidate],
        excluded: Sequence[tuple[Exclusion, Draft]],
    ) -> tuple[list[Candidate], list[Exclusion]]:
        """Take out what was given up; let the others count what they have to."""
        good, exclusions = [], [exclusion for exclusion, _ in excluded]
        for candidate in candidates:
            lost = self._lost(candidate)
            if lost is not None:
                layer, reason = lost
                unit = candidate.unit
                exclusions.append(Exclusion(unit.name, unit.size, layer, reason))
                continue
            mine = self._decisions(candidate)
            if any(way.broad for decision in mine for way in decision.used):
                candidate = self.drafting.counting_broadly(candidate)
            good.append(candidate)
        return good, exclusions

    def _lost(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return where and why a candidate was given up, None if it was not."""
        labels = candidate.draft.labels
        return next((self.whole[one] for one in labels if one in self.whole), None)

    def _fits(self, candidates: Sequence[Candidate], turn: int) -> bool:
        """Tell whether a trial passes; of one that does not, nobody asks why."""
        return self._try(candidates, turn, None) is None

    def _try(
        self, candidates: Sequence[Candidate], turn: int, witness: Witness | None
    ) -> Finding | None:
        units = [candidate.unit for candidate in candidates]
        labels = {c.unit.name: c.draft.labels for c in candidates}
        self.kept = staggered(units, self.rng, turn)
        return self.trials.run(units, self.kept, labels, witness)

    def _decisions(self, candidate: Candidate) -> list[_Decision]:
        labels = candidate.draft.labels
        return [d for d in self.decisions if not d.labels.isdisjoint(labels)]

    def _kind(self, candidate: Candidate, step: Step | None) -> tuple[object, ...]:
        """Return what candidates have in common that are given the same ways."""
        heads, _ = self.drafting.counting.heads(candidate.draft)
        decision = self._decision(candidate, step)
        place = (0, 0) if decision is None else decision.place
        return heads is None, candidate.draft.blocks.shape[1] > 1, *place

    def _decision(self, candidate: Candidate, step: Step | None) -> _Decision | None:
        """Return the decision about a candidate, or about what a step reads of it."""
        mine = self._decisions(candidate)
        if step is not None:
            touched = self.blame.touched(step)[1]
            for decision in mine:
                if not decision.labels.isdisjoint(touched):
                    return decision
        return next(iter(mine), None)

    def _advance(
        self,
        candidate: Candidate,
        others: Sequence[Candidate],
        finding: Finding,
        where: str,
    ) -> Way | None:
        """Give a candidate that is to blame its next way, or none; return it."""
        step = finding.step
        number = -1 if step is None else self.numbers[id(step)]
        decision = self._decision(candidate, step)
        further = decision is not None and number > decision.step >= 0
        if decision is None:
            decision = self._decide(candidate, finding, where)
        if not decision.used or (further and len(decision.used) < MOST_WAYS):
            known = {way.what for way in decision.used}
            ways = self._ways(candidate, others, finding, where)
            left = [way for way in ways if way.what not in known]
            decision.ways, decision.step = left[:MOST_TRIED], number
        else:
            further = False
        if self.trials.runs > MOST:
            decision.ways = []
        if not decision.ways:
            self.lost_at[finding.line] += 1
        return self._next(decision, besides=further)

    def _decide(self, candidate: Candidate, finding: Finding, where: str) -> _Decision:
        layer = candidate.unit.name.partition("[")[0]
        labels = set(candidate.draft.labels)
        decision = _Decision(labels, (where or layer, finding.text))
        self.decisions.append(decision)
        return decision

    def _ways(
        self,
        candidate: Candidate,
        others: Sequence[Candidate],
        finding: Finding,
        where: str,
    ) -> list[Way]:
        step = finding.step
        heads, _ = self.drafting.counting.heads(candidate.draft)
        if heads is None and step is not None and "scaled_dot_product" in step.name:
            return []  # its scale goes by the width of a head
        ways = self.ways.of(candidate, others, where)
        return in_order(ways, finding.text, candidate, others, self.kept)

    def _follow(
        self,
        alike: Sequence[tuple[Candidate, str]],
        others: Sequence[Candidate],
        finding: Finding,
        taken: Sequence[Way],
    ) -> None:
        """Let candidates go the ways that others of their kind have just taken.

        Where those have none left, time and again, these stay whole, too.
        """
        for candidate, where in alike:
            decision = self._decision(candidate, None)
            if not taken:
                if self.lost_at[finding.line] >= ENOUGH:
                    decision = decision or self._decide(candidate, finding, where)
                    decision.ways, decision.used = [], []
                    self._next(decision)
                continue
            if decision is not None:
                continue
            kinds = [way.kind for way in taken]
            ways = self._ways(candidate, others, finding, where)
            ways.sort(key=lambda way: way.kind not in kinds)
            if ways and ways[0].kind in kinds:
                decision = self._decide(candidate, finding, where)
                decision.ways = ways[:MOST_TRIED]
                if finding.step is not None:
                    decision.step = self.numbers[id(finding.step)]
                self._next(decision)

    def _next(self, decision: _Decision, *, besides: bool = False) -> Way | None:
        if decision.used and not besides:
            decision.used.pop()
        if decision.ways:
            way = decision.ways.pop(0)
            decision.used.append(way)
            logger.debug("%s: %s", decision.reason[0], way.what)
            return way
        logger.debug("%s: whole", decision.reason[0])
        self.whole.update(dict.fromkeys(decision.labels, decision.reason))
        self.decisions.remove(decision)
        self.lost.append(decision)
        return None

    def _blamed(
        self, finding: Finding, candidates: list[Candidate]
    ) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
        """Return the candidates that are to blame, and others of their kind.

        The others with the module whose code is the same there.
        """
        step = finding.step
        if step is None:
            return self._searched(candidates), []
        hit = self.blame.touching(step, candidates, finding.removed)
        if not hit:  # what is cut beside it in the same code
            return self._beside(step, candidates)
        again = self.blame.again(step)
        kinds = {self._kind(candidate, step) for candidate in hit}
        alike = []
        for candidate in candidates:
            if self._kind(candidate, None) not in kinds:
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

    def _searched(self, candidates: list[Candidate]) -> list[Candidate]:
        """Find one candidate to blame by halving, where there is no evidence."""
        alone = [c for c in candidates if not self.trials.can_cut(c.unit)]
        if alone:
            return alone
        low, high = 0, len(candidates)
        while high - low > 1:
            middle = (low + high) // 2
            if self._fits(candidates[:middle], middle):
                low = middle
            else:
                high = middle
        return candidates[low:high]


def _turns(candidates: Sequence[Candidate]) -> int:
    """Return how many trials in a row must pass: small sets may fit by chance."""
    smallest = min(len(candidate.draft.blocks) for candidate in candidates)
    return 2 if smallest > SMALL else 4
