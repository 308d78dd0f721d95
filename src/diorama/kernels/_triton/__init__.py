"""Twins of the hot kernels for CUDA tensors, in Triton.

A twin has its kernel's public name and arguments, launches on the current stream, and never waits
for the device: no sizes, sums or conditions are read back. So all of it can be captured in a CUDA
graph. Under ``TRITON_INTERPRET=1`` Triton runs on the CPU, slowly, for tests.
"""

import os

from diorama.arrays import Array
from diorama.errors import InputError
from diorama.extras import check_extra

check_extra("gpu", "a kernel on a CUDA tensor")

import torch  # noqa: E402, after the check: whoever has torch may still lack Triton


def launching_on(tensor: torch.Tensor) -> torch.cuda.device_of:
    """A context in which kernels are launched on the GPU that holds `tensor`.

    Raises:
        InputError: if it lies on no GPU.
    """
    if not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(
            f"kernels take NumPy arrays or CUDA tensors, got a tensor on {tensor.device}: "
            "pass tensor.numpy() or tensor.cuda()"
        )
    return torch.cuda.device_of(tensor)


def upload(array: Array | torch.Tensor, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A few numbers, such as a camera's, on the device of `like`, without waiting for it.

    What is there already is only converted; so pass tensors where a graph is to be captured.
    """
    tensor = torch.as_tensor(array)
    if like.is_cuda and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(like.device, dtype, non_blocking=True).contiguous()
