# ruff: noqa: D102, D106 -- `forward` needs no word of its own
"""Small networks, each with a coupling of its own, and what is special about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn(inputs: int, outputs: int, kernel: int = 3, **kwargs: Any) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    padding = kwargs.pop("padding", kwargs.get("dilation", 1) * (kernel // 2))
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **kwargs),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Net(nn.Module):
    """A module whose forward is given as a function of itself."""

    def __init__(
        self, body: Callable[[Net, Tensor], object], **parts: nn.Module
    ) -> None:
        super().__init__()
        self._body = body
        for name, part in parts.items():
            setattr(self, name, part)

    def __getattr__(self, name: str) -> nn.Module:
        return super().__getattr__(name)  # type: ignore[return-value]

    def forward(self, x: Tensor) -> object:
        return self._body(self, x)


def plain() -> nn.Module:
    """Chain convolutions, with batch norms and with a bias alone."""
    return nn.Sequential(
        conv_bn(3, 12),
        nn.Conv2d(12, 10, 3, padding=1),
        nn.ReLU(),
        conv_bn(10, 8, stride=2),
        nn.Conv2d(8, 4, 1),
    )


class Residual(nn.Module):
    """Basic blocks with identity and projection shortcuts, as in a ResNet."""

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.one = conv_bn(inputs, width, stride=stride)
            self.two = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(outputs)
            self.shortcut: nn.Module = nn.Identity()
            if inputs != outputs or stride > 1:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                    nn.BatchNorm2d(outputs),
                )

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.norm(self.two(self.one(x))) + self.shortcut(x))

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.blocks = nn.Sequential(
            self.Block(8, 6, 8, 1), self.Block(8, 10, 12, 2), self.Block(12, 8, 12, 1)
        )
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(self.stem(x)).mean(dim=(2, 3))
        scores: Tensor = self.head(y)
        return scores


class DepthwiseSE(nn.Module):
    """Inverted residual blocks with squeeze-and-excitation, as in MobileNetV3."""

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.expand = nn.Conv2d(inputs, width, 1, bias=False)
            self.expand_norm = nn.BatchNorm2d(width)
            self.depthwise = nn.Conv2d(
                width, width, 3, stride=stride, padding=1, groups=width, bias=False
            )
            self.depthwise_norm = nn.BatchNorm2d(width)
            self.squeeze = nn.Conv2d(width, 6, 1)
            self.excite = nn.Conv2d(6, width, 1)
            self.project = nn.Conv2d(width, outputs, 1, bias=False)
            self.project_norm = nn.BatchNorm2d(outputs)
            self.add = inputs == outputs and stride == 1

        def forward(self, x: Tensor) -> Tensor:
            y = F.hardswish(self.expand_norm(self.expand(x)))
            y = F.hardswish(self.depthwise_norm(self.depthwise(y)))
            gate = F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))
            y = y * F.hardsigmoid(self.excite(gate))
            out: Tensor = self.project_norm(self.project(y))
            return x + out if self.add else out

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, stride=2)
        self.blocks = nn.Sequential(self.Block(8, 16, 8, 1), self.Block(8, 12, 10, 1))
        self.head = nn.Conv2d(10, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.blocks(self.stem(x)))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """Skips by concatenation, upsampling by transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = conv_bn(3, 8)
        self.down2 = conv_bn(8, 12)
        self.bottom = conv_bn(12, 16)
        self.up2 = nn.ConvTranspose2d(16, 10, 2, stride=2)
        self.join2 = conv_bn(22, 12)
        self.up1 = nn.ConvTranspose2d(12, 6, 2, stride=2, bias=False)
        self.up1_norm = nn.BatchNorm2d(6)
        self.join1 = conv_bn(14, 8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        y = self.bottom(F.max_pool2d(two, 2))
        y = self.join2(torch.cat([self.up2(y), two], dim=1))
        y = self.join1(torch.cat([one, self.up1_norm(self.up1(y))], dim=1))
        scores: Tensor = self.head(y)
        return scores


class DeepLab(nn.Module):
    """Atrous pyramid with image pooling, a skip, an auxiliary output; gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "stem": conv_bn(3, 8, stride=2),
                "layer1": Residual.Block(8, 8, 12, 1),
                "layer2": Residual.Block(12, 8, 12, 2),
            }
        )
        self.branches = nn.ModuleList(
            [conv_bn(12, 8, 1), conv_bn(12, 8, dilation=2), conv_bn(12, 8, dilation=3)]
        )
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8)
        )
        self.project = conv_bn(32, 10, 1)
        self.low = conv_bn(12, 6, 1)
        self.fuse = conv_bn(16, 10)
        self.classifier = nn.Conv2d(10, 4, 1)
        self.auxiliary = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = self.backbone["layer1"](self.backbone["stem"](x))
        high = self.backbone["layer2"](low)
        size = high.shape[-2:]
        parts = [branch(high) for branch in self.branches]
        parts.append(F.interpolate(F.relu(self.pooled(high)), size=size))
        y = F.dropout(self.project(torch.cat(parts, 1)), 0.1, self.training)
        y = F.interpolate(y, size=low.shape[-2:], mode="bilinear")
        y = self.classifier(self.fuse(torch.cat([y, self.low(low)], 1)))
        return {
            "out": F.interpolate(y, size=x.shape[-2:], mode="bilinear"),
            "aux": self.auxiliary(high),
        }


class ResNeXt(nn.Module):
    """A grouped convolution inside of a residual block: channels go in ties."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.reduce = conv_bn(8, 12, 1)
        self.grouped = conv_bn(12, 12, groups=3)
        self.expand = nn.Conv2d(12, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.expand(self.grouped(self.reduce(x))))
        scores: Tensor = self.head(F.relu(x + y))
        return scores


class Dense(nn.Module):
    """Concatenations read by a batch norm first, as in a DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 6, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(14)
        self.conv2 = nn.Conv2d(14, 6, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(20)
        self.act = nn.PReLU(20)
        self.head = nn.Linear(20 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], 1)
        y = F.adaptive_avg_pool2d(self.act(self.norm3(x)), 2)
        scores: Tensor = self.head(y.flatten(1))
        return scores


def group_norm() -> nn.Module:
    """Chain a group norm after one convolution and a batch norm after the next."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        conv_bn(8, 10),
        nn.Conv2d(10, 4, 1),
    )


SOUND: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": Residual,
    "depthwise_se": DepthwiseSE,
    "unet": UNet,
    "deeplab": DeepLab,
    "resnext": ResNeXt,
    "dense": Dense,
    "group_norm": group_norm,
}
"""Networks in which most of the channels can be pruned."""


def randomized(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Build a network whose batch norms have statistics of their own."""
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.weight, mean=1.0, std=0.2)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()
