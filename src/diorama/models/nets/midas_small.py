"""MiDaS v2.1 small: relative inverse depth, by a network made for phones.

Ranftl et al., "Towards robust monocular depth estimation: mixing datasets for zero-shot
cross-dataset transfer" (TPAMI 2020, arXiv 1907.01341). The encoder is EfficientNet-Lite3 (Tan and
Le, 2019; without squeeze-and-excitation, with ReLU6), the decoder joins its four levels by residual
units, coarse to fine (RefineNet, Lin et al., 2017). Written from the papers; parameters have the
names and the meaning of the official checkpoint.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diorama.models.nets.official import dtype_of, fold_norm, load_official

__all__ = ["MidasSmall", "build", "config_of", "load_official", "prepare"]

NORM_EPS = 1e-3
"""TensorFlow's, where the encoder was trained first."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of sRGB in ImageNet's photos."""

STEM_WIDTH = 32

EXPAND = 6
"""How much wider inverted residuals are inside."""

STAGES = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)
"""EfficientNet-Lite0's: size of the depthwise convolution, stride of the first block, channels,
blocks. The first and the last stage keep one block at any depth."""

LEVELS = ((0, 1), (2,), (3, 4), (5, 6))
"""Which stages end at 1/4, 1/8, 1/16, 1/32 of the picture's size."""


