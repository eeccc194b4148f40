"""Transformers for sight, built from configurations, of their own width where it fits.

What is repeated is repeated fewer times: a rule holds for one block or for none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["BUILDERS", "scores"]

Builder = Callable[[Any], nn.Module]


def scores(*names: str) -> Callable[[nn.Module, Any], Any]:
    """Return how to call a network for these of its outputs.

    What users read of it. A hidden state that is returned as well is no channel that
    could be cut.
    """

    def forward(model: nn.Module, images: torch.Tensor) -> Any:
        outputs = model(pixel_values=images)
        return [outputs[name] for name in names]

    return forward


def prompted(model: nn.Module, images: torch.Tensor) -> Any:
    """Call SAM with one point on each picture."""
    points = torch.tensor([[[[20.0, 30.0]]]]).to(images.dtype)
    points = points.expand(len(images), 1, 1, 2)
    outputs = model(pixel_values=images, input_points=points)
    return [outputs["iou_scores"], outputs["pred_masks"]]


def described(model: nn.Module, images: torch.Tensor) -> Any:
    """Call CLIPSeg with the same few words for each picture."""
    words = torch.tensor([[1, 5, 9, 2]]).expand(len(images), 4)
    return model(input_ids=words, pixel_values=images)["logits"]


def _vit(prefix: str, suffix: str, **more: Any) -> Builder:
    """Return a plain vision transformer of ViT-tiny's width: 192, three heads."""

    def make(transformers: Any) -> nn.Module:
        sizes = {"num_hidden_layers": 4, "image_size": 64, "patch_size": 16, **more}
        if prefix not in ("DINOv3ViT", "Eomt", "Dinov2", "Dinov2WithRegisters"):
            sizes["intermediate_size"] = 768
        config = getattr(transformers, f"{prefix}Config")(
            hidden_size=192, num_attention_heads=3, **sizes
        )
        model: nn.Module = getattr(transformers, f"{prefix}{suffix}")(config)
        return model

    return make


def _resnet(transformers: Any, *stages: int) -> Any:
    return transformers.ResNetConfig(out_features=[f"stage{stage}" for stage in stages])


