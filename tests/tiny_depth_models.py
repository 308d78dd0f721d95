"""Depth models of transformers with few random weights, in folders as real ones are.

Each is made from a config object and saved by `save_pretrained`; what the network says varies over
the photo, as a trained one's does.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

FOV_DEG = 40.0
"""About what Depth Pro guesses."""

PREPROCESSOR = "preprocessor_config.json"

NECK = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8}

VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}


def depth_anything(kind: str = "relative") -> Any:
    import transformers

    backbone = transformers.Dinov2Config(
        **VIT,
        image_size=56,
        patch_size=14,
        mlp_ratio=2,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        **NECK,
        backbone_config=backbone,
        reassemble_hidden_size=16,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def depth_pro() -> Any:
    import transformers

    vit = {**VIT, "model_type": "dinov2", "image_size": 32, "patch_size": 8, "mlp_ratio": 2}
    config = transformers.DepthProConfig(
        patch_size=32,
        fusion_hidden_size=8,
        intermediate_hook_ids=[2, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_feature_dims=[16, 16, 8],
        merge_padding_value=1,
        use_fov_model=True,
        image_model_config=dict(vit),
        patch_model_config=dict(vit),
        fov_model_config=dict(vit),
    )
    return transformers.DepthProForDepthEstimation(config)


def dpt_large() -> Any:
    import transformers

    config = transformers.DPTConfig(
        **NECK,
        **VIT,
        intermediate_size=32,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
    )
    return transformers.DPTForDepthEstimation(config)


def dpt_hybrid() -> Any:
    import transformers

    config = transformers.DPTConfig(
        **VIT,
        is_hybrid=True,
        intermediate_size=32,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 24, 16, 16],
        fusion_hidden_size=8,
        backbone_featmap_shape=[1, 32, 4, 4],
        backbone_config={
            "model_type": "bit",
            "embedding_size": 8,
            "hidden_sizes": [16, 24, 32],
            "depths": [1, 1, 1],
            "num_groups": 2,
            "layer_type": "bottleneck",
            "global_padding": "same",
            "out_features": ["stage1", "stage2", "stage3"],
            "embedding_dynamic_padding": True,
        },
    )
    return transformers.DPTForDepthEstimation(config)


def zoedepth() -> Any:
    import transformers

    backbone = transformers.BeitConfig(
        **VIT,
        image_size=64,
        intermediate_size=32,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.ZoeDepthConfig(
        **NECK,
        backbone_config=backbone,
        bottleneck_features=8,
        num_relative_features=4,
        num_attractors=[4, 2, 2, 1],
        bin_embedding_dim=8,
        bin_configurations=[
            {"name": "nyu", "n_bins": 8, "min_depth": 1e-3, "max_depth": 10.0},
            {"name": "kitti", "n_bins": 8, "min_depth": 1e-3, "max_depth": 80.0},
        ],
        num_patch_transformer_layers=4,
        patch_transformer_hidden_size=128,  # which its classifier takes for granted
        patch_transformer_intermediate_size=16,
        patch_transformer_num_attention_heads=2,
    )
    return transformers.ZoeDepthForDepthEstimation(config)


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "depth-anything": (
        depth_anything,
        {
            "size": {"height": 70, "width": 70},
            "ensure_multiple_of": 14,
            "keep_aspect_ratio": True,
            "resample": 3,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
    ),
    "depth-anything-metric": (
        lambda: depth_anything("metric"),
        {"size": {"height": 70, "width": 70}, "ensure_multiple_of": 14, "keep_aspect_ratio": True},
    ),
    "depth-pro": (depth_pro, {"size": {"height": 128, "width": 128}, "resample": 2}),
    "dpt-large": (dpt_large, {"size": 64, "keep_aspect_ratio": False, "resample": 2}),
    "dpt-hybrid": (dpt_hybrid, {"size": {"height": 64, "width": 64}}),
    "zoedepth": (
        zoedepth,
        {
            "size": {"height": 64, "width": 96},
            "ensure_multiple_of": 32,
            "keep_aspect_ratio": True,
            "do_pad": True,
        },
    ),
}
"""How each is made, and the settings of its pre-processing, as official files write them."""


def save(name: str, folder: Path) -> Path:
    """Make a model and save it; the same bytes each time."""
    make, settings = MODELS[name]
    torch.manual_seed(3)
    network = make()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape))
        if hasattr(network, "head"):  # else most of what it says is cut off at 0
            list(network.head.parameters())[-1].add_(1)
        if name == "depth-pro":
            list(network.fov_model.parameters())[-1].fill_(FOV_DEG)
    network.save_pretrained(folder)
    (folder / PREPROCESSOR).write_text(json.dumps(settings))
    return folder
