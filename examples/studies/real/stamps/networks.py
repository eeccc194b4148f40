"""The two networks of the stamps; their weights lie beside this file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from examples.studies.accuracy.networks import UNet
from examples.studies.real.stamps.cutouts import CLASSES
from sirfp_opt.demo.network import DigitSegmenter

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NAMES", "build", "checkpoint", "load"]

NAMES = ("stamps_deeplab", "stamps_unet")


def build(name: str) -> nn.Module:
    """Return an untrained network, from torch's global seed.

    Parameters
    ----------
    name : {"stamps_deeplab", "stamps_unet"}
        The shapes of the demo's DeepLabV3+-like network (residual stages, the last one
        dilated; a pyramid of dilated convolutions; a decoder with two skips) and of the
        accuracy study's U-Net, several times as wide.
    """
    if name == "stamps_deeplab":
        return DigitSegmenter(
            widths=(16, 32, 64, 128),
            aspp=(48, 64),
            decoder=(40, 16),
            classes=len(CLASSES),
        )
    return UNet((16, 32, 64, 128, 192), len(CLASSES))


def checkpoint(name: str) -> Path:
    """Return the file of a network's weights."""
    return Path(__file__).with_name(f"{name.removeprefix('stamps_')}.pt")


@lru_cache(maxsize=2)
def load(name: str) -> nn.Module:
    """Return a trained network, in evaluation mode and single precision."""
    model = build(name)
    model.load_state_dict(torch.load(checkpoint(name), weights_only=True))
    return model.eval()
