"""The networks that people use, with random weights, as other packages build them.

Nothing is downloaded.  Packages that are not installed leave their networks out.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.pytorch.zoo_transformers import BUILDERS


@dataclass(frozen=True)
class Entry:
    """A network of a package, the picture side it is tried at, how it is called."""

    package: str
    make: Callable[[Any], nn.Module]
    side: int = 64
    slow: bool = False
    forward: Callable[[nn.Module, Any], Any] | None = None

    @property
    def importable(self) -> bool:
        """Whether its package is installed."""
        return importlib.util.find_spec(self.package) is not None

    def build(self) -> nn.Module:
        """Return the network in evaluation mode, with statistics of its own."""
        _declare_operators()
        torch.manual_seed(0)
        model = self.make(importlib.import_module(self.package)).eval()
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)  # some start at zero
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                assert module.running_mean is not None
                assert module.running_var is not None
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
        return model

    def images(self, count: int = 2) -> torch.Tensor:
        """Return random pictures of the size that the network is tried at."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(count, 3, self.side, self.side, generator=generator)


_libraries: list[Any] = []


def _declare_operators() -> None:
    """Let torchvision's Python part import beside a torch it was not compiled for."""
    if importlib.util.find_spec("torchvision") is None or _libraries:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float t) -> Tensor")
        _libraries.append(library)


def _segmentation(name: str, **kwargs: Any) -> Callable[[Any], nn.Module]:
    def make(torchvision: Any) -> nn.Module:
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, weights_backbone=None, num_classes=5, **kwargs
        )
        return model

    return make


def _classifier(name: str, **kwargs: Any) -> Callable[[Any], nn.Module]:
    def make(torchvision: Any) -> nn.Module:
        model: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=10, **kwargs
        )
        return model

    return make


def _pyramid(torchvision: Any) -> nn.Module:
    """Return the backbone and feature pyramid of a detector."""
    model: nn.Module = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=5,
    )
    return model


