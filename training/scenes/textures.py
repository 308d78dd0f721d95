"""Textures: what surfaces in a world are painted with.

Some hundred square tiles of a few families, made by spectral noise and simple patterns, and crops
of photos. Each has its mip levels, so that far surfaces do not flicker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diorama.arrays import Array

SIDE = 256
"""Pixels of a tile's first level."""

LEVELS = 9
"""Mip levels, down to one pixel."""


@dataclass(frozen=True)
class Textures:
    """All tiles with all their levels."""

    pixels: Array
    """(N, P, 4) uint8: level after level, each row by row."""
    families: dict[str, Array]
    """Which tiles belong to a family, by name."""

    def pick(self, random: np.random.Generator, *families: str) -> int:
        """One tile of any of these families."""
        return int(random.choice(np.concatenate([self.families[name] for name in families])))


def make_textures(seed: int, photos: Sequence[Array] = ()) -> Textures:
    """Make every family's tiles, and one of each photo's crops.

    Args:
        seed: of what is random.
        photos: (H, W, 3) uint8 of any size from 64 up; the family "photo".
    """
    random = np.random.default_rng(seed)
    tiles: list[Array] = []
    families: dict[str, list[int]] = {}
    for name, (make, count) in FAMILIES.items():
        for _ in range(count):
            families.setdefault(name, []).append(len(tiles))
            tiles.append(make(random))
    for photo in photos:
        families.setdefault("photo", []).append(len(tiles))
        tiles.append(opaque(crop(random, photo)))
    families.setdefault("photo", families["plain"])
    return Textures(
        np.stack([with_levels(tile) for tile in tiles]),
        {name: np.array(members) for name, members in families.items()},
    )


def with_levels(tile: Array) -> Array:
    """(P, 4) uint8 of a (SIDE, SIDE, 4) float tile in 0..1."""
    levels, level = [], np.clip(tile, 0, 1).astype(np.float32)
    for _ in range(LEVELS):
        levels.append(np.rint(level * 255).astype(np.uint8).reshape(-1, 4))
        level = (
            level.reshape(len(level) // 2, 2, -1, 2, 4).mean((1, 3)) if len(level) > 1 else level
        )
    return np.concatenate(levels)


def opaque(rgb: Array) -> Array:
    """(SIDE, SIDE, 4) of (SIDE, SIDE, 3)."""
    return np.concatenate([rgb, np.ones_like(rgb[..., :1])], -1)


def crop(random: np.random.Generator, photo: Array) -> Array:
    """A random square of a photo, mirrored so that it tiles."""
    height, width = photo.shape[:2]
    side = int(min(height, width) * random.uniform(0.3, 1.0))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    half = SIDE // 2
    part = cv2.resize(photo[top : top + side, left : left + side], (half, half), interpolation=3)
    part = part.astype(np.float32) / 255
    part = np.concatenate([part, part[:, ::-1]], 1)
    return np.concatenate([part, part[::-1]], 0)


def noise(random: np.random.Generator, slope: float, *, stretch: float = 1.0) -> Array:
    """(SIDE, SIDE) in 0..1 that tiles: amplitude falls with frequency to the power of `slope`.

    `stretch` above 1 draws it out along x.
    """
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE) * SIDE, np.fft.rfftfreq(SIDE) * SIDE, indexing="ij")
    frequency = np.sqrt((fx * stretch) ** 2 + (fy / stretch) ** 2)
    amplitude = np.where(frequency > 0, np.maximum(frequency, 1) ** -slope, 0)
    phase = np.exp(2j * np.pi * random.random(frequency.shape))
    values = np.fft.irfft2(amplitude * phase, (SIDE, SIDE))
    values = values / values.std()
    return np.clip(0.5 + 0.22 * values, 0, 1).astype(np.float32)


def ramp(values: Array, *colours: Array) -> Array:
    """Colour (..., 3) of values in 0..1 along evenly spaced colours."""
    stops = np.linspace(0, 1, len(colours))
    table = np.stack(colours)
    return np.stack([np.interp(values, stops, table[:, k]) for k in range(3)], -1).astype(
        np.float32
    )


