"""Whose channels an operation of the run touches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sirfp_opt.pytorch.coupling.labels.products import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sirfp_opt._validate import IntArray
    from sirfp_opt.pytorch.coupling.drafting import Candidate, Drafting
    from sirfp_opt.pytorch.coupling.labels.records import Step

__all__ = ["Blame"]


@dataclass
class Blame:
    """Looks up candidates by operations.

    Parameters
    ----------
    drafting : Drafting
    steps : sequence of Step
        The operations of the run that is compared.
    """

    drafting: Drafting
    steps: Sequence[Step]
    _members: dict[int, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._members = _members_of_heads(self.drafting)

    def touching(
        self, step: Step, candidates: Sequence[Candidate], removed: IntArray
    ) -> list[Candidate]:
        """Return the candidates that an operation reads, or else touches at all."""
        lost = set(removed.tolist())
        for labels in self.touched(step):
            mine = labels & lost
            found = [c for c in candidates if not mine.isdisjoint(c.draft.labels)]
            if found:
                return found
        return []

    def touched(self, step: Step) -> tuple[set[int], set[int]]:
        """Return the classes that an operation reads, and those that it touches."""
        roots = self.drafting.tables.roots
        touched = set(roots[step.touched].tolist())
        for head in list(touched):
            touched |= self._members.get(head, set())
        made: set[int] = set()
        if step.label is not None and step.name in PRODUCTS:
            made = set(roots[step.label.numpy().ravel()].tolist())
        return touched - made, touched

    def again(self, step: Step) -> dict[int, str]:
        """Return the classes that the same code touches elsewhere, and the module.

        The same line of code, the same operation, in modules of the same type.
        """
        kind = type(self.drafting.modules.get(step.where))
        again: dict[int, str] = {}
        for other in self.steps:
            where = type(self.drafting.modules.get(other.where))
            if (other.line, other.name, where) == (step.line, step.name, kind):
                read, touched = self.touched(other)
                again.update(dict.fromkeys(read or touched, other.where))
        return again


def _members_of_heads(drafting: Drafting) -> dict[int, set[int]]:
    tables = drafting.tables
    heads = {int(tables.roots[label]) for label in tables.tracker.products}
    found: dict[int, set[int]] = {}
    for one, other in tables.soft.T.tolist():
        for head, member in ((one, other), (other, one)):
            if head in heads:
                found.setdefault(head, set()).add(member)
    return found
