"""The embedded network: one photo in; disparity, normals, people, edges and confidence out.

A U: an encoder that halves the picture five times, a decoder with skip connections back to half the
picture's size, and pixel shuffle for the rest::

    1/2   stem ─────────────────────────────────────────── join ─ heads ─ shuffle ─ 1/1
    1/4     stage ────────────────────────────────── join
    1/8       stage ───────────────────────── join
    1/16        stage ──────────────── join
    1/32          stage ─ global ─────┘

Fine levels use plain 3x3 convolutions, which integer arithmetic likes; coarse ones inverted
residuals with 5x5 depthwise convolutions. Every join ends in a global context block (Cao et al.,
"GCNet", 2019) that recalibrates channels and a spatial attention block (Woo et al., "CBAM", 2018)
that modulates regions. The input also carries each pixel's place: depth goes with height in the
picture.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

OUTPUTS = {"disparity": 1, "normal": 3, "person": 1, "edges": 1, "spread": 1}
"""Channels of each output, in the order of the network's."""


@dataclass(frozen=True)
class EmbeddedConfig:
    """Widths and depths: found by search, then deeper where depth costs least."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 224)
    """Channels at 1/2, 1/4, ... 1/32."""
    depths: tuple[int, ...] = (0, 2, 2, 9, 9)
    """Blocks at each."""
    expand: int = 3
    """How much wider inverted residuals are inside."""
    decoder: tuple[int, ...] = (16, 32, 48, 80)
    """Channels of the decoder at 1/2, 1/4, 1/8, 1/16."""


class Conv(nn.Sequential):
    """Convolution, batch normalisation, and ReLU unless `active` is false."""

    def __init__(
        self,
        ins: int,
        outs: int,
        size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(ins, outs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if active else []))


class Plain(nn.Module):
    """Two 3x3 convolutions and a way past them (He et al., 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(width, width, 3), Conv(width, width, 3, active=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return torch.relu(x + self.body(x))


class Inverted(nn.Module):
    """Widen, look around with a depthwise 5x5, narrow again (Sandler et al., 2018).

    Untrained, it changes nothing: a trained network may be given more of them.
    """

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        inside = width * expand
        self.body = nn.Sequential(
            Conv(width, inside, 1),
            Conv(inside, inside, 5, groups=inside),
            Conv(inside, width, 1, active=False),
        )
        nn.init.zeros_(self.body.get_parameter("2.1.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.body(x)


class GlobalContext(nn.Module):
    """Adds to every pixel what an attention over the whole picture has gathered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.where = nn.Conv2d(width, 1, 1)
        inside = max(8, width // 4)
        self.what = nn.Sequential(
            nn.Conv2d(width, inside, 1), nn.ReLU(inplace=True), nn.Conv2d(inside, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        share = self.where(x).flatten(2).softmax(-1)  # (B, 1, HW)
        gathered = (x.flatten(2) * share).sum(-1)[..., None, None]  # (B, C, 1, 1)
        return x + self.what(gathered)


class SpatialAttention(nn.Module):
    """Weighs every pixel by what the channels' mean and maximum look like around it."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2, 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * (2 * torch.sigmoid(self.weigh(seen)))


class Everywhere(nn.Module):
    """Self-attention over the coarsest level's pixels, with their places (Vaswani et al., 2017)."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.BatchNorm2d(width)
        self.mix = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        batch, width, height, columns = x.shape
        split = self.mix(self.norm(x)).reshape(batch, 3, self.heads, width // self.heads, -1)
        query, key, value = split.unbind(1)  # (B, heads, c, HW)
        share = (query.transpose(-1, -2) @ key * (width // self.heads) ** -0.5).softmax(-1)
        mixed = (value @ share.transpose(-1, -2)).reshape(batch, width, height, columns)
        return x + self.out(mixed)


class Join(nn.Module):
    """One step up: the coarser level enlarged, beside what the encoder saw here."""

    def __init__(self, coarse: int, skip: int, width: int) -> None:
        super().__init__()
        self.enter = Conv(coarse, width, 1)
        self.skip = Conv(skip, width, 1)
        self.blend = Plain(width)
        self.context = GlobalContext(width)
        self.attention = SpatialAttention()

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, C, H, W) and (B, S, 2H, 2W) to (B, width, 2H, 2W)."""
        up = nn.functional.interpolate(self.enter(coarse), scale_factor=2.0, mode="nearest")
        return self.attention(self.context(self.blend(up + self.skip(skip))))


class Embedded(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: EmbeddedConfig = EmbeddedConfig()) -> None:
        super().__init__()
        widths, depths = config.widths, config.depths
        self.stem = nn.Sequential(
            Conv(5, widths[0], 3, stride=2), *(Plain(widths[0]) for _ in range(depths[0]))
        )
        self.stages = nn.ModuleList()
        for level in range(1, 5):
            fine = level < 3
            blocks = [
                Plain(widths[level]) if fine else Inverted(widths[level], config.expand)
                for _ in range(depths[level])
            ]
            self.stages.append(
                nn.Sequential(Conv(widths[level - 1], widths[level], 3, stride=2), *blocks)
            )
        self.everywhere = nn.Sequential(Everywhere(widths[4]), Inverted(widths[4], config.expand))
        coarse = (*config.decoder[1:], widths[4])
        self.joins = nn.ModuleList(Join(coarse[k], widths[k], config.decoder[k]) for k in range(4))
        channels = sum(OUTPUTS.values())
        self.heads = nn.Sequential(
            nn.Conv2d(config.decoder[0], 4 * channels, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, photo: Tensor) -> Tensor:
        """See everything.

        Args:
            photo: (B, 3, H, W) sRGB in 0..1; sides are multiples of 32.

        Returns:
            (B, 7, H, W): disparity up to scale and shift, normals (3, camera axes, not yet of
            length 1), logits of people and of occlusion edges, and the logarithm of disparity's
            expected error.
        """
        height, width = photo.shape[2:]
        rows = _ramp(height, photo)[:, None].expand(height, width)
        place = torch.stack([rows, _ramp(width, photo).expand(height, width)])
        x = torch.cat([4 * photo - 2, place.expand(photo.shape[0], -1, -1, -1)], 1)
        x = self.stem(x)
        levels = [x]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        x = self.everywhere(levels[4])
        for level in (3, 2, 1, 0):
            x = self.joins[level](x, levels[level])
        return self.heads(x)


def _ramp(count: int, like: Tensor) -> Tensor:
    """(count,) from -1 to 1; `torch.linspace` would be exported to ONNX with a fixed count."""
    steps = torch.arange(count, device=like.device, dtype=like.dtype)
    return steps * (2 / (count - 1)) - 1


def build(config: EmbeddedConfig = EmbeddedConfig()) -> Embedded:
    """The network with random weights."""
    return Embedded(config)
