"""SAM, SAM 2 and MobileSAM with few random weights, in files as real ones are.

Those of transformers are made from config objects and saved by `save_pretrained`; MobileSAM is a
small SAM exported to ONNX, with the names and shapes of the published files' inputs and outputs.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diorama.models.mobile_sam import DECODER, DECODER_INPUTS, ENCODER, ENCODER_INPUTS

SIDE = 128
"""Of what the small ones of transformers see."""

PROMPTS = {"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}

DECODERS = {
    "hidden_size": 16,
    "mlp_dim": 32,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}


def sam(side: int = SIDE, channels: int = 16) -> Any:
    """A SAM; what it sees is `side` pixels, and its features have `channels`."""
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": channels,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": side,
            "window_size": 4,
            "global_attn_indexes": [1] if side == SIDE else [],
            "num_pos_feats": channels // 2,
            "mlp_dim": 32,
        },
        prompt_encoder_config={**PROMPTS, "hidden_size": channels, "image_size": side},
        mask_decoder_config={**DECODERS, "hidden_size": channels},
    )
    return _lively(SamModel(config))


def _vision_2() -> dict[str, Any]:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [3],
    }
    return {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 16,
    }


def sam2() -> Any:
    from transformers import Sam2Config, Sam2Model

    config = Sam2Config(
        vision_config=_vision_2(), prompt_encoder_config=PROMPTS, mask_decoder_config=DECODERS
    )
    return _lively(Sam2Model(config))


def sam2_video() -> Any:
    """What the official repositories of SAM 2 hold: the image model and more."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    config = Sam2VideoConfig(
        vision_config=_vision_2(),
        prompt_encoder_config=PROMPTS,
        mask_decoder_config=DECODERS,
        image_size=SIDE,
    )
    return _lively(Sam2VideoModel(config))


MODELS = {"sam": sam, "sam2": sam2, "sam2-video": sam2_video}


def save(name: str, folder: Path) -> Path:
    """The folder of a model, as the hub has it."""
    torch.manual_seed(0)
    MODELS[name]().save_pretrained(folder)
    return folder


def _lively(network: Any) -> Any:
    """With weights so large that masks depend on the photo and the prompt, as trained ones do."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                gain = 2.0 if "decoder" in name or "prompt" in name else 1.2
                parameter.normal_(0, gain * parameter[0].numel() ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return network.eval()


class Encoder(nn.Module):
    """The published encoder: normalises the photo and fills it up itself."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.vision, self.side = network.vision_encoder, network.config.vision_config.image_size
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]))
        self.register_buffer("deviation", torch.tensor([58.395, 57.12, 57.375]))

    def forward(self, input_image: torch.Tensor) -> torch.Tensor:
        seen = ((input_image - self.mean) / self.deviation).permute(2, 0, 1)
        height, width = seen.shape[1:]
        seen = nn.functional.pad(seen, (0, self.side - width, 0, self.side - height))
        return self.vision(seen[None]).last_hidden_state


class Decoder(nn.Module):
    """The published decoder, as SAM's exporter makes it, for several masks."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        image_embeddings: torch.Tensor,
        point_coords: torch.Tensor,
        point_labels: torch.Tensor,
        mask_input: torch.Tensor,
        has_mask_input: torch.Tensor,
        orig_im_size: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        prompts = self.network.prompt_encoder
        side = prompts.input_image_size
        embedded = prompts.shared_embedding((point_coords + 0.5)[None], (side, side))[0]
        marks = point_labels[..., None]
        embedded = torch.where(marks == -1, 0.0, embedded)
        embedded = embedded + prompts.not_a_point_embed.weight * (marks == -1)
        for label, embed in enumerate(prompts.point_embed):
            embedded = embedded + embed.weight * (marks == label)
        none = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = has_mask_input * prompts.mask_embed(mask_input) + (1 - has_mask_input) * none
        masks, scores = [], []
        for several in (False, True):
            found = self.network.mask_decoder(
                image_embeddings=image_embeddings,
                image_positional_embeddings=self.network.get_image_wide_positional_embeddings(),
                sparse_prompt_embeddings=embedded[None],
                dense_prompt_embeddings=dense,
                multimask_output=several,
            )
            masks.append(found[0][0])
            scores.append(found[1][0])
        low, expected = torch.cat(masks, 1), torch.cat(scores, 1)
        whole = nn.functional.interpolate(low, (side, side), mode="bilinear")
        longest = orig_im_size.max()
        rows, columns = (orig_im_size * side / longest + 0.5).floor().long().unbind()
        height, width = orig_im_size.long().unbind()
        whole = whole[:, :, :rows, :columns]
        return nn.functional.interpolate(whole, (height, width), mode="bilinear"), expected, low


def save_mobile(folder: Path) -> Any:
    """The two files of a small MobileSAM in `folder`, and the network they were made of."""
    torch.manual_seed(0)
    network = sam(1024, 256)
    network.config._attn_implementation = "eager"
    embedding = torch.zeros(1, 256, 64, 64)
    points, labels = torch.rand(1, 5, 2) * 1024, torch.tensor([[1.0, 0, 2, 3, -1]])
    mask = torch.zeros(1, 1, 256, 256), torch.zeros(1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            Encoder(network),
            (torch.rand(768, 1024, 3) * 255,),
            folder / ENCODER,
            input_names=ENCODER_INPUTS,
            output_names=["image_embeddings"],
            dynamic_axes={"input_image": {0: "image_height", 1: "image_width"}},
            opset_version=17,
            dynamo=False,
        )
        torch.onnx.export(
            Decoder(network),
            (embedding, points, labels, *mask, torch.tensor([1080.0, 1920.0])),
            folder / DECODER,
            input_names=DECODER_INPUTS,
            output_names=["masks", "iou_predictions", "low_res_masks"],
            dynamic_axes={"point_coords": {1: "num_points"}, "point_labels": {1: "num_points"}},
            opset_version=17,
            dynamo=False,
        )
    return network
