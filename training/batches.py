"""Batches: crops of the pool's samples and of real pictures, recoloured, one put before another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from diorama.arrays import Array
from training.pool import Pool, open_pool
from training.real import RealDepth, read_folder
from training.scenes.sample import DISPARITY, EDGE_RATIO, EDGES, NORMAL, PERSON

EVERYTHING = DISPARITY | NORMAL | PERSON | EDGES


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class BatchConfig:
    """How batches are made."""

    size: int = 16
    area: int = 192 * 256
    """Pixels of a crop; its sides are multiples of 32."""
    real: float = 0.2
    """Share of measured pictures."""
    overlaid: float = 0.4
    """Share of crops before which stands what is near in a drawn one."""
    validation: int = 256
    """Samples at the pool's beginning that training never sees."""


class Batches(IterableDataset[dict[str, Tensor]]):
    """Endless batches; the same ones for the same seed, step by step."""

    def __init__(
        self,
        pool: Path,
        train: Path | None,
        config: BatchConfig,
        *,
        seed: int,
        first: int,
        last: int,
    ) -> None:
        self.pool, self.train, self.config = pool, train, config
        self.seed, self.first, self.last = seed, first, last

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of steps `first` to `last`."""
        cv2.setNumThreads(1)
        info = get_worker_info()
        part, parts = (info.id, info.num_workers) if info else (0, 1)
        pool = open_pool(self.pool)
        usable = np.flatnonzero(pool.done)
        usable = usable[usable >= self.config.validation]
        depth = read_folder(self.train).depth if self.train else []
        real = [picture for picture in depth if not picture.held_out]
        for step in range(self.first + part, self.last, parts):
            random = np.random.default_rng([self.seed, step])
            shape = _shape(random, self.config.area)
            samples = []
            for _ in range(self.config.size):
                if real and random.random() < self.config.real:
                    source = from_real(real[int(random.integers(len(real)))])
                else:
                    source = from_pool(pool, int(random.choice(usable)))
                sample = crop(random, source, shape)
                if random.random() < self.config.overlaid:
                    front = from_pool(pool, int(random.choice(usable)))
                    sample = overlay(random, sample, recolour(random, crop(random, front, shape)))
                samples.append(recolour(random, sample))
            yield stack(samples)


def _shape(random: np.random.Generator, area: int) -> tuple[int, int]:
    """Rows and columns: mostly 4 to 3, or 3 to 4, or 16 to 9."""
    ratio = random.choice([4 / 3, 4 / 3, 3 / 4, 16 / 9])
    rows = max(64, round((area / ratio) ** 0.5 / 32) * 32)
    return rows, max(64, round(area / rows / 32) * 32)


def from_pool(pool: Pool, index: int) -> dict[str, Array]:
    """A sample as float32 arrays."""
    arrays = {name: np.array(values[index]) for name, values in pool.arrays.items()}
    return {
        "photo": arrays["photo"],
        "disparity": arrays["disparity"][..., 0].astype(np.float32),
        "normal": arrays["normal"].astype(np.float32) / 127,
        "person": arrays["person"][..., 0].astype(np.float32) / 255,
        "edges": arrays["edges"][..., 0].astype(np.float32),
        "known": arrays["known"][..., 0],
    }


def from_real(picture: RealDepth) -> dict[str, Array]:
    """A measured picture as a sample that knows disparity only."""
    known = np.isfinite(picture.disparity)
    shape = known.shape
    return {
        "photo": picture.photo,
        "disparity": np.where(known, picture.disparity, 0).astype(np.float32),
        "normal": np.zeros((*shape, 3), np.float32),
        "person": np.zeros(shape, np.float32),
        "edges": np.zeros(shape, np.float32),
        "known": np.where(known, np.uint8(DISPARITY), np.uint8(0)),
    }


def crop(
    random: np.random.Generator, sample: dict[str, Array], shape: tuple[int, int]
) -> dict[str, Array]:
    """A crop of this shape, perhaps mirrored; its photo in 0..1."""
    height, width = sample["photo"].shape[:2]
    rows, columns = shape
    largest = min(height / rows, width / columns)
    scale = largest * random.uniform(0.6, 1.0)
    h, w = int(rows * scale), int(columns * scale)
    top, left = int(random.integers(0, height - h + 1)), int(random.integers(0, width - w + 1))
    out = {}
    for name, values in sample.items():
        exact = name in ("disparity", "normal", "known")
        how = cv2.INTER_NEAREST if exact else (cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR)
        part = np.ascontiguousarray(values[top : top + h, left : left + w])
        out[name] = cv2.resize(part, (columns, rows), interpolation=how)
    if random.random() < 0.5:
        out = {name: np.ascontiguousarray(values[:, ::-1]) for name, values in out.items()}
        out["normal"][..., 0] *= -1
    out["photo"] = out["photo"].astype(np.float32) / 255
    return out


def overlay(
    random: np.random.Generator, back: dict[str, Array], front: dict[str, Array]
) -> dict[str, Array]:
    """`back` with what is near in `front` before it, at a depth that lets it be there.

    Else what stands before a person, or is cut off by nothing but the frame, is hardly ever seen.
    It is cut out at the disparity where the cut runs along occlusion edges most.
    """
    if (front["known"] & EVERYTHING != EVERYTHING).any():
        return back
    best, solid = 0.3, None
    for share in random.permutation(np.linspace(0.3, 0.9, 7)):
        near = front["disparity"] > np.quantile(front["disparity"], share)
        outline = cv2.morphologyEx(near.astype(np.uint8), cv2.MORPH_GRADIENT, _CROSS) > 0
        along = front["edges"][outline].mean() if outline.any() else 0
        if along > best:
            best, solid = along, near
    if solid is None:
        return back
    # The outermost pixels have seen what was behind.
    solid = cv2.erode(solid.astype(np.uint8), _CROSS) > 0
    known = (back["known"] & DISPARITY) > 0
    nearest = np.quantile(front["disparity"][solid], 0.02) if solid.any() else 0
    if nearest <= 0:
        return back
    behind = back["disparity"][known & solid]
    limit = np.quantile(behind, 0.95) * random.uniform(1.0, 1.6) if behind.size else nearest
    disparity = front["disparity"] * max(float(limit / nearest), 1e-3)
    solid &= ~known | (disparity > back["disparity"])
    alpha = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), random.uniform(0.3, 0.8))
    alpha = np.clip(alpha, 0, 1)  # it sums to a little over 1, and no photo may be below 0
    out = {}
    for name, values in back.items():
        over = disparity if name == "disparity" else front[name]
        soft = name in ("photo", "person")
        share = alpha if soft else solid
        share = share[..., None] if values.ndim == 3 else share
        out[name] = (1 - share) * values + share * over if soft else np.where(share, over, values)
    # Where the cut is a step, both its sides are an edge; where it touches what is there, neither.
    outline = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_GRADIENT, _CROSS) > 0
    d = out["disparity"]
    step = cv2.dilate(d, _CROSS) > EDGE_RATIO * cv2.erode(d, _CROSS)
    out["edges"] = np.where(outline, step, out["edges"]).astype(np.float32)
    out["known"] = np.where(outline & ~known, out["known"] & ~np.uint8(EDGES), out["known"])
    return out


def recolour(random: np.random.Generator, sample: dict[str, Array]) -> dict[str, Array]:
    """The sample with other colours, light and sharpness."""
    photo = sample["photo"] ** random.uniform(0.7, 1.4)
    photo *= random.uniform(0.85, 1.15, 3).astype(np.float32)
    photo *= lighting(random, sample["disparity"], (sample["known"] & DISPARITY) > 0)[..., None]
    if random.random() < 0.15:
        photo = cv2.GaussianBlur(photo, (0, 0), random.uniform(0.4, 1.5))
    if random.random() < 0.3:
        photo += random.normal(0, random.uniform(0, 0.05), photo.shape).astype(np.float32)
    if random.random() < 0.08:
        photo = np.repeat(photo.mean(-1, keepdims=True), 3, -1)
    return {**sample, "photo": np.clip(photo, 0, 1)}


def lighting(random: np.random.Generator, disparity: Array, known: Array) -> Array:
    """(H, W) factors: light that falls unevenly, or from a flash, or from behind.

    In drawn worlds what is far is bright more often than not, which a network learns too well.
    """
    rows, columns = disparity.shape
    light = np.zeros((rows, columns), np.float32)
    if random.random() < 0.5:
        coarse = random.normal(0, 0.35, (4, 4)).astype(np.float32)
        light += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    if random.random() < 0.35 and known.all():
        near = np.log(disparity + 0.1 * disparity.mean() + 1e-6)
        near = (near - near.mean()) / (near.std() + 1e-6)
        light += np.float32(random.uniform(-0.25, 0.6)) * np.clip(near, -2, 2)
    return np.exp(light - light.mean())


def stack(samples: list[dict[str, Array]]) -> dict[str, Tensor]:
    """Samples as one batch, channels first, with a mask for each truth."""

    def field(name: str) -> Tensor:
        return torch.from_numpy(np.stack([sample[name] for sample in samples]))

    known = field("known")
    return {
        "photo": field("photo").permute(0, 3, 1, 2).contiguous(),
        "disparity": field("disparity"),
        "normal": field("normal").permute(0, 3, 1, 2).contiguous(),
        "person": field("person"),
        "edges": field("edges"),
        "known_disparity": (known & DISPARITY) > 0,
        "known_normal": ((known & NORMAL) > 0) & (field("normal").abs().sum(-1) > 0.5),
        "known_person": (known & PERSON) > 0,
        "known_edges": (known & EDGES) > 0,
    }