def _swin(transformers: Any) -> Any:
    """Return Swin's stages of Swin-tiny's widths, two blocks each."""
    return transformers.SwinConfig(
        image_size=64,
        embed_dim=96,
        depths=[2, 2, 2, 2],
        num_heads=[3, 6, 12, 24],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def _detr(transformers: Any) -> nn.Module:
    """Return DETR with a ResNet-50, as published, random weights."""
    config = transformers.DetrConfig(
        backbone_config=_resnet(transformers, 4), num_labels=5
    )
    model: nn.Module = transformers.DetrForObjectDetection(config)
    return model


def _conditional_detr(transformers: Any) -> nn.Module:
    config = transformers.ConditionalDetrConfig(
        backbone_config=_resnet(transformers, 4),
        num_labels=5,
        encoder_layers=2,
        decoder_layers=2,
        num_queries=20,
    )
    model: nn.Module = transformers.ConditionalDetrForObjectDetection(config)
    return model


def _deformable_detr(transformers: Any) -> nn.Module:
    config = transformers.DeformableDetrConfig(
        backbone_config=_resnet(transformers, 2, 3, 4),
        num_labels=5,
        encoder_layers=2,
        decoder_layers=2,
        num_queries=20,
        disable_custom_kernels=True,
    )
    model: nn.Module = transformers.DeformableDetrForObjectDetection(config)
    return model


def _rt_detr(transformers: Any) -> nn.Module:
    config = transformers.RTDetrConfig(
        num_labels=5, decoder_layers=2, num_queries=20, num_denoising=0
    )
    model: nn.Module = transformers.RTDetrForObjectDetection(config)
    return model


def _d_fine(transformers: Any) -> nn.Module:
    config = transformers.DFineConfig(
        num_labels=5, decoder_layers=2, num_queries=20, num_denoising=0
    )
    model: nn.Module = transformers.DFineForObjectDetection(config)
    return model


def _maskformer(transformers: Any) -> nn.Module:
    decoder = transformers.DetrConfig(
        backbone_config=_resnet(transformers, 4), decoder_layers=2, num_queries=20
    )
    config = transformers.MaskFormerConfig(
        backbone_config=_swin(transformers), decoder_config=decoder, num_labels=5
    )
    model: nn.Module = transformers.MaskFormerForInstanceSegmentation(config)
    return model


def _mask2former(transformers: Any) -> nn.Module:
    config = transformers.Mask2FormerConfig(
        backbone_config=_swin(transformers),
        encoder_layers=2,
        decoder_layers=3,
        num_queries=20,
        num_labels=5,
    )
    model: nn.Module = transformers.Mask2FormerForUniversalSegmentation(config)
    return model


def _upernet_swin(transformers: Any) -> nn.Module:
    config = transformers.UperNetConfig(
        backbone_config=_swin(transformers),
        hidden_size=128,
        auxiliary_in_channels=384,
        auxiliary_channels=64,
        num_labels=5,
    )
    model: nn.Module = transformers.UperNetForSemanticSegmentation(config)
    return model


def _depth_anything(transformers: Any) -> nn.Module:
    backbone = transformers.Dinov2Config(
        hidden_size=192,
        num_attention_heads=3,
        num_hidden_layers=4,
        image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=192
    )
    model: nn.Module = transformers.DepthAnythingForDepthEstimation(config)
    return model


def _sam(transformers: Any) -> nn.Module:
    vision = {
        "hidden_size": 192,
        "num_attention_heads": 3,
        "num_hidden_layers": 4,
        "image_size": 128,
        "window_size": 4,
        "global_attn_indexes": (1, 3),
        "output_channels": 64,
    }
    prompts = {"hidden_size": 64, "image_size": 128}
    decoder = {
        "hidden_size": 64,
        "mlp_dim": 256,
        "iou_head_hidden_dim": 64,
        "num_attention_heads": 4,
    }
    config = transformers.SamConfig(
        vision_config={**vision, "num_pos_feats": 32},
        prompt_encoder_config=prompts,
        mask_decoder_config=decoder,
    )
    model: nn.Module = transformers.SamModel(config)
    return model


def _clipseg(transformers: Any) -> nn.Module:
    sizes = {"intermediate_size": 512, "num_attention_heads": 4, "hidden_size": 128}
    config = transformers.CLIPSegConfig(
        text_config={**sizes, "num_hidden_layers": 2, "vocab_size": 20},
        vision_config={
            **sizes,
            "num_hidden_layers": 4,
            "image_size": 64,
            "patch_size": 16,
        },
        projection_dim=64,
        reduce_dim=32,
        extract_layers=[1, 2, 3],
    )
    model: nn.Module = transformers.CLIPSegForImageSegmentation(config)
    return model


def _glpn(transformers: Any) -> nn.Module:
    model: nn.Module = transformers.GLPNForDepthEstimation(transformers.GLPNConfig())
    return model


def _segformer_b0(transformers: Any) -> nn.Module:
    config = transformers.SegformerConfig(num_labels=5)
    model: nn.Module = transformers.SegformerForSemanticSegmentation(config)
    return model


def _dpt(transformers: Any) -> nn.Module:
    make = _vit(
        "DPT",
        "ForSemanticSegmentation",
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
    )
    return make(transformers)


LOGITS = scores("logits")
BOXES = scores("logits", "pred_boxes")
MASKS = scores("class_queries_logits", "masks_queries_logits")

BUILDERS: dict[str, tuple[Builder, Any, int]] = {
    "segformer_b0": (_segformer_b0, LOGITS, 64),
    "upernet_swin_tiny": (_upernet_swin, LOGITS, 64),
    "dinov2": (
        _vit("Dinov2", "ForImageClassification", image_size=56, patch_size=14),
        LOGITS,
        56,
    ),
    "dinov2_backbone": (
        _vit("Dinov2", "Model", image_size=56, patch_size=14),
        scores("last_hidden_state"),
        56,
    ),
    "dinov3": (_vit("DINOv3ViT", "Model"), scores("pooler_output"), 64),
    "beit": (
        _vit("Beit", "ForImageClassification", use_relative_position_bias=True),
        LOGITS,
        64,
    ),
    "data2vec": (
        _vit(
            "Data2VecVision", "ForImageClassification", use_relative_position_bias=True
        ),
        LOGITS,
        64,
    ),
    "yolos": (
        _vit(
            "Yolos", "ForObjectDetection", image_size=[64, 64], num_detection_tokens=10
        ),
        BOXES,
        64,
    ),
    "eomt": (_vit("Eomt", "ForUniversalSegmentation", num_queries=10), MASKS, 64),
    "dpt": (_dpt, LOGITS, 64),
    "depth_anything": (_depth_anything, scores("predicted_depth"), 56),
    "glpn": (_glpn, scores("predicted_depth"), 64),
    "detr": (_detr, BOXES, 64),
    "conditional_detr": (_conditional_detr, BOXES, 64),
    "deformable_detr": (_deformable_detr, BOXES, 64),
    "rt_detr": (_rt_detr, BOXES, 64),
    "d_fine": (_d_fine, BOXES, 64),
    "maskformer_swin": (_maskformer, MASKS, 64),
    "mask2former_swin": (_mask2former, MASKS, 64),
    "sam": (_sam, prompted, 128),
    "clipseg": (_clipseg, described, 64),
}
"""network -> how it is built, how it is called, and its picture's side"""
