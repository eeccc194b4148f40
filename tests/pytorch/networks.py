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


class HighResolution(nn.Module):
    """Two resolutions that exchange by strided convolution and upsampling (HRNet)."""

    class Exchange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.high = Residual.Block(8, 6, 8, 1)
            self.low = Residual.Block(12, 6, 12, 1)
            self.down = nn.Sequential(
                nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(12),
            )
            self.up = nn.Sequential(nn.Conv2d(12, 8, 1, bias=False), nn.BatchNorm2d(8))

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            x, y = self.high(x), self.low(y)
            up = F.interpolate(self.up(y), scale_factor=2.0, mode="nearest")
            return F.relu(x + up), F.relu(y + self.down(x))

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.split = conv_bn(8, 12, stride=2)
        self.one = self.Exchange()
        self.two = self.Exchange()
        self.last = conv_bn(20, 16, 1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.stem(x)
        high, low = self.two(*self.one(high, self.split(high)))
        low = F.interpolate(low, size=high.shape[-2:], mode="bilinear")
        scores: Tensor = self.head(self.last(torch.cat([high, low], 1)))
        return scores


class PyramidPooling(nn.Module):
    """Maps pooled to several sizes, upsampled, joined with the map itself (PSPNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv_bn(3, 8), Residual.Block(8, 8, 12, 2))
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv_bn(12, 6, 1))
            for bins in (1, 2, 4)
        )
        self.fuse = conv_bn(12 + 3 * 6, 10)
        self.head = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(10, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.backbone(x)
        size = y.shape[-2:]
        parts = [F.interpolate(p(y), size=size, mode="bilinear") for p in self.levels]
        y = self.head(self.fuse(torch.cat([y, *parts], 1)))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear")


class LiteReduced(nn.Module):
    """A gated head on two depths of an inverted-residual backbone (LR-ASPP)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, stride=2)
        self.low = DepthwiseSE.Block(8, 12, 10, 1)
        self.high = DepthwiseSE.Block(10, 16, 14, 2)
        self.cbr = conv_bn(14, 12, 1)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(14, 12, 1, bias=False), nn.Sigmoid()
        )
        self.low_head = nn.Conv2d(10, 4, 1)
        self.high_head = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(self.stem(x))
        high = self.high(low)
        y = self.cbr(high) * self.scale(high)
        y = F.interpolate(y, size=low.shape[-2:], mode="bilinear")
        return F.interpolate(
            self.low_head(low) + self.high_head(y), size=x.shape[-2:], mode="bilinear"
        )


class EfficientAttention(nn.Module):
    """Attention of several heads, keys and values at a lower resolution.

    ``style``: products of matrices with a fixed number of heads, the same with einsum,
    or `scaled_dot_product_attention` with a fixed number of channels a head.
    """

    def __init__(self, width: int, heads: int, ratio: int, style: str) -> None:
        super().__init__()
        self.num_heads, self.style, self.ratio = heads, style, ratio
        self.all_head_size, self.head_dim = width, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        if ratio > 1:
            self.reduce = nn.Conv2d(width, width, ratio, stride=ratio)
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        n, length, channels = x.shape
        y = x
        if self.ratio > 1:
            y = x.transpose(1, 2).reshape(n, channels, height, width)
            y = self.norm(self.reduce(y).flatten(2).transpose(1, 2))
        q, k, v = self.query(x), self.key(y), self.value(y)
        if self.style == "sdpa":
            q, k, v = (
                t.unflatten(2, (-1, self.head_dim)).transpose(1, 2) for t in (q, k, v)
            )
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return self.out(y)  # type: ignore[no-any-return]
        q, k, v = (
            t.view(n, t.shape[1], self.num_heads, self.head_dim).transpose(1, 2)
            for t in (q, k, v)
        )
        if self.style == "einsum":
            weights = torch.einsum("nhqd,nhkd->nhqk", q, k).softmax(-1)
            y = torch.einsum("nhqk,nhkd->nhqd", weights, v)
        else:
            y = (q @ k.transpose(-2, -1) / self.head_dim**0.5).softmax(-1) @ v
        y = y.transpose(1, 2).reshape(n, length, self.all_head_size)
        out: Tensor = self.out(y)
        return out


class SegFormer(nn.Module):
    """Overlapping patches, efficient attention, Mix-FFN, all-MLP decoder."""

    class Block(nn.Module):
        def __init__(self, width: int, heads: int, ratio: int, style: str) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.attention = EfficientAttention(width, heads, ratio, style)
            self.norm2 = nn.LayerNorm(width)
            self.fc1 = nn.Linear(width, 2 * width)
            self.depthwise = nn.Conv2d(
                2 * width, 2 * width, 3, padding=1, groups=2 * width
            )
            self.fc2 = nn.Linear(2 * width, width)

        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            y = x.flatten(2).transpose(1, 2)
            y = y + self.attention(self.norm1(y), h, w)
            z = self.fc1(self.norm2(y)).transpose(1, 2)
            z = self.depthwise(z.reshape(n, -1, h, w)).flatten(2).transpose(1, 2)
            y = y + self.fc2(F.gelu(z))
            out: Tensor = y.transpose(1, 2).reshape(n, c, h, w)
            return out

    def __init__(self, style: str = "matmul") -> None:
        super().__init__()
        self.patches = nn.ModuleList(
            [
                nn.Conv2d(3, 12, 7, stride=2, padding=3),
                nn.Conv2d(12, 20, 3, stride=2, padding=1),
            ]
        )
        self.blocks = nn.ModuleList(
            [self.Block(12, 3, 2, style), self.Block(20, 4, 1, style)]
        )
        self.decode = nn.ModuleList([nn.Linear(12, 10), nn.Linear(20, 10)])
        self.fuse = conv_bn(20, 12, 1)
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        y = x
        for patch, block, linear in zip(
            self.patches, self.blocks, self.decode, strict=True
        ):
            y = block(patch(y))
            n, _, h, w = y.shape
            z = linear(y.flatten(2).transpose(1, 2)).transpose(1, 2)
            z = z.reshape(n, -1, h, w)
            size = maps[0].shape[-2:] if maps else (h, w)
            maps.append(F.interpolate(z, size=size, mode="bilinear"))
        scores: Tensor = self.head(self.fuse(torch.cat(maps[::-1], 1)))
        return scores


