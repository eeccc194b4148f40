"""The study's networks; their weights lie beside this file (see `train_networks`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from sirfp_opt.demo.network import conv_bn, load_checkpoint
from sirfp_opt.demo.scenes import NUM_CLASSES

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BUILDERS", "Mobile", "UNet", "checkpoint", "load_network"]

WIDTHS = (24, 40, 64, 88)


class Twice(nn.Module):
    """Two 3 x 3 convolutions with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride=stride)
        self.second = conv_bn(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.relu(self.second(F.relu(self.first(x))))


class UNet(nn.Module):
    """Pictures (N, 3, H, W) to class scores (N, classes, H, W).

    O. Ronneberger, P. Fischer and T. Brox, *U-Net: Convolutional Networks for
    Biomedical Image Segmentation*, MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, with
    batch norms, padded convolutions and bilinear interpolation on the way up. It has no
    residual add: each unit is one convolution's outputs.

    Parameters
    ----------
    widths : tuple of int
        Channels at stride 2, 4, 8 and so on.
    classes : int
        Number of classes.
    """

    def __init__(
        self, widths: tuple[int, ...] = WIDTHS, classes: int = NUM_CLASSES
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Twice(i, o, stride=2) for i, o in zip((3, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(
            Twice(i + o, o) for i, o in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give the scores of every class at every pixel."""
        size, maps = x.shape[-2:], []
        for stage in self.down:
            maps.append(x := stage(x))
        for stage, skip in zip(self.up, maps[-2::-1], strict=True):
            up = F.interpolate(x, size=skip.shape[-2:], mode="bilinear")
            x = stage(torch.cat([up, skip], dim=1))
        return F.interpolate(self.classifier(x), size=size, mode="bilinear")


class Inverted(nn.Module):
    """An inverted residual: 1 x 1 to more channels, depthwise 3 x 3, 1 x 1 to fewer."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        inside = 4 * inputs
        self.widen = conv_bn(inputs, inside, 1)
        self.spread = nn.Sequential(
            nn.Conv2d(
                inside, inside, 3, stride, dilation, dilation, groups=inside, bias=False
            ),
            nn.BatchNorm2d(inside),
        )
        self.narrow = conv_bn(inside, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        spread = F.hardswish(self.spread(F.hardswish(self.widen(x))))
        y: Tensor = self.narrow(spread)
        return x + y if self.adds else y


class Mobile(nn.Module):
    """Pictures (N, 3, H, W) to class scores (N, classes, H, W).

    Inverted residuals and a gated head with a skip connection, after A. Howard et al.,
    *Searching for MobileNetV3*, ICCV 2019, arXiv 1905.02244. Depthwise convolutions and
    residual adds couple its channels, and its activation is no ReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 24, stride=2)
        shapes = [(24, 40, 2, 1), (40, 40, 1, 1), (40, 64, 2, 1), (64, 64, 1, 1),
                  (64, 64, 1, 1), (64, 80, 1, 2), (80, 80, 1, 2)]  # fmt: skip
        self.blocks = nn.ModuleList(Inverted(*shape) for shape in shapes)
        self.head = conv_bn(80, 64, 1)
        self.gate = nn.Conv2d(80, 64, 1)
        self.high = nn.Conv2d(64, NUM_CLASSES, 1)
        self.low = nn.Conv2d(40, NUM_CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give the scores of every class at every pixel."""
        size = x.shape[-2:]
        x = F.hardswish(self.stem(x))
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 1:
                fine = x
        gate = torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        coarse = self.high(F.relu(self.head(x)) * gate)
        up = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
        return F.interpolate(up + self.low(fine), size=size, mode="bilinear")


BUILDERS: dict[str, type[nn.Module]] = {"unet": UNet, "mobile": Mobile}


def checkpoint(name: str) -> Path:
    """Return the file of a network's weights."""
    return Path(__file__).with_name(f"{name}.pt")


def load_network(name: str) -> nn.Module:
    """Load a trained network, in evaluation mode and single precision.

    Parameters
    ----------
    name : {"deeplab", "unet", "mobile"}
        The first is the demo's.
    """
    if name == "deeplab":
        return load_checkpoint()
    model = BUILDERS[name]()
    model.load_state_dict(torch.load(checkpoint(name), weights_only=True))
    return model.eval()