class SameConv(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow's "SAME" does: less at the top left.

    Sides must be multiples of the stride.
    """

    def __init__(self, ins: int, outs: int, size: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(ins, outs, size, stride, groups=groups, bias=False)
        before = (size - stride) // 2
        self.margins = (before, size - stride - before) * 2

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outs, H / stride, W / stride)."""
        return super().forward(nn.functional.pad(input, self.margins))


class Separable(nn.Module):
    """A depthwise convolution, then one over channels."""

    def __init__(self, ins: int, outs: int, size: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(ins, ins, size, groups=ins)
        self.bn1 = nn.BatchNorm2d(ins, NORM_EPS)
        self.conv_pw = SameConv(ins, outs, 1)
        self.bn2 = nn.BatchNorm2d(outs, NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outs, H, W)."""
        x = nn.functional.relu6(self.bn1(self.conv_dw(x)))
        return self.bn2(self.conv_pw(x))


class Inverted(nn.Module):
    """Widen, look around with a depthwise convolution, narrow again (Sandler et al., 2018)."""

    def __init__(self, ins: int, outs: int, size: int, stride: int) -> None:
        super().__init__()
        inside = EXPAND * ins
        self.conv_pw = SameConv(ins, inside, 1)
        self.bn1 = nn.BatchNorm2d(inside, NORM_EPS)
        self.conv_dw = SameConv(inside, inside, size, stride=stride, groups=inside)
        self.bn2 = nn.BatchNorm2d(inside, NORM_EPS)
        self.conv_pwl = SameConv(inside, outs, 1)
        self.bn3 = nn.BatchNorm2d(outs, NORM_EPS)
        self.skips = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outs, H / stride, W / stride)."""
        y = nn.functional.relu6(self.bn1(self.conv_pw(x)))
        y = nn.functional.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.skips else y


class ResidualUnit(nn.Module):
    """Two convolutions of what is positive, and a way past them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


class Fusion(nn.Module):
    """One step up: the coarser level's features, and what the encoder saw here."""

    def __init__(self, width: int, outs: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, outs, 1)
        self.resConfUnit1 = ResidualUnit(width)
        self.resConfUnit2 = ResidualUnit(width)

    def forward(self, seen: Tensor, coarser: Tensor | None = None) -> Tensor:
        """(B, C, H, W) twice, to (B, outs, 2H, 2W).

        The coarsest level has nothing to join: its first unit is in the checkpoint and never used.
        """
        x = seen if coarser is None else coarser + self.resConfUnit1(seen)
        return self.out_conv(_doubled(self.resConfUnit2(x), align_corners=True))


def _doubled(x: Tensor, *, align_corners: bool) -> Tensor:
    return nn.functional.interpolate(
        x, scale_factor=2.0, mode="bilinear", align_corners=align_corners
    )


class MidasSmall(nn.Module):
    """See the module's docstring."""

    def __init__(self, width: float, depth: float, features: int) -> None:
        super().__init__()
        stem = (SameConv(3, STEM_WIDTH, 3, stride=2), nn.BatchNorm2d(STEM_WIDTH, NORM_EPS))
        levels, ins, outs = [[*stem, nn.ReLU6()], [], [], []], STEM_WIDTH, []
        for level, stages in zip(levels, LEVELS, strict=True):
            for stage in stages:
                blocks, ins = _stage(stage, ins, width, depth)
                level.append(blocks)
            outs.append(ins)
        self.pretrained = nn.ModuleDict(
            {f"layer{k}": nn.Sequential(*level) for k, level in enumerate(levels, 1)}
        )
        self.scratch = nn.ModuleDict()
        for k, seen in enumerate(outs):
            inside = features << k
            self.scratch[f"layer{k + 1}_rn"] = nn.Conv2d(seen, inside, 3, padding=1, bias=False)
            self.scratch[f"refinenet{k + 1}"] = Fusion(inside, features << max(0, k - 1))
        self.scratch["output_conv"] = nn.Sequential(
            nn.Conv2d(features, features // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(features // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See.

        Args:
            x: (B, 3, H, W) sRGB less the mean over the deviation of ImageNet's photos; sides are
                multiples of 32.

        Returns:
            (B, H, W) >= 0: inverse depth up to scale and shift; 0 is common.
        """
        seen = []
        for k in range(1, 5):
            x = self.pretrained[f"layer{k}"](x)
            enter = self.scratch[f"layer{k}_rn"]
            seen.append(enter(x.to(dtype_of(enter))))
        path = self.scratch["refinenet4"](seen[3])
        for k in (3, 2, 1):
            fuse = self.scratch[f"refinenet{k}"]
            path = fuse(*(a.to(dtype_of(fuse)) for a in (seen[k - 1], path)))
        return self.scratch["output_conv"](path)[:, 0]


def _stage(stage: int, ins: int, width: float, depth: float) -> tuple[nn.Sequential, int]:
    """The blocks of one stage and their channels."""
    size, stride, channels, repeats = STAGES[stage]
    outs = _rounded(channels * width)
    if stage == 0:
        return nn.Sequential(Separable(ins, outs, size)), outs
    repeats = repeats if stage == len(STAGES) - 1 else math.ceil(repeats * depth)
    first = Inverted(ins, outs, size, stride)
    return nn.Sequential(first, *(Inverted(outs, outs, size, 1) for _ in range(repeats - 1))), outs


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, or the next if that loses more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def build(*, width: float = 1.2, depth: float = 1.4, features: int = 64) -> MidasSmall:
    """The network with random weights; as it is: of the official size.

    Args:
        width: channels of the encoder, relative to EfficientNet-Lite0's.
        depth: blocks of the encoder's stages, likewise.
        features: channels of the decoder at 1/4 of the picture's size.
    """
    return MidasSmall(width, depth, features).eval()


def config_of(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    """What `build` must be given for a checkpoint; it was published in one size."""
    del state_dict
    return {}


class FromPhotos(nn.Module):
    """The network with its normalisation: from sRGB in 0..1 to inverse depth."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: MidasSmall) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])

    def forward(self, photo: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 1, H, W)."""
        return self.net((photo - self.mean) / self.deviation)[:, None]


def prepare(net: MidasSmall, dtype: torch.dtype = torch.float32) -> FromPhotos:
    """The same network, changed in place to be fast: for inference alone, in this precision.

    Normalisations become part of the convolutions before them. The encoder and the last steps stay
    in float32: with 8 bits of mantissa throughout, the network would be 40 dB from itself.
    """
    stem = net.pretrained["layer1"]
    fold_norm(stem, "1", stem.get_submodule("0"))
    for block in net.modules():
        if isinstance(block, Separable):
            fold_norm(block, "bn1", block.conv_dw)
            fold_norm(block, "bn2", block.conv_pw)
        elif isinstance(block, Inverted):
            fold_norm(block, "bn1", block.conv_pw)
            fold_norm(block, "bn2", block.conv_dw)
            fold_norm(block, "bn3", block.conv_pwl)
    for name, part in net.scratch.items():
        if name not in ("refinenet1", "output_conv"):
            part.to(dtype)
    return FromPhotos(net).eval()