def _retina(torchvision: Any) -> nn.Module:
    """Return a RetinaNet's pyramid and heads, without boxes and suppression."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = _pyramid(torchvision)
            self.head = torchvision.models.detection.retinanet.RetinaNetHead(256, 3, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(list(self.backbone(x).values()))

    return Dense()


def _features(name: str, **kwargs: Any) -> Callable[[Any], nn.Module]:
    def make(timm: Any) -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=False, **kwargs)
        return model

    return make


def _smp(name: str, encoder: str = "resnet18", **kwargs: Any) -> Any:
    def make(smp: Any) -> nn.Module:
        model: nn.Module = getattr(smp, name)(
            encoder, encoder_weights=None, classes=5, **kwargs
        )
        return model

    return make


def _segformer(transformers: Any) -> nn.Module:
    """Return a SegFormer: the shape of B0, narrower."""
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=32,
        num_labels=5,
        attn_implementation="eager",
    )
    model: nn.Module = transformers.SegformerForSemanticSegmentation(config)
    return model


def _upernet(backbone: str) -> Callable[[Any], nn.Module]:
    def make(transformers: Any) -> nn.Module:
        if backbone == "convnext":
            inner = transformers.ConvNextConfig(
                depths=[1, 1, 1, 1],
                hidden_sizes=[8, 16, 24, 32],
                out_features=["stage1", "stage2", "stage3", "stage4"],
            )
        elif backbone == "resnet":
            inner = transformers.ResNetConfig(
                embedding_size=8,
                depths=[1, 1, 1, 1],
                hidden_sizes=[16, 24, 32, 40],
                out_features=["stage1", "stage2", "stage3", "stage4"],
            )
        else:
            inner = transformers.SwinConfig(
                image_size=64,
                embed_dim=12,
                depths=[1, 1, 1, 1],
                num_heads=[1, 2, 3, 4],
                window_size=2,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            )
        config = transformers.UperNetConfig(
            backbone_config=inner,
            hidden_size=32,
            auxiliary_in_channels=inner.hidden_sizes[2]
            if hasattr(inner, "hidden_sizes")
            else 48,
            auxiliary_channels=16,
            num_labels=5,
        )
        model: nn.Module = transformers.UperNetForSemanticSegmentation(config)
        return model

    return make


def _mobile_deeplab(transformers: Any) -> nn.Module:
    config = transformers.MobileNetV2Config(num_labels=5, output_stride=8)
    model: nn.Module = transformers.MobileNetV2ForSemanticSegmentation(config)
    return model


TIMM: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("vit_tiny_patch16_224", 64, {"img_size": 64}),
    ("pvt_v2_b0", 64, {}),
    ("convnextv2_atto", 64, {}),
    ("res2net50_26w_4s", 64, {}),
    ("mixer_s32_224", 64, {"img_size": 64}),
    ("cait_xxs24_224", 64, {"img_size": 64, "depth": 4}),
    ("xcit_nano_12_p16_224", 64, {"img_size": 64, "depth": 4}),
    ("levit_128s", 64, {"img_size": 64}),
    ("mobilevit_xxs", 64, {}),
    ("mobilevitv2_050", 64, {}),
    ("poolformer_s12", 64, {}),
    ("edgenext_xx_small", 64, {}),
    ("efficientvit_b0", 64, {}),
    ("efficientformerv2_s0", 224, {}),
    ("fastvit_t8", 64, {}),
    ("ghostnet_100", 64, {}),
    ("repvgg_a0", 64, {}),
    ("dla34", 64, {}),
    ("ese_vovnet19b_dw", 64, {}),
    ("cspresnet50", 64, {}),
    ("coatnet_nano_rw_224", 64, {"img_size": 64}),
    ("maxvit_rmlp_pico_rw_256", 64, {"img_size": 64}),
    ("volo_d1_224", 64, {"img_size": 64}),
    ("regnety_002", 64, {}),
    ("nf_resnet50", 64, {}),
    ("eca_nfnet_l0", 64, {}),
)
"""name, side of the pictures, what else it is built with"""

ZOO: dict[str, Entry] = {
    "torchvision/deeplabv3_resnet50": Entry(
        "torchvision", _segmentation("deeplabv3_resnet50", aux_loss=True)
    ),
    "torchvision/fcn_resnet50": Entry(
        "torchvision", _segmentation("fcn_resnet50"), slow=True
    ),
    "torchvision/lraspp_mobilenet_v3_large": Entry(
        "torchvision", _segmentation("lraspp_mobilenet_v3_large")
    ),
    "torchvision/resnet18": Entry("torchvision", _classifier("resnet18")),
    "torchvision/mobilenet_v2": Entry("torchvision", _classifier("mobilenet_v2")),
    "torchvision/vgg11": Entry("torchvision", _classifier("vgg11"), slow=True),
    "torchvision/shufflenet_v2_x0_5": Entry(
        "torchvision", _classifier("shufflenet_v2_x0_5"), slow=True
    ),
    "torchvision/densenet121": Entry(
        "torchvision", _classifier("densenet121"), slow=True
    ),
    "torchvision/efficientnet_b0": Entry(
        "torchvision", _classifier("efficientnet_b0"), slow=True
    ),
    "torchvision/regnet_y_400mf": Entry(
        "torchvision", _classifier("regnet_y_400mf"), slow=True
    ),
    "torchvision/convnext_tiny": Entry(
        "torchvision", _classifier("convnext_tiny"), slow=True
    ),
    "torchvision/vit_b_32": Entry(
        "torchvision", _classifier("vit_b_32"), side=224, slow=True
    ),
    "torchvision/swin_t": Entry("torchvision", _classifier("swin_t"), slow=True),
    "torchvision/swin_v2_t": Entry("torchvision", _classifier("swin_v2_t"), slow=True),
    "torchvision/squeezenet1_1": Entry(
        "torchvision", _classifier("squeezenet1_1"), slow=True
    ),
    "torchvision/googlenet": Entry(
        "torchvision", _classifier("googlenet", init_weights=False), slow=True
    ),
    "torchvision/resnext50_32x4d": Entry(
        "torchvision", _classifier("resnext50_32x4d"), slow=True
    ),
    "torchvision/fpn_resnet18": Entry("torchvision", _pyramid),
    "torchvision/retinanet_resnet18": Entry("torchvision", _retina, slow=True),
    "timm/hrnet_w18_small": Entry(
        "timm", _features("hrnet_w18_small", features_only=True)
    ),
    **{
        f"timm/{name}": Entry(
            "timm", _features(name, num_classes=10, **kwargs), side=side, slow=True
        )
        for name, side, kwargs in TIMM
    },
    "smp/Unet": Entry("segmentation_models_pytorch", _smp("Unet")),
    "smp/UnetPlusPlus": Entry(
        "segmentation_models_pytorch", _smp("UnetPlusPlus"), slow=True
    ),
    "smp/Linknet": Entry("segmentation_models_pytorch", _smp("Linknet"), slow=True),
    "smp/MAnet": Entry("segmentation_models_pytorch", _smp("MAnet"), slow=True),
    "smp/DeepLabV3Plus": Entry("segmentation_models_pytorch", _smp("DeepLabV3Plus")),
    "smp/PSPNet": Entry("segmentation_models_pytorch", _smp("PSPNet")),
    "smp/UPerNet": Entry("segmentation_models_pytorch", _smp("UPerNet")),
    "smp/FPN": Entry("segmentation_models_pytorch", _smp("FPN")),
    "smp/PAN": Entry("segmentation_models_pytorch", _smp("PAN"), side=128, slow=True),
    "smp/Segformer": Entry("segmentation_models_pytorch", _smp("Segformer"), slow=True),
    "smp/Unet_resnest14d": Entry(
        "segmentation_models_pytorch", _smp("Unet", "timm-resnest14d"), slow=True
    ),
    "transformers/segformer": Entry("transformers", _segformer),
    "transformers/upernet_convnext": Entry("transformers", _upernet("convnext")),
    "transformers/upernet_resnet": Entry("transformers", _upernet("resnet"), slow=True),
    "transformers/upernet_swin": Entry("transformers", _upernet("swin"), slow=True),
    "transformers/mobilenet_v2_deeplab": Entry(
        "transformers", _mobile_deeplab, slow=True
    ),
    **{
        f"transformers/{name}": Entry("transformers", make, side, True, forward)
        for name, (make, forward, side) in BUILDERS.items()
    },
}
"""package/network -> how it is built; the slow ones are for the marker `zoo`"""
