"""Our own versions of published networks, opened from a file of their official weights.

A checkpoint runs by torch, the .onnx file that ``diorama models convert`` makes of it by ONNX
Runtime; which of them is faster where, `benchmarks/networks.py` tells.
"""

import importlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from diorama import runtime
from diorama.arrays import Array
from diorama.errors import InputError, MissingExtraError
from diorama.runtime import device_of, kept, num_threads, open_network, precision_of

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger(__name__)

Device = Literal[
    "auto",  # the GPU if there is one that torch can use
    "cpu",
    "cuda",
]
"""Where torch runs a network."""

Precision = Literal[
    "auto",  # bf16 where the hardware has it
    "fp32",
    "bf16",
    "fp16",
]
"""Of torch's arithmetic; fp16 is for GPUs that are too old for bf16."""

Run = Callable[[Array], Array]
"""(B, C, H, W) float32 to the same kind."""

FULL = "allocate memory", "out of memory"
"""What libraries without an error of their own for it say where memory runs out."""


@dataclass
class Room:
    """What is known of how much fits into memory at once: all that has, once something has not."""

    size: float = math.inf
    """Numbers in a batch."""


@dataclass(frozen=True)
class Opened:
    """A network that runs: a `Run` that makes do with little memory."""

    run: Run
    title: str
    device: str
    """Where it runs."""
    precision: str
    """Of its arithmetic."""
    room: Room = field(default_factory=Room)
    """For what it is given."""

    @property
    def runs_as(self) -> str:
        """Such as "cuda bf16"."""
        return f"{self.device} {self.precision}"

    def __call__(self, x: Array) -> Array:
        """(B, C, H, W) float32 to the same kind, in parts where the whole does not fit."""
        (found,) = run_in_parts(
            lambda part: (self.run(part),), x, self.room, title=self.title, device=self.device
        )
        return found


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
    bears_bf16: bool = True
    """Whether "auto" may be bf16, which changes what it says too little to be seen."""

    def open(
        self, weights: Path, *, device: runtime.Device = "auto", precision: Precision = "auto"
    ) -> Opened:
        """The network as a function; the last two opened are kept.

        Args:
            weights: a checkpoint; or an .onnx file, whose precision is its own.
            device: where it runs.
            precision: of its arithmetic; input and output are float32.

        Raises:
            InputError: if the file is missing, damaged or another network's, or cannot run so.
            MissingExtraError: if the file needs torch and torch is not installed.
        """
        if not weights.is_file():
            raise InputError(f"{weights} is not there: pass a file of weights of {self.title}")
        return _opened(self, weights, weights.stat().st_mtime_ns, device, precision)

    def prepared(self, weights: Path, *, precision: str = "fp32") -> "nn.Module":
        """The network with the weights of a checkpoint, on the CPU; see `open`.

        Args:
            weights: the checkpoint.
            precision: fp32, or what to compute in where the network bears it.
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
        return module.prepare(network, torch_dtype(precision))


@kept(2)
def _opened(
    network: Network,
    weights: Path,
    changed_ns: int,
    device: runtime.Device,
    precision: Precision,
) -> Opened:
    """See `Network.open`; a file that was changed is another one."""
    del changed_ns
    if weights.suffix.lower() == ".onnx":
        return _open_by_onnx(network, weights, device, precision)
    if device not in get_args(Device):
        raise InputError(
            f"{network.title} cannot run on {device} from a checkpoint, but on cpu and cuda: pass "
            "one of these, or the .onnx file that `diorama models convert` makes"
        )
    return _open_by_torch(network, weights, device, precision)  # pyright: ignore[reportArgumentType]


def _open_by_onnx(
    network: Network, weights: Path, device: runtime.Device, precision: Precision
) -> Opened:
    session = open_network(weights, device)
    inputs = session.get_inputs()
    if [i.shape[1:2] for i in inputs] != [[network.channels]]:
        raise InputError(f"{weights} is not {network.title}: its input is {inputs[0].shape}")
    own = precision_of(session)
    if precision not in ("auto", own):
        raise InputError(f"{weights} is in {own}: pass that or auto, or a checkpoint")
    name = inputs[0].name
    return Opened(
        lambda x: np.asarray(session.run(None, {name: x})[0]),
        network.title,
        device_of(session),
        own,
    )


def _open_by_torch(network: Network, weights: Path, device: Device, precision: Precision) -> Opened:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"a checkpoint of {network.title}", "models") from error
    place = place_of(network.title, device)
    usual = "auto" if network.bears_bf16 else "fp32"
    chosen = arithmetic(usual if precision == "auto" else precision, place)
    prepared = network.prepared(weights, precision=chosen)
    # The stubs of `Module.to` lack this argument.
    prepared.to(place, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def run(x: Array) -> Array:
        with torch.inference_mode():
            tensor = torch.from_numpy(x).to(place).to(memory_format=torch.channels_last)
            return prepared(tensor).cpu().numpy()

    return Opened(run, network.title, place, chosen)


def run_in_parts(
    run: Callable[[Any], tuple[Array, ...]],
    batch: Any,
    room: Room | None = None,
    *,
    title: str,
    device: str,
) -> tuple[Array, ...]:
    """Run a batch at once, or where memory is too small in parts, which is logged in one line.

    Args:
        run: arrays whose first axis is the batch's; called with parts of the batch.
        batch: with something in it.
        room: what is known from earlier calls, and will be for later ones, of batches that are
            arrays or tensors; None: nothing.
        title: names the network in messages.
        device: where it runs.

    Returns:
        The arrays, as if all had been run at once.

    Raises:
        InputError: if not even one fits.
    """
    each = 1 if room is None else math.prod(batch.shape[1:])
    room = room or Room()
    most = max(1, int(min(room.size, len(batch) * each) // each))
    asked = most
    while True:
        reason = None
        try:
            parts = [run(batch[at : at + most]) for at in range(0, len(batch), most)]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = error if most == 1 else None
        else:
            break
        # Here, where the error's frames hold no tensors any more.
        if reason is not None:
            rather = "" if device == "cpu" else "pass --device cpu, or "
            raise InputError(
                f"{title} does not fit into the memory of {device}: {rather}choose a smaller model"
            ) from reason
        most = (most + 1) // 2
        _empty_caches()
    if most < asked:
        room.size = most * each
        logger.warning(
            "%s: out of memory on %s, so %d at a time instead of %d", title, device, most, asked
        )
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch or ONNX Runtime means that there is not enough memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in FULL)


def _empty_caches() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def place_of(title: str, device: Device) -> Literal["cpu", "cuda"]:
    """Where a network runs by torch; `InputError` that names it if it cannot run there."""
    import torch

    torch.set_num_threads(num_threads())
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError(f"{title} cannot run on cuda: torch finds no GPU; pass cpu")
    return "cuda" if device != "cpu" and there else "cpu"


def arithmetic(precision: Precision, place: str) -> Literal["fp32", "bf16", "fp16"]:
    """What to compute in by torch; "auto" is bf16, but where hardware lacks it and it is slower."""
    if precision != "auto":
        return precision
    return "bf16" if _has_bfloat16(place) else "fp32"


def torch_dtype(precision: str) -> "torch.dtype":
    """The type of torch's numbers."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _has_bfloat16(place: str) -> bool:
    import torch

    if place == "cuda":
        return torch.cuda.is_bf16_supported()
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, bool)() for question in questions)
