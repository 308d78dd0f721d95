"""Our own versions of published networks, opened from a file of their official weights.

A checkpoint runs by torch, the .onnx file that ``diorama models convert`` makes of it by ONNX
Runtime; which of them is faster where, `benchmarks/networks.py` tells.
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diorama.arrays import Array
from diorama.errors import InputError, MissingExtraError
from diorama.runtime import num_threads, open_session

if TYPE_CHECKING:
    from torch import nn

Device = Literal[
    "auto",  # the GPU if there is one that torch can use
    "cpu",
    "cuda",
]

Precision = Literal[
    "auto",  # bf16 where the hardware has it
    "fp32",
    "bf16",
]

Run = Callable[[Array], Array]
"""(B, C, H, W) float32 to the same kind."""


@dataclass(frozen=True)
class Network:
    """A network that can be opened."""

    title: str
    """As messages call it."""
    module: str
    """With `build`, `config_of`, `load_official` and `prepare`."""
    channels: int
    """Of its input."""
    prefix: str = ""
    """What the names of its weights begin with, if a checkpoint holds others', too."""

    def open(self, weights: Path, *, device: Device = "auto", precision: Precision = "fp32") -> Run:
        """The network as a function; the last two opened are kept.

        Args:
            weights: a checkpoint, or an .onnx file, which runs on the CPU as it is.
            device: where it runs.
            precision: of its arithmetic; input and output are float32.

        Raises:
            InputError: if the file is missing, damaged or another network's, or cannot run so.
            MissingExtraError: if the file needs torch and torch is not installed.
        """
        if not weights.is_file():
            raise InputError(f"{weights} is not there: pass a file of weights of {self.title}")
        return _opened(self, weights, weights.stat().st_mtime_ns, device, precision)

    def prepared(self, weights: Path, *, reduced: bool = False) -> "nn.Module":
        """The network with the weights of a checkpoint, on the CPU; see `open`.

        Args:
            weights: the checkpoint.
            reduced: compute in bfloat16 what bears it.
        """
        from diorama.weights import read_state_dict

        state = read_state_dict(weights)
        try:
            import torch
        except ModuleNotFoundError as error:
            raise MissingExtraError(self.title, "models") from error
        state = {name: t for name, t in state.items() if name.startswith(self.prefix)} or state
        module: Any = importlib.import_module(self.module)
        with torch.device("meta"):  # random weights would take longer than loading
            network = module.build(**module.config_of(state))
        try:
            network = module.load_official(network, state)
        except InputError as error:
            raise InputError(f"{weights} is not {self.title}: {error}") from error
        return module.prepare(network, torch.bfloat16 if reduced else torch.float32)


@functools.lru_cache(maxsize=2)
def _opened(
    network: Network, weights: Path, changed_ns: int, device: Device, precision: Precision
) -> Run:
    """See `Network.open`; a file that was changed is another one."""
    del changed_ns
    if weights.suffix.lower() == ".onnx":
        if device == "cuda" or precision == "bf16":
            raise InputError(f"{weights} runs on the CPU as it is: pass a checkpoint for {device}")
        return _run_by_onnx(network, weights)
    return _run_by_torch(network, weights, device, precision)


def _run_by_onnx(network: Network, weights: Path) -> Run:
    session = open_session(weights)
    inputs = session.get_inputs()
    if [i.shape[1:2] for i in inputs] != [[network.channels]]:
        raise InputError(f"{weights} is not {network.title}: its input is {inputs[0].shape}")
    name = inputs[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def _run_by_torch(network: Network, weights: Path, device: Device, precision: Precision) -> Run:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"a checkpoint of {network.title}", "models") from error
    place = place_of(network.title, device)
    prepared = network.prepared(weights, reduced=is_reduced(precision, place))
    # The stubs of `Module.to` lack this argument.
    prepared.to(place, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def run(x: Array) -> Array:
        with torch.inference_mode():
            tensor = torch.from_numpy(x).to(place).to(memory_format=torch.channels_last)
            return prepared(tensor).cpu().numpy()

    return run


def place_of(title: str, device: Device) -> Literal["cpu", "cuda"]:
    """Where a network runs by torch; `InputError` that names it if it cannot run there."""
    import torch

    torch.set_num_threads(num_threads())
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError(f"{title} cannot run on cuda: torch finds no GPU; pass cpu")
    return "cuda" if device != "cpu" and there else "cpu"


def is_reduced(precision: Precision, place: str) -> bool:
    """Whether to compute in bfloat16, which is slower than float32 where hardware lacks it."""
    import torch

    if precision != "auto":
        return precision == "bf16"
    if place == "cuda":
        return torch.cuda.is_bf16_supported()
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, bool)() for question in questions)
