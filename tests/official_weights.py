"""Weights that are the same on every machine, for networks whose own cannot come with the tests.

What a parameter holds follows from its name and shape: normal deviates seeded by the name's hash,
which the goldens in ``tests/golden`` were made with.
"""

import hashlib
import math

import numpy as np
import torch


def numbers(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """float32: kernels keep a signal's variance times `gain`, norms are nearly neutral."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape).astype(np.float32)
    if len(shape) > 1:
        return normal * np.float32(gain / math.sqrt(max(1, math.prod(shape[1:]))))
    if name.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(normal)
    return np.float32(0.1) * normal + np.float32(name.endswith("weight"))


def official_weights(net: torch.nn.Module, gain: float = 1.0) -> dict[str, torch.Tensor]:
    """A state dict as the network's official checkpoint would have it."""
    return {
        name: torch.from_numpy(np.asarray(numbers(name, tuple(t.shape), gain), np.float32))
        if t.is_floating_point()
        else t.clone()
        for name, t in net.state_dict().items()
    }
