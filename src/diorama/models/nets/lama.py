"""LaMa: inpainting by one network whose every block sees the whole picture.

Suvorov et al., "Resolution-robust large mask inpainting with Fourier convolutions" (WACV 2022,
arXiv 2109.07161). Between the steps down and the steps up lie residual blocks of fast Fourier
convolutions (Chi et al., 2020): a local part is convolved as usual; a global part, three quarters
of the channels, as its spectrum, so that any pixel reaches any other in one layer. Written from the
papers; parameters have the names and the meaning of the official checkpoint.

The transforms are products with the matrices of the discrete Fourier transform,

``F = (C_H - i S_H) X (C_W - i S_W)``,   C[k, n] = cos(2 pi k n / N) / sqrt(N),   S the sines:

what is transformed has an eighth of the picture's size, where that costs a twentieth of the
convolutions around it, and every runtime multiplies matrices, of any size, in any precision.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diorama.errors import InputError
from diorama.models.nets.official import dtype_of, fold_norm, load_official

__all__ = ["Lama", "build", "config_of", "load_official", "prepare"]

MAX_WIDTH = 1024
"""Channels are doubled at each step down, to no more than this."""

LOCAL = {"ratio_gin": 0, "ratio_gout": 0, "enable_lfu": False}
SPECTRAL = {"ratio_gin": 0.75, "ratio_gout": 0.75, "enable_lfu": False}
"""Global shares of the channels a layer takes and gives."""

Parts = tuple[Tensor, Tensor | None]
"""(B, C, H, W) local and global channels."""


class Dft(NamedTuple):
    """The matrices for pictures of one size; a spectrum is half as wide, w = W // 2 + 1."""

    columns: Tensor
    """(W, 2w): real values to real beside imaginary parts."""
    rows: Tensor
    """(2H, 2H): real above imaginary parts to the same; its inverse is its transpose."""
    columns_back: Tensor
    """(2w, W): the inverse of `columns`."""