def colour(
    random: np.random.Generator,
    hue: tuple[float, float] = (0, 1),
    saturation: tuple[float, float] = (0, 0.8),
    value: tuple[float, float] = (0.15, 0.95),
) -> Array:
    """A random colour (3,) within these ranges of hue, saturation and value, all in 0..1."""
    h = random.uniform(*hue) % 1.0 * 6
    s, v = random.uniform(*saturation), random.uniform(*value)
    rgb = np.clip(np.abs((h + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return (v * (1 - s * (1 - rgb))).astype(np.float32)


def common(random: np.random.Generator, value: tuple[float, float] = (0.15, 0.95)) -> Array:
    """A colour as most surfaces have: greys, browns and muted tones, now and then a strong one."""
    draw = random.random()
    if draw < 0.45:
        return colour(random, (0.04, 0.14), (0.0, 0.35), value)
    if draw < 0.85:
        return colour(random, saturation=(0.0, 0.3), value=value)
    return colour(random, saturation=(0.3, 0.9), value=value)


def cells(rows: int, columns: int, *, gap: float, shift: float) -> tuple[Array, Array, Array]:
    """A wall of blocks: row and column (SIDE, SIDE) of each pixel's block, and 1 inside, 0 between.

    Every second row is moved by `shift` of a block; `gap` is the joint's share of a block's height.
    """
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    row = np.floor(y * rows)
    along = (x * columns + shift * (row % 2)) % columns
    edge = np.minimum(
        np.minimum(y * rows - row, row + 1 - y * rows) / rows,
        np.minimum(along % 1, 1 - along % 1) / columns,
    )
    inside = np.clip((edge * rows - gap / 2) * 12 + 0.5, 0, 1)
    return row.astype(int), np.floor(along).astype(int), inside.astype(np.float32)


def plain(random: np.random.Generator) -> Array:
    """Paint or plaster: hardly any texture."""
    values = noise(random, random.uniform(0.6, 1.6))
    tone = common(random)
    return opaque(
        np.clip(tone * (1 + random.uniform(0.02, 0.15) * (values[..., None] - 0.5)), 0, 1)
    )


def mottled(random: np.random.Generator) -> Array:
    """Stone, soil, asphalt, carpet: noise between two or three near colours."""
    first = common(random, (0.15, 0.8))
    second = np.clip(first * random.uniform(0.5, 1.6), 0, 1)
    third = np.clip(first + random.normal(0, 0.05, 3), 0, 1)
    return opaque(ramp(noise(random, random.uniform(0.4, 1.7)), first, second, third))


def wood(random: np.random.Generator) -> Array:
    """Grain along x, often in planks."""
    dark = colour(random, (0.03, 0.1), (0.25, 0.7), (0.15, 0.6))
    light = np.clip(dark * random.uniform(1.2, 2.0), 0, 1)
    grain = noise(random, 1.2, stretch=random.uniform(3, 7))
    rgb = ramp(
        (grain * random.uniform(1, 4)) % 1 * 0.5 + 0.5 * noise(random, 1.0, stretch=6), dark, light
    )
    if random.random() < 0.6:
        rows = int(random.integers(2, 9))
        row, column, inside = cells(rows, int(random.integers(1, 3)), gap=0.04, shift=0.5)
        shade = random.uniform(0.75, 1.15, (rows, 4))
        rgb = rgb * (shade[row, column % 4] * (0.5 + 0.5 * inside))[..., None]
    return opaque(rgb)


def bricks(random: np.random.Generator) -> Array:
    """Bricks, tiles, paving: blocks with joints."""
    rows = int(random.integers(2, 13)) * 2 if random.random() < 0.6 else int(random.integers(1, 9))
    columns = max(1, round(rows * random.choice([0.25, 0.5, 1.0])))
    staggered = rows % 2 == 0 and random.random() < 0.7
    row, column, inside = cells(
        rows, columns, gap=random.uniform(0.02, 0.15), shift=0.5 if staggered else 0.0
    )
    tone = colour(random, (0, 0.15), (0, 0.6), (0.25, 0.9))
    tones = np.clip(tone * random.normal(1, random.uniform(0.02, 0.15), (rows, columns, 1)), 0, 1)
    if not staggered and random.random() < 0.2:
        tones[(np.add.outer(np.arange(rows), np.arange(columns)) % 2) == 0] *= 0.3
    joint = colour(random, saturation=(0, 0.15), value=(0.2, 0.9))
    rgb = tones[row, column % columns] * (0.85 + 0.3 * noise(random, 0.8)[..., None])
    return opaque(rgb * inside[..., None] + joint * (1 - inside[..., None]))


def cloth(random: np.random.Generator) -> Array:
    """Fabric: plain weave, stripes, checks or dots."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE * 2 * np.pi
    base, second, third = (common(random, (0.08, 0.95)) for _ in range(3))
    pattern = random.integers(4)
    count = int(random.integers(2, 14))
    if pattern == 0:
        mix = np.zeros((SIDE, SIDE))
    elif pattern == 1:
        mix = (np.sin(count * x + random.uniform(0, 6)) > random.uniform(-0.7, 0.7)) * 1.0
    elif pattern == 2:
        mix = ((np.sin(count * x) > 0.3) * 1.0 + (np.sin(count * y) > 0.3)) / 2
    else:
        mix = (np.sin(count * x) * np.sin(count * y) > random.uniform(0.3, 0.8)) * 1.0
    rgb = ramp(mix, base, third, second) if pattern == 2 else ramp(mix, base, second)
    weave = 1 + 0.12 * np.sin(60 * x) * np.sin(60 * y) + 0.2 * (noise(random, 1.0) - 0.5)
    return opaque(rgb * weave[..., None])


def grass(random: np.random.Generator) -> Array:
    """Short vegetation seen from above."""
    dark = colour(random, (0.16, 0.38), (0.3, 0.7), (0.1, 0.35))
    light = colour(random, (0.14, 0.36), (0.2, 0.7), (0.4, 0.75))
    values = 0.6 * noise(random, 0.3) + 0.4 * noise(random, 1.3)
    return opaque(ramp(np.clip(1.4 * values - 0.2, 0, 1), dark, light))


def printed(random: np.random.Generator) -> Array:
    """Paper, packages, posters, screens: blocks of colour and lines of text."""
    rgb = np.empty((SIDE, SIDE, 3), np.float32)
    rgb[:] = colour(random, value=(0.4, 1.0))
    for _ in range(random.integers(1, 9)):
        size = random.integers(10, SIDE // 2, 2)
        top, left = random.integers(0, SIDE - size)
        shape = random.integers(3)
        tone = tuple(float(c) for c in colour(random))
        if shape == 0:
            cv2.rectangle(rgb, (left, top), (left + size[1], top + size[0]), tone, -1)
        elif shape == 1:
            cv2.circle(rgb, (left, top), int(size[0] / 2), tone, -1, cv2.LINE_AA)
        else:
            for line in range(top, top + size[0], 9):
                end = left + int(size[1] * random.uniform(0.5, 1))
                cv2.line(rgb, (left, line), (end, line), tone, 3)
    if random.random() < 0.7:
        text = "".join(random.choice(list("ABCDEHKMNORSTX0123456789"), random.integers(2, 8)))
        place = (int(random.integers(0, 60)), int(random.integers(60, SIDE - 10)))
        ink = np.zeros((SIDE, SIDE), np.uint8)
        cv2.putText(ink, text, place, 0, random.uniform(1, 3), (255,), 4, cv2.LINE_AA)
        rgb += (colour(random) - rgb) * (ink[..., None] / np.float32(255))
    return opaque(rgb)


def facade(random: np.random.Generator) -> Array:
    """A stretch of a building's front: one or several windows in a wall."""
    wall = bricks(random)[..., :3] if random.random() < 0.4 else plain(random)[..., :3]
    rgb = wall.copy()
    rows, columns = int(random.integers(1, 4)), int(random.integers(1, 4))
    frame = colour(random, saturation=(0, 0.3), value=(0.1, 1.0))
    glass = ramp(
        np.linspace(0, 1, SIDE)[:, None] * np.ones(SIDE),
        colour(random, (0.5, 0.65), (0, 0.5), (0.05, 0.7)),
        colour(random, (0.5, 0.65), (0, 0.5), (0.02, 0.4)),
    )
    share = random.uniform(0.35, 0.85, 2)
    for row in range(rows):
        for column in range(columns):
            h, w = (np.array([SIDE / rows, SIDE / columns]) * share).astype(int)
            top = int((row + 0.5) * SIDE / rows - h / 2)
            left = int((column + 0.5) * SIDE / columns - w / 2)
            rgb[top : top + h, left : left + w] = frame
            border = max(2, int(0.06 * w))
            inner = (slice(top + border, top + h - border), slice(left + border, left + w - border))
            rgb[inner] = glass[inner] * random.uniform(0.6, 1.2)
            rgb[top + border : top + h - border, left + w // 2 - 1 : left + w // 2 + 2] = frame
    return opaque(rgb)


def clouds(random: np.random.Generator) -> Array:
    """Sky: white over transparent, by alpha."""
    values = np.clip((noise(random, 1.5) - random.uniform(0.4, 0.75)) * random.uniform(2, 5), 0, 1)
    rgb = np.ones((SIDE, SIDE, 3), np.float32) * (1 - 0.35 * values[..., None] * random.random())
    return np.concatenate([rgb, values[..., None]], -1)


def leaves(random: np.random.Generator) -> Array:
    """A spray of leaves on nothing."""
    rgba = np.zeros((SIDE, SIDE, 4), np.float32)
    base = colour(random, (0.1, 0.38), (0.3, 0.8), (0.2, 0.6))
    long, broad = random.uniform(8, 34), random.uniform(0.2, 0.6)
    rgba[..., :3] = base
    for _ in range(int(random.integers(40, 220))):
        centre = tuple(int(v) for v in random.normal(SIDE / 2, SIDE / 5.5, 2))
        tone = np.clip(base * random.uniform(0.5, 1.5) + random.normal(0, 0.03, 3), 0, 1)
        axes = (int(long), max(1, int(long * broad)))
        angle = random.uniform(0, 360)
        cv2.ellipse(rgba, centre, axes, angle, 0, 360, (*map(float, tone), 1.0), -1)
    return rgba


def blades(random: np.random.Generator) -> Array:
    """Blades of grass or reed that stand on the tile's lower edge."""
    rgba = np.zeros((SIDE, SIDE, 4), np.float32)
    base = colour(random, (0.1, 0.36), (0.25, 0.7), (0.25, 0.6))
    rgba[..., :3] = base
    for _ in range(int(random.integers(15, 70))):
        foot, lean = random.uniform(0, SIDE), random.normal(0, 40)
        tall = random.uniform(0.3, 1) * SIDE
        t = np.linspace(0, 1, 8)
        points = np.stack([foot + lean * t**2, SIDE - tall * t], -1).astype(np.int32)
        tone = np.clip(base * random.uniform(0.6, 1.5), 0, 1)
        thick = int(random.integers(2, 7))
        cv2.polylines(rgba, [points], False, (*map(float, tone), 1.0), thick)
    return rgba


def mesh_wire(random: np.random.Generator) -> Array:
    """A fence, railing or grille."""
    rgba = np.zeros((SIDE, SIDE, 4), np.float32)
    tone = colour(random, saturation=(0, 0.5))
    rgba[..., :3] = tone
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    count, share = int(random.integers(3, 14)), random.uniform(0.1, 0.4)
    kind = random.integers(3)
    if kind == 0:
        solid = (x * count) % 1 < share
        solid |= ((y * 2) % 1) < 0.06
    elif kind == 1:
        solid = ((x * count) % 1 < share) | ((y * count) % 1 < share)
    else:
        solid = (((x + y) * count) % 1 < share) | (((x - y) * count) % 1 < share)
    rgba[..., 3] = solid
    return rgba


def hair(random: np.random.Generator) -> Array:
    """Strands that thin out downwards."""
    rgba = np.zeros((SIDE, SIDE, 4), np.float32)
    base = colour(random, (0.02, 0.12), (0.1, 0.7), (0.05, 0.7))
    rgba[..., :3] = base
    for _ in range(int(random.integers(120, 320))):
        root = random.uniform(0, SIDE)
        t = np.linspace(0, random.uniform(0.5, 1), 10)
        bend = root + random.normal(0, 14) * t + random.normal(0, 5) * np.sin(6 * t)
        points = np.stack([bend, t * SIDE], -1).astype(np.int32)
        tone = np.clip(base * random.uniform(0.6, 1.6), 0, 1)
        cv2.polylines(rgba, [points], False, (*map(float, tone), 1.0), int(random.integers(1, 4)))
    return rgba


FAMILIES: dict[str, tuple[Callable[[np.random.Generator], Array], int]] = {
    "plain": (plain, 12),
    "mottled": (mottled, 20),
    "wood": (wood, 16),
    "bricks": (bricks, 18),
    "cloth": (cloth, 20),
    "grass": (grass, 8),
    "printed": (printed, 30),
    "facade": (facade, 20),
    "clouds": (clouds, 10),
    "leaves": (leaves, 14),
    "blades": (blades, 6),
    "wire": (mesh_wire, 8),
    "hair": (hair, 8),
}
"""How each family's tiles are made, and how many."""
