"""What differs between the tasks of the study: networks, pictures, judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from examples.studies.real.stamps.networks import NAMES
from examples.studies.real.stamps.task import Stamps
from examples.studies.real.text import Text

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Task", "task_of"]


class Task(Protocol):
    """Networks of one kind, their pictures, and their judge.

    A pace is "full", or "quick" for a few pictures that are nobody's.
    """

    def missing(self, network: str) -> list[str]:
        """Return what would have to be installed."""
        ...

    def load(self, network: str) -> nn.Module:
        """Return a network, in evaluation mode."""
        ...

    def calibration(self, seed: int, pace: str) -> list[Tensor]:
        """Return batches of pictures without labels: what is pruned and refitted on."""
        ...

    def labelled(self, seed: int, pace: str) -> list[tuple[Tensor, Tensor]]:
        """Return pictures and true labels, for a criterion that needs them."""
        ...

    def tuning(self, pace: str) -> Tensor:
        """Return pictures without labels, for distillation."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss with true labels."""
        ...

    def imitation(self, outputs: Tensor, told: Tensor) -> Tensor:
        """Return the loss with the dense network's outputs."""
        ...

    def judge(self, model: nn.Module, network: str, pace: str) -> dict[str, float]:
        """Return figures of `execute.FIGURES`, from pictures that nothing else saw."""
        ...


def task_of(network: str) -> Task:
    """Return the task of a network."""
    return Stamps() if network in NAMES else Text()