def dft(height: int, width: int, like: Tensor) -> Dft:
    """The matrices of the two-dimensional Fourier transform of real values, "ortho" both ways."""
    cos, sin = _waves(height, height, like)
    rows = torch.cat([torch.cat([cos, sin], 1), torch.cat([-sin, cos], 1)])
    cos, sin = _waves(width // 2 + 1, width, like)
    waves = torch.cat([cos, -sin])
    k = torch.arange(width // 2 + 1, device=like.device)
    # Frequencies stand for their mirror images, too, but for 0 and the highest of an even number.
    counts = torch.where((k == 0) | (2 * k == width), 1.0, 2.0).to(like.dtype).repeat(2)
    return Dft(waves.transpose(0, 1), rows, counts[:, None] * waves)


def _waves(count: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(count, size) cosines and sines of the frequencies 0, 1, ... over `size` samples."""
    k = torch.arange(count, device=like.device)[:, None]
    n = torch.arange(size, device=like.device)
    # Less than one turn, as whole numbers: float32 loses digits of large angles. The exporter
    # knows the remainder of a tensor only, which is why `size` is taken from one.
    angle = (k * n % (n[-1] + 1)).to(torch.float32) * (2 * math.pi / size)
    scale = size**-0.5
    return (angle.cos() * scale).to(like.dtype), (angle.sin() * scale).to(like.dtype)


class FourierUnit(nn.Module):
    """A 1x1 convolution of the spectrum, whose real and imaginary parts are channels by turns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_layer = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor, dft: Dft) -> Tensor:
        """(B, C, H, W) to the same."""
        batch, channels, height, width = x.shape
        half = width // 2 + 1
        x = (x @ dft.columns).reshape(batch, channels, height, 2, half).transpose(2, 3)
        x = dft.rows @ x.reshape(batch, channels, 2 * height, half)
        x = x.reshape(batch, 2 * channels, height, half)
        x = torch.relu(self.bn(self.conv_layer(x)))
        x = dft.rows.transpose(0, 1) @ x.reshape(batch, channels, 2 * height, half)
        x = x.reshape(batch, channels, 2, height, half).transpose(2, 3)
        return x.reshape(batch, channels, height, 2 * half) @ dft.columns_back


class SpectralTransform(nn.Module):
    """Global to global: a Fourier unit on half the channels, and a way past it."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        inside = outs // 2
        self.conv1 = nn.Sequential(
            nn.Conv2d(ins, inside, 1, bias=False), nn.BatchNorm2d(inside), nn.ReLU()
        )
        self.fu = FourierUnit(inside)
        self.conv2 = nn.Conv2d(inside, outs, 1, bias=False)

    def forward(self, x: Tensor, dft: Dft) -> Tensor:
        """(B, C, H, W) to (B, outs, H, W)."""
        x = self.conv1(x)
        return self.conv2(x + self.fu(x, dft))


class FourierConv(nn.Module):
    """Convolutions from each part to each; those from or to a part without channels are absent."""

    def __init__(self, ins: tuple[int, int], outs: tuple[int, int], size: int, stride: int) -> None:
        super().__init__()

        def conv(ins: int, outs: int) -> nn.Conv2d | None:
            return nn.Conv2d(ins, outs, size, stride, bias=False) if ins and outs else None

        self.convl2l = nn.Conv2d(ins[0], outs[0], size, stride, bias=False)
        self.convl2g = conv(ins[0], outs[1])
        self.convg2l = conv(ins[1], outs[0])
        self.convg2g = SpectralTransform(ins[1], outs[1]) if ins[1] and outs[1] else None


class FourierLayer(nn.Module):
    """A Fourier convolution, batch normalisation and ReLU."""

    def __init__(
        self,
        ins: tuple[int, int],
        outs: tuple[int, int],
        size: int = 3,
        *,
        stride: int = 1,
        margin: int = 1,
    ) -> None:
        super().__init__()
        self.ffc = FourierConv(ins, outs, size, stride)
        self.bn_l = nn.BatchNorm2d(outs[0])
        self.bn_g = nn.BatchNorm2d(outs[1]) if outs[1] else None
        self.margin = margin

    def forward(self, near: Tensor, far: Tensor | None, dft: Dft) -> Parts:
        """Local and global channels to those of this layer."""
        ffc = self.ffc
        around = _reflected(near, self.margin)
        local = ffc.convl2l(around)
        if ffc.convg2l is not None and far is not None:
            local = local + ffc.convg2l(_reflected(far, self.margin))
        local = torch.relu(self.bn_l(local))
        if ffc.convl2g is None or self.bn_g is None:
            return local, None
        whole = ffc.convl2g(around)
        if ffc.convg2g is not None:
            whole = whole + ffc.convg2g(far, dft)
        return local, torch.relu(self.bn_g(whole))


def _reflected(x: Tensor, margin: int) -> Tensor:
    """`x` continued on all sides by its mirror image without its edge."""
    return nn.functional.pad(x, [margin] * 4, mode="reflect") if margin else x


class FourierBlock(nn.Module):
    """Two layers and a way past them."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = FourierLayer(widths, widths)
        self.conv2 = FourierLayer(widths, widths)

    def forward(self, near: Tensor, far: Tensor, dft: Dft) -> Parts:
        """Local and global channels to the same."""
        local, whole = self.conv2(*self.conv1(near, far, dft), dft)
        return near + local, far + whole


class Generator(nn.Module):
    """Down, blocks, up; the official checkpoint numbers all layers in one row."""

    def __init__(
        self, ins: int, outs: int, width: int, steps: int, blocks: int, share: float
    ) -> None:
        super().__init__()
        widths = [min(MAX_WIDTH, width << step) for step in range(steps + 1)]
        whole = int(widths[-1] * share)
        inner = widths[-1] - whole, whole
        layers: list[nn.Module] = [nn.ReflectionPad2d(3)]
        layers.append(FourierLayer((ins, 0), (width, 0), 7, margin=0))
        for step in range(steps):
            to = inner if step == steps - 1 else (widths[step + 1], 0)
            layers.append(FourierLayer((widths[step], 0), to, stride=2))
        layers += [FourierBlock(inner) for _ in range(blocks)]
        self.joined = len(layers)
        layers.append(nn.Identity())  # where local and global channels are joined
        for step in reversed(range(steps)):
            up = nn.ConvTranspose2d(widths[step + 1], widths[step], 3, 2, 1, output_padding=1)
            layers += [up, nn.BatchNorm2d(widths[step]), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, outs, 7), nn.Sigmoid()]
        self.model = nn.Sequential(*layers)
        self.scale = 1 << steps
        self.channels = ins

    def forward(self, x: Tensor) -> Tensor:
        """See `Lama.forward`."""
        matrices = dft(x.shape[2] // self.scale, x.shape[3] // self.scale, x)
        parts: Parts = self.model[0](x), None
        for layer in list(self.model)[1 : self.joined]:
            parts = layer(*parts, matrices)
        x = torch.cat([part for part in parts if part is not None], 1)
        x = self.model[self.joined : -2](x)
        # The last convolution stays in float32: 8 bits of mantissa would show as bands of colour.
        return self.model[-2:](x.to(dtype_of(self.model[-2])))


class Lama(nn.Module):
    """See the module's docstring."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.channels = generator.channels

    def forward(self, x: Tensor) -> Tensor:
        """Invent what is hidden.

        Args:
            x: (B, 4, H, W): sRGB in 0..1, 0 in the hole, and the hole's mask, 0 or 1; sides are
                multiples of 8.

        Returns:
            (B, 3, H, W) sRGB in 0..1: the whole picture, of use in the hole.
        """
        return self.generator(x.to(dtype_of(self)))


def build(
    *,
    input_nc: int = 4,
    output_nc: int = 3,
    ngf: int = 64,
    n_downsampling: int = 3,
    n_blocks: int = 18,
    add_out_act: str = "sigmoid",
    init_conv_kwargs: Mapping[str, float] = LOCAL,
    downsample_conv_kwargs: Mapping[str, float] = LOCAL,
    resnet_conv_kwargs: Mapping[str, float] = SPECTRAL,
    gain: float | None = None,
    seed: int | None = None,
) -> Lama:
    """The network with random weights, by the official configuration's keys; as it is: big-lama.

    Args:
        input_nc: channels of the picture and of its mask.
        output_nc: channels of the picture.
        ngf: channels at full size.
        n_downsampling: steps down.
        n_blocks: residual blocks.
        add_out_act: the last activation.
        init_conv_kwargs: global shares of the first layer.
        downsample_conv_kwargs: of the steps down.
        resnet_conv_kwargs: of the blocks.
        gain: not read; reference configurations tell by it how their weights were made.
        seed: not read; the same.

    Raises:
        InputError: for what no official configuration with Fourier convolutions has.
    """
    for name, given, known in (
        ("add_out_act", add_out_act, "sigmoid"),
        ("init_conv_kwargs", dict(init_conv_kwargs), LOCAL),
        ("downsample_conv_kwargs", dict(downsample_conv_kwargs), LOCAL),
        ("resnet_conv_kwargs", dict(resnet_conv_kwargs), SPECTRAL),
    ):
        if given != known:
            raise InputError(f"LaMa's {name} must be {known}, got {given}")
    share = SPECTRAL["ratio_gin"]
    return Lama(Generator(input_nc, output_nc, ngf, n_downsampling, n_blocks, share)).eval()


def config_of(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    """What `build` must be given for a checkpoint: big-lama has 18 blocks, others have 9."""
    stem = state_dict.get("generator.model.1.ffc.convl2l.weight")
    blocks = sum(name.endswith(".conv1.ffc.convl2l.weight") for name in state_dict)
    return {"ngf": len(stem), "n_blocks": blocks} if stem is not None else {}


def prepare(net: Lama, dtype: torch.dtype = torch.float32) -> Lama:
    """The same network, changed in place to be fast: for inference alone, in this precision.

    Normalisations become part of the convolutions before them. Pictures stay float32.
    """
    for layer in net.modules():
        if isinstance(layer, FourierUnit):
            fold_norm(layer, "bn", layer.conv_layer)
        elif isinstance(layer, SpectralTransform):
            fold_norm(layer.conv1, "1", layer.conv1[0])
        elif isinstance(layer, FourierLayer):
            ffc = layer.ffc
            fold_norm(layer, "bn_l", ffc.convl2l, ffc.convg2l)
            if layer.bn_g is not None:
                spectral = ffc.convg2g and ffc.convg2g.conv2
                fold_norm(layer, "bn_g", ffc.convl2g, spectral)
    model = net.generator.model
    for at, layer in enumerate(model):
        if isinstance(layer, nn.BatchNorm2d):
            fold_norm(model, str(at), model[at - 1])
    model[:-2].to(dtype)
    return net
