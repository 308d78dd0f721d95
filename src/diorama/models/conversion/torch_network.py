"""Our own networks, from torch checkpoints to ONNX."""

import contextlib
import importlib
import logging
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.arrays import Array
from diorama.errors import InputError, MissingExtraError, UnknownNameError
from diorama.extras import import_extra
from diorama.models.official import Network

if TYPE_CHECKING:
    from onnx import ModelProto

NETWORKS = {
    "embedded": "diorama.models.nets.embedded:build",
    "lama": "diorama.models.lama:NETWORK",
    "midas-small": "diorama.models.midas:NETWORK",
}
"""Where each network is built, with random weights, or described."""

OPSET = 18
"""Of ONNX: the oldest that torch exports to, and so the one that most runtimes know."""

TRACED = (2, 64, 96)
"""Batch and sides of what is traced: all different, so that none can be taken for another."""


def load_network(name: str, weights: Path) -> Any:
    """Build a network and give it the weights of a checkpoint.

    Args:
        name: one of `NETWORKS`.
        weights: of a published network its official checkpoint; of ours a file that torch saved: a
            state dict, or a dict that has it under "net".

    Returns:
        The `torch.nn.Module`, for inference.

    Raises:
        UnknownNameError: if there is no such network.
        InputError: if the file is missing, damaged, or another network's.
        MissingExtraError: if torch is not installed.
    """
    if name not in NETWORKS:
        raise UnknownNameError("network", name, NETWORKS)
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"converting {name}", "convert") from error

    module, _, attribute = NETWORKS[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not weights.is_file():
        raise InputError(f"{weights} is not there: pass a checkpoint with --weights")
    if isinstance(found, Network):
        return found.prepared(weights)
    network = found()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("net", state))
    except (OSError, EOFError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{weights} holds no weights of {name}: {reason}") from error
    return network.eval()


def run(network: Any, tensor: Array) -> list[Array]:
    """What the network itself says, as ONNX Runtime gives it: a list of its one output."""
    import torch

    with torch.no_grad():
        return [network(torch.from_numpy(tensor)).numpy()]


def to_onnx(network: Any) -> "ModelProto":
    """Export a network whose input `photo` and output `outputs` are (B, C, H, W).

    The batch and the sides (multiples of 32) stay free; of the input's channels it may have an
    attribute `channels`, else they are 3.
    """
    import_extra("convert", "exporting to ONNX")
    import torch

    count, *sides = TRACED
    traced = torch.zeros((count, getattr(network, "channels", 3), *sides))
    batch, rows, columns = (torch.export.Dim(name) for name in ("batch", "rows", "columns"))
    with _quiet():
        program = torch.onnx.export(
            network,
            (traced,),
            input_names=["photo"],
            output_names=["outputs"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: batch, 2: 32 * rows, 3: 32 * columns},),
            verbose=False,
        )
    assert program is not None  # it is where no file is asked for
    return without_notes(program.model_proto)


def without_notes(model: "ModelProto") -> "ModelProto":
    """The model without what its maker's files and lines of code were called."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    for item in (*model.graph.input, *model.graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from telling the user about its own deprecations and absent torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
