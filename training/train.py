"""Train the embedded network; stops and goes on wherever it was.

    python -m training.train --pool POOL --train DIR --out RUN [--steps 60000] [--minutes 9]

The run's folder holds ``last.pt`` (everything needed to go on), ``parcel.pt`` (nearly the same, in
less than 16 MiB), ``best.pt`` (averaged weights), ``log.csv``, the same figures for TensorBoard,
and contact sheets of predictions on the photos of `--photos`.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from diorama.arrays import Array
from diorama.models.nets.embedded import build
from training.batches import BatchConfig, Batches, crop, from_pool, from_real, stack
from training.depthwise import quicken
from training.losses import match, total
from training.pool import open_pool
from training.real import read_folder


@dataclass
class Run:
    """A training run: the weights, their average, and how far it is."""

    net: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = math.inf


def main() -> None:
    """Train."""
    args = arguments()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    args.out.mkdir(parents=True, exist_ok=True)
    run = open_run(args.out, args.rate, device, args.start)
    config = BatchConfig(size=args.batch, area=args.area, validation=args.validation)
    batches = Batches(
        args.pool, args.train, config, seed=args.seed, first=run.step, last=args.steps
    )
    loader = DataLoader(
        batches, batch_size=None, num_workers=args.workers, pin_memory=device.type == "cuda"
    )
    if device.type == "cpu":
        quicken(run.net)
    see = torch.compile(run.net, dynamic=False) if args.compile else run.net
    judge = torch.compile(total, dynamic=False) if args.compile else total
    board = SummaryWriter(args.out / "board", purge_step=run.step)
    begin, sums, since = time.monotonic(), {}, run.step
    for batch in loader:
        rate = schedule(run.step, args.steps) * args.rate
        truth = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
        losses = learn(see, judge, run.optimizer, truth, rate)
        run.step += 1
        follow(run.average, run.net, min(0.999, (1 + run.step) / (10 + run.step)))
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        late = time.monotonic() - begin > 60 * args.minutes
        ends = run.step in (args.stop, args.steps) or late
        if run.step % args.every == 0 or ends:
            row = {name: float(value) / (run.step - since) for name, value in sums.items()}
            sums, since = {}, run.step
            row |= validate(run.average, args.pool, args.train, config, device)
            row |= {"step": run.step, "rate": rate, "seconds": time.monotonic() - begin}
            log(args.out / "log.csv", row)
            for name, value in row.items():
                board.add_scalar(name, value, run.step)
            if args.photos:
                sheet = contact_sheet(run.average, args.photos, device)
                cv2.imwrite(str(args.out / f"sheet_{run.step:06d}.jpg"), sheet[..., ::-1])
                board.add_image("photos", sheet, run.step, dataformats="HWC")
            score = row["val_pool"] + row.get("val_real", 0.0)
            if score < run.best:
                run.best = score
                weights = halved(run.average.state_dict())
                save(args.out / "best.pt", {"net": weights, "step": run.step})
            keep_run(args.out, run)
        if ends:
            break
    board.close()


def learn(
    see: Callable[[Tensor], Tensor],
    judge: Callable[[Tensor, dict[str, Tensor]], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    rate: float,
) -> dict[str, Tensor]:
    """One step: `see` is the network, `judge` its losses, which are returned."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    photo = batch["photo"]
    with torch.autocast(photo.device.type, dtype=torch.bfloat16):
        outputs = see(photo)
    losses = judge(outputs.float(), batch)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, 2.0)
    optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


