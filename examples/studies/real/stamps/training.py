"""Training that can be stopped at any step, and ended when there is no more time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["learn"]

LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
WARM_UP = 50


def learn(
    model: nn.Module,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    decay: int,
    state: Path,
    *,
    rare: Tensor | None = None,
    every: int = 50,
    on_step: Callable[[int, float], None] | None = None,
) -> float:
    """Train in place: AdamW on the pixels' cross-entropy.

    The rate rises over the first steps, stays, and falls linearly to zero over the last
    `decay`. Nothing before those depends on how many steps there will be, so the state
    that is kept serves a longer training as well as the end of this one.

    Parameters
    ----------
    model : nn.Module
        Maps images (N, 3, H, W) to scores (N, classes, H, W).
    batch : callable
        From a step's number to its images and labels.
    steps, decay : int
        Number of optimiser steps in all, and of those at the end.
    state : Path
        Where to go on, if it is there; what is done is kept there.
    rare : Tensor, optional
        Weights of the classes in the last steps only (deferred re-weighting, K. Cao et
        al., NeurIPS 2019): what is rare or thin is not learnt otherwise.
    every : int
        Steps between two states that are kept.
    on_step : callable, optional
        Called after each step with its number (from 1) and its loss.

    Returns
    -------
    float
        CPU seconds of all sittings.
    """
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    done, before = 0, 0.0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        if kept["done"] <= steps - decay:
            model.load_state_dict(kept["model"])
            optimizer.load_state_dict(kept["optimizer"])
            done, before = kept["done"], kept["seconds"]
    start = time.process_time()
    model.train()
    for step in range(done, steps):
        rising, falling = (step + 1) / WARM_UP, (steps - step) / (decay + 1)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, rising, falling)
        images, labels = batch(step)
        weight = rare if step >= steps - decay else None
        loss = functional.cross_entropy(model(images), labels, weight)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if on_step is not None:
            on_step(step + 1, float(loss.detach()))
        if (step + 1) % every == 0 and step + 1 <= steps - decay:
            _keep(
                model, optimizer, step + 1, before + time.process_time() - start, state
            )
    return before + time.process_time() - start


def _keep(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    done: int,
    seconds: float,
    state: Path,
) -> None:
    written = state.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "done": done,
            "seconds": seconds,
        },
        written,
    )
    written.replace(state)
