"""The gradient of depthwise convolutions, which takes torch half of a training step on a CPU.

Its own kernel for the gradient of the weights takes fifty times the forward convolution on the few
pixels of the coarse levels. Here that gradient is a sum of products over shifts, with channels
innermost, and the gradient of the input is the same convolution with its kernel turned round::

    w'[c, i, j] = sum over b, u, v of  out'[b, c, u, v]  in[b, c, u + i, v + j]
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diorama.arrays import Array


def quicken(net: nn.Module) -> None:
    """Give every depthwise convolution of stride 1 in `net` the faster gradient, in place."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and _suits(module):
            module.__class__ = _Quick


class _Quick(nn.Conv2d):
    """A depthwise convolution with the faster gradient."""

    def forward(self, input: Tensor) -> Tensor:
        return convolve(input, self.weight.to(input.dtype))


def _suits(conv: nn.Conv2d) -> bool:
    side = conv.kernel_size[0]
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.bias is None
    around = conv.kernel_size == (side, side) and conv.padding == (side // 2, side // 2)
    return plain and around and side % 2 == 1 and conv.groups == conv.in_channels > 1


@torch.library.custom_op("diorama::depthwise", mutates_args=())
def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """(B, C, H, W) with a kernel (C, 1, k, k) each, zeros around."""
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=x.shape[1])


@convolve.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("diorama::depthwise_weight", mutates_args=())
def weight_gradient(x: Tensor, out: Tensor, side: int) -> Tensor:
    """(C, 1, side, side) of what `convolve` was given and of its output's gradient."""
    rim = side // 2
    around = functional.pad(x.float().permute(0, 2, 3, 1), (0, 0, rim, rim, rim, rim))
    last = out.float().permute(0, 2, 3, 1).contiguous()
    sums = _products(around.contiguous().numpy(), last.numpy(), side)
    return torch.from_numpy(sums).t().reshape(-1, 1, side, side).to(x.dtype).contiguous()


@weight_gradient.register_fake
def _(x: Tensor, out: Tensor, side: int) -> Tensor:
    return x.new_empty(x.shape[1], 1, side, side)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, out: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    return convolve(out, weight.flip(2, 3)), weight_gradient(x, out, weight.shape[-1])


convolve.register_autograd(_backward, setup_context=_keep)


@numba.njit(cache=True, fastmath=True, nogil=True)
def _products(around: Array, last: Array, side: int) -> Array:
    """(side * side, C): sums over the batch and all places."""
    batch, rows, columns, channels = last.shape
    sums = np.zeros((side * side, channels), np.float32)
    for b in range(batch):
        for i in range(side):
            for j in range(side):
                total = sums[i * side + j]
                for y in range(rows):
                    for x in range(columns):
                        seen, given = around[b, y + i, x + j], last[b, y, x]
                        for c in range(channels):
                            total[c] += seen[c] * given[c]
    return sums