def make_optimizer(net: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW; biases and normalisation do not decay."""
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def open_run(out: Path, rate: float, device: torch.device, start: Path | None = None) -> Run:
    """The run as it was left: exactly, from ``last.pt``, or nearly, from ``parcel.pt``.

    A new one begins with the weights in `start`, if there are any; blocks that those lack begin
    as ones that change nothing.

    Raises:
        ValueError: if the weights are of a network that is not this one without some blocks.
    """
    net, average = build().to(device), build().to(device)
    average.load_state_dict(net.state_dict())
    run = Run(net, average, make_optimizer(net, rate))
    found = next((out / f for f in ("last.pt", "parcel.pt") if (out / f).exists()), None)
    if found is None:
        if start is not None:
            weights = torch.load(start, map_location=device, weights_only=True)["net"]
            missing, other = net.load_state_dict(weights, strict=False)
            if other or not all(".body." in name for name in missing):
                raise ValueError(f"{start}: these are another network's weights")
            average.load_state_dict(net.state_dict())
        return run
    state = torch.load(found, map_location=device, weights_only=True)
    average.load_state_dict(state["average"])
    net.load_state_dict(state.get("net", state["average"]))
    run.step, run.best = state["step"], state["best"]
    if "optimizer" in state:
        run.optimizer.load_state_dict(state["optimizer"])
        return run
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    for parameter, square in zip(parameters, state["squares"], strict=True):
        run.optimizer.state[parameter] = {
            "step": torch.tensor(float(run.step), device=device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": square.to(device).float().expand_as(parameter).clone(),
        }
    return run


def keep_run(out: Path, run: Run) -> None:
    """Save the run twice.

    ``last.pt`` holds all of it. ``parcel.pt`` can travel to a machine lent for minutes: averaged
    weights in half precision, and of Adam's state the mean square of each channel's gradients.
    """
    common = {"step": run.step, "best": run.best}
    net, average = run.net.state_dict(), run.average.state_dict()
    optimizer = run.optimizer.state_dict()
    save(out / "last.pt", {"net": net, "average": average, "optimizer": optimizer, **common})
    squares = []
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            square = run.optimizer.state[parameter]["exp_avg_sq"]
            mean = square.reshape(len(square), -1).mean(1)
            squares.append(mean.view(-1, *[1] * (square.ndim - 1)))
    save(out / "parcel.pt", {"average": halved(average), "squares": squares, **common})


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions in half precision; what is small may be large: variances reach millions."""
    return {name: value.half() if value.ndim > 1 else value for name, value in weights.items()}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--train", type=Path, help="folder of real pictures (index.jsonl)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="folder of photos for the contact sheet")
    parser.add_argument(
        "--start",
        type=Path,
        help="weights that a new run begins with, of this network or a shallower one",
    )
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--stop", type=int, help="stop at this step, to go on later")
    parser.add_argument("--every", type=int, default=500, help="steps between validations")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--area", type=int, default=192 * 256, help="pixels of a crop")
    parser.add_argument("--validation", type=int, default=256, help="samples kept for it")
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument(
        "--compile", action="store_true", help="minutes to begin with, then 1.7 times faster"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def schedule(step: int, steps: int) -> float:
    """Up over the first 2 %, then down along a cosine."""
    warm = max(1, min(1000, steps // 50))
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm)) + 1e-3


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the network's."""
    for mine, own in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.lerp_(own, 1 - keep)
        else:
            mine.copy_(own)


@torch.no_grad()
def validate(
    net: nn.Module, pool: Path, train: Path | None, config: BatchConfig, device: torch.device
) -> dict[str, float]:
    """Mean relative disparity error on samples and real pictures that training never sees."""
    net.eval()
    opened = open_pool(pool)
    kept = np.flatnonzero(opened.done[: config.validation])
    groups = {"val_pool": [from_pool(opened, int(index)) for index in kept]}
    if train:
        groups["val_real"] = [from_real(p) for p in read_folder(train).depth if p.held_out]
    found = {}
    for name, samples in groups.items():
        errors = []
        for k in range(0, len(samples), 16):
            random = np.random.default_rng(k)
            batch = stack([crop(random, sample, (192, 256)) for sample in samples[k : k + 16]])
            batch = {key: values.to(device) for key, values in batch.items()}
            outputs = net(batch["photo"])
            aligned, _ = match(outputs[:, 0], batch["disparity"], batch["known_disparity"])
            errors += relative_error(aligned, batch["disparity"], batch["known_disparity"])
        found[name] = float(np.mean(errors))
    return found


def relative_error(aligned: Tensor, target: Tensor, known: Tensor) -> list[float]:
    """Of each picture that knows any disparity."""
    floor = 0.2 * (target * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    error = (aligned - target).abs() / (target + floor[:, None, None])
    mean = (error * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return mean[known.flatten(1).any(1)].tolist()


@torch.no_grad()
def contact_sheet(net: nn.Module, photos: Path, device: torch.device) -> Array:
    """Photo, disparity, normals, people and edges of every photo in a folder, row by row."""
    net.eval()
    rows = []
    for path in sorted(photos.iterdir()):
        picture = cv2.imread(str(path))
        if picture is None:
            continue
        picture = cv2.resize(picture, (256, 192), interpolation=cv2.INTER_AREA)[..., ::-1]
        photo = torch.from_numpy(np.ascontiguousarray(picture)).to(device)
        out = net(photo.permute(2, 0, 1)[None].float() / 255)[0].float().cpu().numpy()
        low, high = np.percentile(out[0], [1, 99])
        normal = out[1:4] / np.maximum(np.linalg.norm(out[1:4], axis=0), 1e-6)
        grey = [np.clip((out[0] - low) / max(high - low, 1e-6), 0, 1)]
        grey += [1 / (1 + np.exp(-out[k])) for k in (4, 5)]
        panels = [np.repeat(g[..., None], 3, -1) for g in grey]
        panels.insert(1, 0.5 - 0.5 * normal.transpose(1, 2, 0))
        rows.append(
            np.concatenate([picture, *(np.rint(255 * p).astype(np.uint8) for p in panels)], 1)
        )
    return np.concatenate(rows)


def log(path: Path, row: dict[str, float]) -> None:
    """Append to the table."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def save(path: Path, state: Mapping[str, object]) -> None:
    """Write beside, then rename."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


if __name__ == "__main__":
    main()
