"""What our own versions of published networks share: weights under their official names."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from diorama.errors import InputError

Net = TypeVar("Net", bound=nn.Module)

NAMED = 3
"""How many wrong entries an error names."""


def load_official(net: Net, state_dict: Mapping[str, Tensor]) -> Net:
    """Give a network exactly the weights of its official checkpoint, no more and no fewer.

    Args:
        net: whose parameters and buffers have the official names. One on the "meta" device takes
            the tensors themselves, any other copies them.
        state_dict: the checkpoint's tensors by name; any float dtype.

    Returns:
        The same network, for inference.

    Raises:
        InputError: naming the first few entries that are missing, unexpected or of another shape.
    """
    wanted = net.state_dict()
    missing = [name for name in wanted if name not in state_dict]
    unexpected = [name for name in state_dict if name not in wanted]
    other = [
        f"{name} {tuple(state_dict[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state_dict and state_dict[name].shape != tensor.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    if any(found.values()):
        raise InputError(
            "these are not the official weights of this network: "
            + "; ".join(f"{what}: {_listed(names)}" for what, names in found.items() if names)
        )
    net.load_state_dict(dict(state_dict), assign=any(t.is_meta for t in wanted.values()))
    return net.float().eval()


def fold_norm(owner: nn.Module, name: str, *convs: nn.Module | None) -> None:
    """Move a batch normalisation of inference into the convolutions whose outputs' sum it takes.

    Args:
        owner: has the normalisation and is left with nothing to do there.
        name: of the normalisation in it.
        convs: changed in place, the first of them gets the bias; None: absent.
    """
    norm = owner.get_submodule(name)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    present = [conv for conv in convs if isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d))]
    with torch.no_grad():
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - gain * norm.running_mean
        for conv in present:
            turned = isinstance(conv, nn.ConvTranspose2d)  # its outputs are its second axis
            conv.weight *= gain[:, None, None] if turned else gain[:, None, None, None]
            if conv.bias is not None:
                shift = shift + gain * conv.bias
        present[0].bias = nn.Parameter(shift)
    setattr(owner, name, nn.Identity())


def dtype_of(net: nn.Module) -> torch.dtype:
    """The precision of a network's, or a layer's, parameters."""
    return next(net.parameters()).dtype


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
