"""Inpainting models of diffusers with few random weights, in folders as real ones are.

Each is made from config objects and saved by `save_pretrained`; its pictures are 64 pixels wide.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

SIDE_PX = 64
"""What such a network says it has learnt from."""


def _tokens() -> list[str]:
    """CLIP's 256 symbols for bytes, each alone and at a word's end; no word is one token."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(code) for code in (*own, *range(256, 512 - len(own)))]
    return [*symbols, *(f"{s}</w>" for s in symbols), "<|startoftext|>", "<|endoftext|>"]


def tokenizer() -> Any:
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps({t: index for index, t in enumerate(_tokens())}))
        merges.write_text("#version: 0.2\n")
        return transformers.CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def text_encoder(name: str, *, hidden_size: int = 32) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        hidden_size=hidden_size,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=514,
        projection_dim=32,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return getattr(transformers, name)(config)


def unet(*, channels: int = 9, **more: Any) -> Any:
    import diffusers

    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=SIDE_PX // 2,
        in_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **{"cross_attention_dim": 32, "attention_head_dim": 8, **more},
    )


def vae() -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=SIDE_PX,
        force_upcast=True,  # as official ones: SDXL's overflows in fp16
    )


def stable_diffusion(**changes: Any) -> Any:
    """As official ones are, with their scheduler."""
    import diffusers

    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    parts = {
        "vae": vae(),
        "text_encoder": text_encoder("CLIPTextModel"),
        "tokenizer": tokenizer(),
        "unet": unet(),
        "scheduler": scheduler,
        **changes,
    }
    return diffusers.StableDiffusionInpaintPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def sdxl() -> Any:
    """With two text encoders, and a scheduler for another sampler."""
    import diffusers

    words = tokenizer()
    return diffusers.StableDiffusionXLInpaintPipeline(
        vae=vae(),
        text_encoder=text_encoder("CLIPTextModel"),
        text_encoder_2=text_encoder("CLIPTextModelWithProjection"),
        tokenizer=words,
        tokenizer_2=words,
        unet=unet(
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
            cross_attention_dim=32 + 32,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        add_watermarker=False,
    )


MODELS = {"sd": stable_diffusion, "sdxl": sdxl}

LORA_LAYERS = [
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
    "time_emb_proj",
]
"""What the LoRAs of latent consistency change."""


def save(name: str, folder: Path, *, variant: str | None = None, **changes: Any) -> Path:
    """Make a model and save it, with the files that official ones have; the same numbers each time.

    Args:
        name: of `MODELS`.
        folder: where to put it.
        variant: "fp16" for half precision, and names that say so.
        changes: other parts.
    """
    torch.manual_seed(3)
    pipe = MODELS[name](**changes)
    (pipe.to(torch.float16) if variant else pipe).save_pretrained(folder, variant=variant)
    for words in folder.glob("tokenizer*"):
        _save_old_tokenizer(words)
    index = json.loads((folder / "model_index.json").read_text())
    if name == "sd":  # which names parts that are not downloaded
        index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
        index |= {"feature_extractor": ["transformers", "CLIPFeatureExtractor"]}
        del index["image_encoder"], index["requires_safety_checker"]
    (folder / "model_index.json").write_text(json.dumps(index | {"_diffusers_version": "0.6.0"}))
    return folder


def _save_old_tokenizer(folder: Path) -> None:
    """As the hub has them: today's library would write one file."""
    shutil.rmtree(folder)
    folder.mkdir()
    tokens = _tokens()
    start, end = tokens[-2:]
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    settings = special | {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "vocab.json").write_text(json.dumps({t: index for index, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def save_lora(folder: Path, path: Path, *, official: bool = False) -> Path:
    """Make a LoRA for a saved model, with the names of diffusers, or of official ones (kohya's)."""
    import diffusers
    import peft

    torch.manual_seed(4)
    index = json.loads((folder / "model_index.json").read_text())
    pipeline = getattr(diffusers, index["_class_name"])
    network = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    config = peft.LoraConfig(r=4, init_lora_weights="gaussian", target_modules=LORA_LAYERS)
    network.add_adapter(config)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    layers = peft.get_peft_model_state_dict(network)
    if official:
        _save_official_lora(layers, path)
        return path
    pipeline.save_lora_weights(
        path.parent, unet_lora_layers=layers, weight_name=path.name, safe_serialization=True
    )
    return path


def _save_official_lora(layers: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    state = {}
    for name, matrix in layers.items():
        layer, _, kind = name.removesuffix(".weight").rpartition(".lora_")
        renamed = "lora_unet_" + layer.replace(".", "_")
        state[f"{renamed}.lora_{'down' if kind == 'A' else 'up'}.weight"] = matrix.contiguous()
        state[f"{renamed}.alpha"] = torch.tensor(4.0)  # the rank: nothing is scaled
    save_file(state, path)
