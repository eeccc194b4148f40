"""A small DeepLabV3+-like network and the weights that ship with it.

The shape is that of L.-C. Chen et al., *Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation*, ECCV 2018,
doi:10.1007/978-3-030-01234-2_49 (a residual backbone that trades its last stride for
dilation, atrous spatial pyramid pooling with an image-level branch, a decoder with a
skip from the backbone), at the size of pictures of some 96 pixels.  One thing is added:
a second skip from the stem, since the strokes to be found are only a few pixels wide.

It is written to be pruned: a batch norm after every convolution, no group norm, no
channel count in the forward pass, and every size taken from a tensor.
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from sirfp_opt.demo.scenes import NUM_CLASSES

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "checkpoint.pt"
FIGURES = "checkpoint.json"


def conv_bn(inputs: int, outputs: int, kernel: int = 3, **kwargs: Any) -> nn.Sequential:
    """Convolution without bias that keeps the size at stride 1, then batch norm.

    Parameters
    ----------
    inputs, outputs, kernel : int
        Channels in and out, and the (odd) kernel's width.
    **kwargs
        `stride` and `dilation` of :class:`torch.nn.Conv2d`.

    Returns
    -------
    nn.Sequential
    """
    padding = kwargs.get("dilation", 1) * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **kwargs)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside an identity (or a 1 x 1 projection)."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = conv_bn(inputs, outputs, stride=stride, dilation=dilation)
        self.conv2 = conv_bn(outputs, outputs, dilation=dilation)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_bn(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class Backbone(nn.Module):
    """A residual network of stride 8 that also gives its maps of stride 2 and 4."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        stem, one, two, three = widths
        self.stem = conv_bn(3, stem, stride=2)
        self.layer1 = nn.Sequential(
            ResidualBlock(stem, one, stride=2), ResidualBlock(one, one)
        )
        self.layer2 = nn.Sequential(
            ResidualBlock(one, two, stride=2), ResidualBlock(two, two)
        )
        self.layer3 = nn.Sequential(
            ResidualBlock(two, three, dilation=2),
            ResidualBlock(three, three, dilation=2),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the maps of stride 2, 4 and 8 of a picture (N, 3, H, W)."""
        fine = F.relu(self.stem(x))
        middle = self.layer1(fine)
        return fine, middle, self.layer3(self.layer2(middle))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with an image-level branch."""

    def __init__(
        self, inputs: int, width: int, outputs: int, rates: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_bn(inputs, width, 1)])
        self.branches += [conv_bn(inputs, width, dilation=rate) for rate in rates]
        self.pool_conv = nn.Conv2d(inputs, width, 1, bias=False)
        self.pool_bn = nn.BatchNorm2d(width)
        self.project = conv_bn(width * (len(rates) + 2), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        pooled = self.pool_conv(x.mean(dim=(2, 3), keepdim=True))
        # Normalised after it is spread out: a batch of one can be trained on, too.
        pooled = F.interpolate(pooled, size=x.shape[-2:], mode="nearest")
        maps = [F.relu(branch(x)) for branch in self.branches]
        maps.append(F.relu(self.pool_bn(pooled)))
        return F.relu(self.project(torch.cat(maps, dim=1)))


class Decoder(nn.Module):
    """Goes back up to stride 2 by two skips, and classifies there."""

    def __init__(
        self, fine: int, middle: int, coarse: int, widths: tuple[int, int], classes: int
    ) -> None:
        super().__init__()
        self.skip_middle = conv_bn(middle, middle // 2, 1)
        self.skip_fine = conv_bn(fine, fine // 2, 1)
        self.fuse_middle = conv_bn(coarse + middle // 2, widths[0])
        self.fuse_fine = conv_bn(widths[0] + fine // 2, widths[1])
        self.classifier = nn.Conv2d(widths[1], classes, 1)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        """Class scores (N, classes, h, w) at the size of `fine`."""
        x = torch.cat([_like(coarse, middle), F.relu(self.skip_middle(middle))], dim=1)
        x = F.relu(self.fuse_middle(x))
        x = torch.cat([_like(x, fine), F.relu(self.skip_fine(fine))], dim=1)
        scores: Tensor = self.classifier(F.relu(self.fuse_fine(x)))
        return scores


class DigitSegmenter(nn.Module):
    """The whole network: pictures (N, 3, H, W) to class scores (N, classes, H, W).

    Parameters
    ----------
    widths : (int, int, int, int)
        Channels of the stem and of the backbone's three stages.
    aspp : (int, int)
        Channels of each branch of the pyramid, and of its output.
    decoder : (int, int)
        Channels after each of the decoder's two fusions.
    rates : tuple of int
        Dilations of the pyramid's 3 x 3 branches, in pixels at stride 8.
    classes : int
        Number of classes.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, int, int, int] = (32, 48, 96, 128),
        aspp: tuple[int, int] = (48, 64),
        decoder: tuple[int, int] = (48, 32),
        rates: tuple[int, ...] = (2, 4, 6),
        classes: int = NUM_CLASSES,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(widths)
        self.aspp = ASPP(widths[-1], *aspp, rates)
        self.decoder = Decoder(widths[0], widths[1], aspp[1], decoder, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give the scores of every class at every pixel."""
        fine, middle, coarse = self.backbone(x)
        return _like(self.decoder(fine, middle, self.aspp(coarse)), x)


def _like(x: Tensor, reference: Tensor) -> Tensor:
    """`x` resized to the height and width of `reference`."""
    return F.interpolate(
        x, size=reference.shape[-2:], mode="bilinear", align_corners=False
    )


def build_network(*, seed: int | None = None) -> DigitSegmenter:
    """Build the demo's network with untrained weights.

    Parameters
    ----------
    seed : int, optional
        Seed of the initial weights; torch's global generator is left as it was.
        Without a seed that generator is drawn from, as everywhere in torch.

    Returns
    -------
    DigitSegmenter
        In training mode.

    Examples
    --------
    >>> scores = build_network(seed=0).eval()(torch.zeros(1, 3, 96, 96))
    >>> tuple(scores.shape)
    (1, 11, 96, 96)
    """
    if seed is None:
        return DigitSegmenter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitSegmenter()


def save_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Store the weights, those of the convolutions in half precision.

    Parameters
    ----------
    model : nn.Module
        A network of :func:`build_network`.
    path : str or Path
        File to write; it is read back with ``weights_only=True``.
    """
    # Batch-norm statistics span more magnitudes than half precision has, and are few.
    torch.save(
        {
            name: value.half() if value.dim() > 1 else value
            for name, value in model.state_dict().items()
        },
        path,
    )


def load_checkpoint(path: str | Path | None = None) -> DigitSegmenter:
    """Load a trained network.

    Parameters
    ----------
    path : str or Path, optional
        File of :func:`save_checkpoint`; by default the weights that ship with the
        package, trained by ``examples/digit_scenes/train.py``.

    Returns
    -------
    DigitSegmenter
        In evaluation mode, in single precision.
    """
    model = DigitSegmenter()
    source = files("sirfp_opt.demo") / CHECKPOINT if path is None else Path(path)
    with as_file(source) as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict(state)  # copies, and so widens the halves
    return model.eval()


def checkpoint_figures() -> dict[str, Any]:
    """Read what was measured when the shipped weights were trained.

    Returns
    -------
    dict
        Among others `miou`, `validation_scenes`, `validation_seed`, `seed`, `steps`
        and `seconds`.
    """
    figures: dict[str, Any] = json.loads(
        (files("sirfp_opt.demo") / FIGURES).read_text(encoding="utf-8")
    )
    return figures