class Perceptual(nn.Module):
    """Pyramid pooling, lateral sums top down, an unused auxiliary head (UPerNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                conv_bn(3, 8, stride=2),
                Residual.Block(8, 8, 12, 2),
                Residual.Block(12, 8, 16, 2),
            ]
        )
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(b), conv_bn(16, 6, 1)) for b in (1, 2)
        )
        self.bottleneck = conv_bn(28, 10)
        self.laterals = nn.ModuleList([conv_bn(8, 10, 1), conv_bn(12, 10, 1)])
        self.smooth = nn.ModuleList([conv_bn(10, 10), conv_bn(10, 10)])
        self.fuse = conv_bn(30, 12)
        self.head = nn.Conv2d(12, 4, 1)
        self.auxiliary = nn.Sequential(conv_bn(12, 8), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        y = x
        for stage in self.stages:
            y = stage(y)
            maps.append(y)
        size = y.shape[-2:]
        pools = [F.interpolate(p(y), size=size, mode="bilinear") for p in self.pools]
        y = self.bottleneck(torch.cat([y, *pools], 1))
        levels = [y]
        for i in (1, 0):
            lateral = self.laterals[i](maps[i])
            y = lateral + F.interpolate(y, size=lateral.shape[-2:], mode="bilinear")
            levels.append(self.smooth[i](y))
        size = levels[-1].shape[-2:]
        levels = [F.interpolate(m, size=size, mode="bilinear") for m in levels]
        self.auxiliary(maps[1])  # as a loss would need it; the scores do not
        scores: Tensor = self.head(self.fuse(torch.cat(levels, 1)))
        return scores


def classifier() -> nn.Module:
    """Flatten maps into linear layers with batch norm, as in VGG."""
    return nn.Sequential(
        conv_bn(3, 8),
        nn.MaxPool2d(2),
        conv_bn(8, 12),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(108, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 10),
        nn.ReLU(),
        nn.Linear(10, 5),
    )


class Detector(nn.Module):
    """A feature pyramid and heads shared by its levels; scores and boxes of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8, stride=2)
        self.deep = Residual.Block(8, 8, 12, 2)
        self.inner = nn.ModuleList([nn.Conv2d(8, 10, 1), nn.Conv2d(12, 10, 1)])
        self.outer = nn.ModuleList([nn.Conv2d(10, 10, 3, padding=1) for _ in range(2)])
        self.tower = nn.Sequential(
            nn.Conv2d(10, 12, 3, padding=1), nn.GroupNorm(4, 12), nn.ReLU()
        )
        self.scores = nn.Conv2d(12, 3, 3, padding=1)
        self.boxes = nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        low = self.stem(x)
        high = self.deep(low)
        top = self.inner[1](high)
        side = self.inner[0](low) + F.interpolate(top, size=low.shape[-2:])
        towers = [
            self.tower(layer(m))
            for layer, m in zip(self.outer, (side, top), strict=True)
        ]
        return {
            "scores": [self.scores(tower) for tower in towers],
            "boxes": [self.boxes(tower).flatten(2) for tower in towers],
        }


class GroupNorms(nn.Module):
    """Group norms of several widths, one after a concatenation, one in a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(3, 12, 3, padding=1)
        self.joint = nn.GroupNorm(5, 20)
        self.three = nn.Conv2d(20, 12, 3, padding=1, bias=False)
        self.norm3 = nn.GroupNorm(6, 12)
        self.four = nn.Conv2d(12, 12, 3, padding=1, groups=2)
        self.norm4 = nn.GroupNorm(12, 12)
        self.five = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.norm5 = nn.GroupNorm(4, 8, affine=False)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.joint(torch.cat([self.one(x), self.two(x)], 1)))
        y = F.relu(self.norm3(self.three(y)))
        y = y + F.silu(self.norm4(self.four(y)))
        scores: Tensor = self.head(self.norm5(self.five(y)))
        return scores


SOUND: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": Residual,
    "depthwise_se": DepthwiseSE,
    "unet": UNet,
    "deeplab": DeepLab,
    "resnext": ResNeXt,
    "dense": Dense,
    "group_norm": group_norm,
    "group_norms": GroupNorms,
    "hrnet": HighResolution,
    "pspnet": PyramidPooling,
    "lraspp": LiteReduced,
    "segformer": SegFormer,
    "upernet": Perceptual,
    "classifier": classifier,
    "detector": Detector,
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
