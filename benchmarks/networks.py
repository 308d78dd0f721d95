"""Our LaMa and MiDaS against the same networks in plain torch: eager, float32, channels first.

Plain is what running the official code on a CPU is: Fourier transforms by `torch.fft`, batch
normalisation on its own, and nothing prepared. Ours are `diorama.models.official`'s ways: the
prepared network by torch in float32 and in bfloat16, and the exported one by ONNX Runtime. Weights
are random; what the ways differ by is held by the tests.

- ``ms``: median of runs that take turns; ``times``: plain's over it, in the same run.
- ``psnr``: of the output against plain's, in dB; the peak is 1 for colours, for MiDaS the range of
  what it says.

    python benchmarks/networks.py [--folder DIR] [--network lama|midas] [--json FILE] [--quick]

`--folder` keeps weights and ONNX files, whose making takes a minute, for the next run.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import Result, arguments, psnr, time_ms

from diorama.models import lama, midas
from diorama.models.conversion import convert
from diorama.models.nets import lama as lama_nets
from diorama.models.nets import midas_small
from diorama.models.official import Run
from diorama.runtime import num_threads

SEED = 0
CONVERTED = {"lama": "lama", "midas": "midas-small"}
"""As ``diorama models convert`` calls them."""

GAIN = {"lama": 0.75, "midas": 1.3}
"""Of the random weights: a signal neither dies nor saturates on its way."""

SIDES_PX = {"lama": 512, "midas": 256}


class PlainFourierUnit(lama_nets.FourierUnit):
    """The Fourier unit with the transforms of torch, complex numbers and all."""

    def forward(self, x: torch.Tensor, dft: lama_nets.Dft) -> torch.Tensor:
        """(B, C, H, W) to the same."""
        del dft
        size = x.shape[-2:]
        spectrum = torch.view_as_real(torch.fft.rfft2(x, norm="ortho"))  # (B, C, H, w, 2)
        stacked = spectrum.movedim(-1, 2).flatten(1, 2)
        stacked = torch.relu(self.bn(self.conv_layer(stacked)))
        spectrum = stacked.unflatten(1, (-1, 2)).movedim(2, -1).contiguous()
        return torch.fft.irfft2(torch.view_as_complex(spectrum), s=size, norm="ortho")


def plain_lama(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    network = lama_nets.load_official(lama_nets.build(), state)
    for module in network.modules():
        if isinstance(module, lama_nets.FourierUnit):
            module.__class__ = PlainFourierUnit
    return network


def plain_midas(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    return midas_small.FromPhotos(midas_small.load_official(midas_small.build(), state)).eval()


def main() -> None:
    args = arguments(
        __doc__ or "",
        needs_data=False,
        folder="keep weights and ONNX files here",
        network="lama or midas: this one alone",
    )
    torch.set_num_threads(num_threads())
    result = Result("networks", seed=SEED)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in [args.network] if args.network else SIDES_PX:
            measure(result, name, folder, repeats=2 if args.quick else 7)
    result.finish(args)


def measure(result: Result, name: str, folder: Path, *, repeats: int) -> None:
    """Add one network's rows."""
    network, nets, plain = {
        "lama": (lama.NETWORK, lama_nets, plain_lama),
        "midas": (midas.NETWORK, midas_small, plain_midas),
    }[name]
    checkpoint, exported = made(name, nets.build, folder)
    side = SIDES_PX[name]
    x = np.random.default_rng(SEED).random((1, network.channels, side, side), np.float32)
    ways: dict[str, Run] = {
        "plain torch": run_plain(plain(torch.load(checkpoint, weights_only=True))),
        "ours, torch fp32": network.open(checkpoint, device="cpu", precision="fp32"),
        "ours, torch bf16": network.open(checkpoint, device="cpu", precision="bf16"),
        "ours, ONNX Runtime fp32": network.open(exported),
    }
    said = {way: run(x) for way, run in ways.items()}  # which warms up, too
    calls = {way: lambda run=run: run(x) for way, run in ways.items()}
    times = time_ms(calls, repeats=repeats, warm_up=0)
    expected = said["plain torch"]
    peak = np.ptp(expected) if name == "midas" else 1.0
    for way, ms in times.items():
        metrics = {"ms": ms, "times": times["plain torch"] / ms}
        if way != "plain torch":
            metrics["psnr"] = psnr(said[way] / peak, expected / peak)
        result.add(name, f"{name} {side}x{side}: {way}", metrics)


def run_plain(network: torch.nn.Module) -> Run:
    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return run


def made(name: str, build: Callable[[], torch.nn.Module], folder: Path) -> tuple[Path, Path]:
    """The checkpoint with random weights and the ONNX file, made if they are not there."""
    checkpoint, exported = folder / f"{name}.pt", folder / f"{name}.onnx"
    if not checkpoint.exists():
        torch.manual_seed(SEED)
        built = build()
        for weight in built.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=GAIN[name] / weight[0].numel() ** 0.5)
        torch.save(built.state_dict(), checkpoint)
    if not exported.exists():
        convert(CONVERTED[name], "onnx", exported, weights=checkpoint)
    return checkpoint, exported


if __name__ == "__main__":
    main()
