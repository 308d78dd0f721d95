"""Things that stand about: furniture, vessels, plants, cars, rocks; each put at a place, turned.

Every function takes a `Builder` and builds in its axes, standing on the origin; many return the
height of what they made, so that other things can be put on top.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from diorama.arrays import Array
from training.scenes import meshes
from training.scenes.meshes import Mesh, transform
from training.scenes.textures import Textures, colour, common
from training.scenes.world import Material, World


@dataclass(frozen=True)
class Builder:
    """What every builder needs."""

    world: World
    textures: Textures
    random: np.random.Generator
    instance: int | None = None
    """The object under construction; None makes every mesh one of its own."""
    place: Array = field(default_factory=transform)
    """(3, 4): where the object's own axes are."""

    def at(self, position: Array | tuple[float, float, float], yaw: float = 0.0) -> "Builder":
        """A builder of one object that stands there."""
        return Builder(
            self.world,
            self.textures,
            self.random,
            self.world.new_instance(),
            transform(np.asarray(position, float), yaw=yaw),
        )

    def put(self, mesh: Mesh, material: Material, matrix: Array | None = None) -> None:
        """Add a mesh in the object's axes."""
        place = self.place if matrix is None else meshes.combined(self.place, matrix)
        self.world.add(mesh, material, place, self.instance)

    def paint(
        self,
        *families: str,
        tile: tuple[float, float] = (0.3, 1.5),
        shine: float = 0.4,
        tint: Array | None = None,
    ) -> Material:
        """A random material of these families."""
        random = self.random
        shiny = random.random() < shine
        own = random.random() < 0.4
        return Material(
            self.textures.pick(random, *families),
            tuple(common(random, (0.3, 1.0)) if own else np.ones(3))
            if tint is None
            else tuple(tint),
            random.uniform(*tile),
            random.uniform(0.3, 1.0) if own else 1.0,
            random.uniform(0.1, 1.0) if shiny else 0.0,
            10 ** random.uniform(0.7, 2.3),
        )

    def size(self, low: float, high: float) -> float:
        """A random length."""
        return float(self.random.uniform(low, high))


def table(b: Builder, *, wide: float = 0, deep: float = 0, tall: float = 0) -> float:
    """A table or desk; sizes in metres, 0 for random."""
    wide, deep = wide or b.size(0.6, 2.2), deep or b.size(0.5, 1.1)
    tall = tall or b.size(0.4, 0.8)
    top = b.paint("wood", "plain", "mottled", "cloth")
    legs = top if b.random.random() < 0.6 else b.paint("plain", "wood")
    thick = b.size(0.015, 0.06)
    if b.random.random() < 0.15:
        round_top = transform((0, 0, tall - thick), scale=(wide / 2, deep / 2, thick))
        b.put(meshes.cylinder(28), top, round_top)
        b.put(meshes.cylinder(), legs, transform(scale=(0.05, 0.05, tall - thick)))
        b.put(meshes.cylinder(), legs, transform(scale=(0.25, 0.25, 0.03)))
        return tall
    b.put(meshes.box(wide, deep, thick), top, transform((0, 0, tall - thick)))
    leg = b.size(0.02, 0.08)
    for x in (-1, 1):
        for y in (-1, 1):
            where = (x * (wide / 2 - leg), y * (deep / 2 - leg), 0)
            b.put(meshes.box(leg, leg, tall - thick), legs, transform(where))
    if b.random.random() < 0.3:
        drawer = meshes.box(0.4 * wide, 0.95 * deep, 0.8 * tall)
        b.put(drawer, legs, transform((0.28 * wide, 0, 0.15 * tall)))
    return tall


def chair(b: Builder) -> float:
    """A chair with four legs or one, its back at +y."""
    seat, wide = b.size(0.38, 0.5), b.size(0.38, 0.52)
    frame, cover = b.paint("wood", "plain"), b.paint("cloth", "wood", "plain")
    b.put(meshes.box(wide, wide, b.size(0.03, 0.1)), cover, transform((0, 0, seat)))
    if b.random.random() < 0.3:
        b.put(meshes.cylinder(), frame, transform(scale=(0.03, 0.03, seat)))
        for k in range(5):
            yaw = k * 2 * math.pi / 5
            tip = np.array([0.3 * math.cos(yaw), 0.3 * math.sin(yaw), 0.05])
            b.put(
                meshes.cylinder(6), frame, meshes.towards(np.array([0, 0, 0.08]), tip, radius=0.02)
            )
    else:
        leg = b.size(0.02, 0.05)
        for x in (-1, 1):
            for y in (-1, 1):
                foot = np.array([x * wide * 0.48, y * wide * 0.48, 0])
                top = np.array([x * wide * 0.42, y * wide * 0.42, seat])
                b.put(meshes.cylinder(6), frame, meshes.towards(foot, top, radius=leg / 2))
    back = b.size(0.3, 0.6)
    if b.random.random() < 0.5:
        for k in range(int(b.random.integers(2, 7))):
            x = (k / 6 - 0.5) * wide
            b.put(meshes.box(0.03, 0.03, back), frame, transform((x, wide / 2, seat)))
        b.put(meshes.box(wide, 0.04, 0.08), frame, transform((0, wide / 2, seat + back)))
    else:
        tilt = transform((0, wide / 2, seat + 0.05), pitch=-b.size(0, 0.25))
        b.put(meshes.box(wide, b.size(0.02, 0.1), back), cover, tilt)
    return seat


def sofa(b: Builder) -> float:
    """A sofa or armchair, its back at +y."""
    wide, deep, seat = b.size(0.8, 2.4), b.size(0.75, 1.0), b.size(0.35, 0.5)
    cover = b.paint("cloth", "plain", tile=(0.2, 0.8), shine=0.15)
    b.put(meshes.box(wide, deep, seat), cover)
    b.put(meshes.box(wide, 0.22, b.size(0.3, 0.5)), cover, transform((0, deep / 2 - 0.11, seat)))
    for x in (-1, 1):
        b.put(meshes.box(0.18, deep, 0.2), cover, transform((x * (wide / 2 - 0.09), 0, seat)))
    for _ in range(int(b.random.integers(0, 5))):
        where = (b.size(-0.4, 0.4) * wide, deep / 2 - 0.33, seat + 0.2)
        scale = (0.22, 0.09, 0.2)
        lean = transform(where, yaw=b.size(-0.4, 0.4), pitch=-0.3, scale=scale)
        b.put(rounded(0.5), b.paint("cloth", "plain"), lean)
    return seat


def bed(b: Builder) -> float:
    """A bed, its head at +y."""
    wide, tall = b.size(0.9, 2.0), b.size(0.35, 0.6)
    b.put(meshes.box(wide, 2.05, 0.6 * tall), b.paint("wood", "plain"))
    cover = b.paint("cloth", "plain", tile=(0.3, 1.2), shine=0)
    b.put(rounded(0.15), cover, transform((0, 0, 0.75 * tall), scale=(wide / 2, 1.0, 0.28 * tall)))
    b.put(meshes.box(wide, 0.06, b.size(0.7, 1.2)), b.paint("wood"), transform((0, 1.05, 0)))
    for x in (-0.22, 0.22):
        pillow = transform((x * wide, 0.75, tall + 0.05), scale=(0.2 * wide, 0.2, 0.09))
        b.put(rounded(0.6), b.paint("cloth", "plain", shine=0), pillow)
    return tall


def shelf(b: Builder) -> float:
    """A bookcase with books and boxes, open at -y."""
    wide, tall, deep = b.size(0.5, 1.6), b.size(0.8, 2.2), b.size(0.22, 0.4)
    wood = b.paint("wood", "plain")
    side = 0.025
    b.put(meshes.box(wide, side, tall), wood, transform((0, deep / 2, 0)))
    for x in (-1, 1):
        b.put(meshes.box(side, deep, tall), wood, transform((x * wide / 2, 0, 0)))
    floors = int(b.random.integers(2, 7))
    for k in range(floors + 1):
        z = k * (tall - side) / floors
        b.put(meshes.box(wide, deep, side), wood, transform((0, 0, z)))
        room = (tall - side) / floors - side
        if k == floors:
            break
        x = -wide / 2 + 0.03
        while x < wide / 2 - 0.08 and b.random.random() < 0.94:
            thick, high = b.size(0.012, 0.06), min(b.size(0.15, 0.33), 0.95 * room)
            if b.random.random() < 0.12:
                x += b.size(0.05, 0.3)
                continue
            book = meshes.box(thick, 0.7 * deep, high)
            where = (x + thick / 2, b.size(-0.04, 0.02), z + side)
            b.put(book, b.paint("plain", "printed", "cloth", tile=(0.2, 0.4)), transform(where))
            x += thick + 0.002
    return tall


def cabinet(b: Builder) -> float:
    """A cupboard, fridge, chest of drawers or machine: a box with seams and handles."""
    wide, deep, tall = b.size(0.4, 1.6), b.size(0.35, 0.7), b.size(0.5, 2.1)
    body = b.paint("wood", "plain", "mottled")
    b.put(meshes.box(wide, deep, tall), body)
    rows, columns = int(b.random.integers(1, 5)), int(b.random.integers(1, 4))
    front = b.paint("wood", "plain") if b.random.random() < 0.4 else body
    handle = b.paint("plain", shine=1.0)
    for row in range(rows):
        for column in range(columns):
            w, h = wide / columns, tall / rows
            x, z = (column + 0.5) * w - wide / 2, row * h
            door = meshes.box(w - 0.015, 0.02, h - 0.015)
            b.put(door, front, transform((x, -deep / 2 - 0.01, z + 0.0075)))
            b.put(
                meshes.box(0.12, 0.02, 0.015), handle, transform((x, -deep / 2 - 0.03, z + 0.8 * h))
            )
    return tall


def lamp(b: Builder) -> float:
    """A lamp on a stand."""
    tall = b.size(0.3, 1.7)
    metal = b.paint("plain", shine=1.0)
    b.put(meshes.cylinder(), metal, transform(scale=(0.12, 0.12, 0.02)))
    b.put(meshes.cylinder(6), metal, transform(scale=(0.012, 0.012, tall)))
    glow = Material(
        b.textures.pick(b.random, "plain"), (1.0, 0.9, 0.75), 1.0, 0.2, emission=b.size(0, 3)
    )
    wide = b.size(0.1, 0.25)
    top = transform((0, 0, tall - 0.05), scale=(wide, wide, wide * b.size(0.7, 1.4)))
    b.put(meshes.cylinder(20, 0.7), glow, top)
    return tall


def screen(b: Builder) -> float:
    """A television or monitor that shows something, facing -y."""
    wide = b.size(0.4, 1.3)
    tall = 0.58 * wide
    case = b.paint("plain", tint=np.full(3, b.size(0.05, 0.3)), shine=1.0)
    b.put(meshes.box(0.3 * wide, 0.2, 0.02), case)
    b.put(meshes.box(0.05, 0.04, 0.15), case)
    b.put(meshes.box(wide, 0.04, tall), case, transform((0, 0, 0.12)))
    on = Material(b.textures.pick(b.random, "photo", "printed"), tile=tall, emission=b.size(0, 1.2))
    image = meshes.quad((-1, 0, 0), (1, 0, 0), (1, 0, 1), (-1, 0, 1))
    where = transform((0, -0.022, 0.14), scale=(0.47 * wide, 1, tall - 0.04))
    b.put(image, on, where)
    return 0.12 + tall


@cache
def rounded(softness: float) -> Mesh:
    """A cube of +-1 with round edges; 1 is a ball."""

    def distance(p: Array) -> Array:
        q = np.abs(p) - (0.98 - softness)
        outside = np.linalg.norm(np.maximum(q, 0), axis=-1)
        return outside + np.minimum(q.max(-1), 0) - softness

    return meshes.from_sdf(distance, reach=1.05, cells=18)


@cache
def blob(seed: int) -> Mesh:
    """Some balls, rods, rings and boxes melted together, about 1 in radius."""
    random = np.random.default_rng(seed)
    parts: list[Callable[[Array], Array]] = []
    for _ in range(int(random.integers(1, 5))):
        centre = random.uniform(-0.45, 0.45, 3)
        turn, _ = np.linalg.qr(random.standard_normal((3, 3)))
        size = random.uniform(0.12, 0.45, 3)
        kind = int(random.integers(4))

        def part(
            p: Array, c: Array = centre, r: Array = turn, s: Array = size, k: int = kind
        ) -> Array:
            q = (p - c) @ r
            if k == 0:
                return np.linalg.norm(q, axis=-1) - s[0]
            if k == 1:
                away = np.abs(q) - s + 0.05
                return (
                    np.linalg.norm(np.maximum(away, 0), axis=-1)
                    + np.minimum(away.max(-1), 0)
                    - 0.05
                )
            if k == 2:
                ring = np.hypot(q[..., 0], q[..., 1]) - s[0]
                return np.hypot(ring, q[..., 2]) - 0.4 * s[1]
            end = np.clip(q[..., 2], -s[0], s[0])
            return np.sqrt(q[..., 0] ** 2 + q[..., 1] ** 2 + (q[..., 2] - end) ** 2) - 0.5 * s[1]

        parts.append(part)
    melt = random.uniform(0.02, 0.25)

    def distance(p: Array) -> Array:
        values = np.stack([part(p) for part in parts])
        low = values.min(0)
        return low - melt * np.log(np.exp((low - values) / melt).sum(0))

    return meshes.from_sdf(distance, reach=1.3, cells=26)


@cache
def rock(seed: int) -> Mesh:
    """A lump with planes and bumps, about 1 in radius."""
    random = np.random.default_rng(seed)
    normals = random.standard_normal((9, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    offsets = random.uniform(0.5, 0.95, 9)
    waves, phases = random.normal(0, 4, (4, 3)), random.uniform(0, 6, 4)

    def distance(p: Array) -> Array:
        bumps = np.sin(p @ waves.T + phases).sum(-1) * 0.04
        return np.maximum(np.linalg.norm(p, axis=-1) - 1, (p @ normals.T - offsets).max(-1)) + bumps

    return meshes.from_sdf(distance, reach=1.15, cells=16)


@cache
def vessel(seed: int) -> Mesh:
    """A bottle, vase, cup, bowl, can or lamp foot, 1 high."""
    random = np.random.default_rng(seed)
    kind = random.integers(4)
    z = np.linspace(0, 1, 12)
    if kind == 0:  # a bottle
        radius = np.where(z < 0.6, 0.18, 0.18 - 0.12 * np.clip((z - 0.6) / 0.2, 0, 1))
    elif kind == 1:  # a vase
        radius = 0.2 + 0.14 * np.sin(z * random.uniform(3, 7) + random.uniform(0, 6)) + 0.05
    elif kind == 2:  # a cup or can
        radius = 0.35 + random.uniform(-0.12, 0.15) * z
    else:  # a bowl
        radius = 0.3 + 0.7 * np.sqrt(z)
    profile = np.stack([radius, z], -1)
    inside = profile[::-1] * [1, 1] - [0.03, 0]
    inside = inside[inside[:, 1] > 0.05]
    return meshes.lathe(np.concatenate([[[0, 0]], profile, inside]), sides=20)


def small_thing(b: Builder, size: float) -> float:
    """Anything that fits on a table, about `size` metres high."""
    kind = b.random.random()
    paint = b.paint(
        "plain", "printed", "cloth", "mottled", "wood", "photo", tile=(0.05, 0.4), shine=0.6
    )
    yaw = b.size(0, 6.3)
    if kind < 0.3:
        dims = size * b.random.uniform(0.3, 1.3, 3)
        b.put(meshes.box(*dims), paint, transform(yaw=yaw))
        return float(dims[2])
    if kind < 0.5:
        b.put(vessel(int(b.random.integers(24))), paint, transform(yaw=yaw, scale=size))
        return 0.0
    if kind < 0.62:
        for k in range(int(b.random.integers(1, 7))):
            thick = size * b.size(0.08, 0.25)
            book = meshes.box(size * b.size(0.7, 1.2), size * b.size(0.9, 1.6), thick)
            cover = b.paint("printed", "plain", "cloth", tile=(0.1, 0.4))
            b.put(book, cover, transform((0, 0, k * 0.2 * size), yaw=yaw + b.size(-0.3, 0.3)))
        return 0.0
    if kind < 0.72:
        radius = size * b.size(0.25, 0.6)
        b.put(meshes.sphere(20), paint, transform((0, 0, radius), scale=radius))
        return 0.0
    if kind < 0.88:
        half = size * b.size(0.4, 0.7)
        turn = transform(
            (0, 0, 0.6 * half), yaw=yaw, pitch=b.size(-3, 3), roll=b.size(-3, 3), scale=half
        )
        b.put(blob(int(b.random.integers(60))), paint, turn)
        return 0.0
    if kind < 0.94:
        plant(b, size * 1.5)
        return 0.0
    path = np.cumsum(b.random.normal(0, 0.3 * size, (12, 3)), 0)
    path[:, 2] = np.abs(path[:, 2]) * 0.4 + 0.01
    b.put(meshes.tube(path, 0.03 * size), paint)
    return 0.0


def plant(b: Builder, tall: float) -> None:
    """A pot plant or bush: cards of leaves round a stem."""
    if b.random.random() < 0.5:
        pot = transform(scale=(0.2 * tall, 0.2 * tall, 0.25 * tall))
        b.put(meshes.cylinder(16, 1.2), b.paint("plain", "mottled"), pot)
    tile = b.textures.pick(b.random, "leaves")
    tint = tuple(colour(b.random, (0.1, 0.4), (0, 0.4), (0.6, 1.0)))
    leaf = Material(tile, tint, 1.0, cutout=True)
    card = meshes.quad((-0.5, 0, 0), (0.5, 0, 0), (0.5, 0, 1), (-0.5, 0, 1))
    for _ in range(int(b.random.integers(6, 16))):
        size = tall * b.size(0.4, 0.8)
        z = b.size(0.1, 0.5) * tall
        turn = transform((0, 0, z), yaw=b.size(0, 6.3), pitch=b.size(-0.9, 0.9), scale=size)
        b.put(card, _per_card(leaf, size), turn)


def _per_card(material: Material, size: float) -> Material:
    """The material with one tile over a card of this size."""
    return Material(
        material.texture,
        material.tint,
        size,
        material.contrast,
        cutout=True,
        person=material.person,
    )


def tree(b: Builder, tall: float) -> None:
    """A trunk that forks, with sprays of leaves, or bare."""
    bark = b.paint("mottled", "wood", tile=(0.3, 1.0), shine=0)
    tile = b.textures.pick(b.random, "leaves")
    tint = tuple(colour(b.random, (0.05, 0.42), (0, 0.5), (0.4, 1.0)))
    leaf = Material(tile, tint, 1.0, cutout=True)
    bare = b.random.random() < 0.15
    card = meshes.quad((-0.5, 0, -0.5), (0.5, 0, -0.5), (0.5, 0, 0.5), (-0.5, 0, 0.5))
    low = b.size(0.15, 0.45) * tall
    radius = tall * b.size(0.015, 0.04)
    b.put(meshes.cylinder(9, 0.7), bark, transform(scale=(radius, radius, low)))
    crown = tall * b.size(0.2, 0.4)
    conifer = b.random.random() < 0.25
    for _ in range(int(b.random.integers(10, 24))):
        yaw, rise = b.size(0, 6.3), b.size(0, 1) ** 0.7
        spread = crown * ((1 - rise) if conifer else math.sqrt(max(1 - (2 * rise - 0.9) ** 2, 0.1)))
        tip = np.array([spread * math.cos(yaw), spread * math.sin(yaw), low + rise * (tall - low)])
        start = np.array([0, 0, low + 0.5 * rise * (tall - low)])
        b.put(meshes.cylinder(5, 0.3), bark, meshes.towards(start, tip, radius=0.35 * radius))
        if not bare:
            for _ in range(3):
                size = crown * b.size(0.5, 1.1)
                turn = transform(
                    tip + b.random.normal(0, 0.2 * crown, 3),
                    yaw=b.size(0, 6.3), pitch=b.size(-1, 1), roll=b.size(-3, 3), scale=size,
                )  # fmt: skip
                b.put(card, _per_card(leaf, size), turn)


def grass_patch(
    b: Builder, wide: float, count: int, ground: Callable[[float, float], float]
) -> None:
    """Tufts of blades strewn over a square of this width; `ground` gives the height at x, y."""
    tile = b.textures.pick(b.random, "blades")
    tint = tuple(colour(b.random, (0.1, 0.36), (0, 0.5), (0.5, 1.0)))
    card = meshes.quad((-0.5, 0, 1), (0.5, 0, 1), (0.5, 0, 0), (-0.5, 0, 0))
    size = b.size(0.1, 0.6)
    blades = Material(tile, tint, size, cutout=True)
    for _ in range(count):
        x, y = b.random.uniform(-wide / 2, wide / 2, 2)
        turn = transform(
            (x, y, ground(x, y) - 0.02), yaw=b.size(0, 6.3), scale=size * b.size(0.6, 1.4)
        )
        b.put(card, blades, turn)


def car(b: Builder) -> float:
    """A car, van or truck along y."""
    long, wide = b.size(3.6, 5.2), b.size(1.6, 1.95)
    body = Material(
        b.textures.pick(b.random, "plain"),
        tuple(common(b.random, (0.05, 1.0))),
        3.0,
        0.1,
        0.8,
        60.0,
    )
    glass = Material(b.textures.pick(b.random, "plain"), (0.12, 0.14, 0.17), 3.0, 0.1, 1.0, 150.0)
    black = Material(b.textures.pick(b.random, "plain"), (0.08, 0.08, 0.08), 1.0, 0.3)
    van = b.random.random() < 0.25
    waist, roof = b.size(0.75, 1.0), b.size(1.8, 2.6) if van else b.size(1.35, 1.75)
    hood, trunk = (0.05, 0.0) if van else (b.size(0.2, 0.3), b.size(0.0, 0.2))
    slope = 0.05 if van else b.size(0.06, 0.14)
    # Side view, from the tail along the top to the nose.
    y0, y1 = -long / 2, long / 2
    top = [
        (y0, 0.3), (y0, waist), (y0 + trunk * long, waist + 0.03),
        (y0 + (trunk + 0.6 * slope) * long, roof), (y1 - (hood + slope) * long, roof),
        (y1 - hood * long, waist + 0.05), (y1 - 0.03 * long, 0.85 * waist), (y1, 0.35),
    ]  # fmt: skip
    half = wide / 2
    for k, ((ya, za), (yb, zb)) in enumerate(itertools.pairwise(top)):
        inner = 0.82 if min(za, zb) > waist + 0.01 or max(za, zb) == roof else 1.0
        ia, ib = (inner if za == roof else 1.0), (inner if zb == roof else 1.0)
        sheet = meshes.flat(
            np.array(
                [
                    [(-half * ia, ya, za), (half * ia, ya, za), (half * ib, yb, zb)],
                    [(-half * ia, ya, za), (half * ib, yb, zb), (-half * ib, yb, zb)],
                ]
            ),
            np.zeros((2, 3, 2)),
        )
        window = k in (2, 4) and not (van and k == 2)
        b.put(sheet, glass if window else body)
    for side in (-1, 1):
        lower = [
            (y0, 0.3),
            (y1, 0.35),
            (y1 - 0.03 * long, 0.85 * waist),
            (y1 - hood * long, waist + 0.05),
        ]
        lower += [(y0 + trunk * long, waist + 0.03), (y0, waist)]
        _fan(b, [(side * half, y, z) for y, z in lower], body)
        upper = [(top[2], 1.0), (top[5], 1.0), (top[4], 0.82), (top[3], 0.82)]
        _fan(b, [(side * half * i, y, z) for (y, z), i in upper], body if van else glass)
        for y in (y0 + 0.18 * long, y1 - 0.18 * long):
            wheel = meshes.towards(
                np.array([side * (half - 0.22), y, 0.33]),
                np.array([side * (half + 0.01), y, 0.33]),
                radius=0.33,
            )
            b.put(meshes.cylinder(16), black, wheel)
            hub = meshes.towards(
                np.array([side * half, y, 0.33]),
                np.array([side * (half + 0.02), y, 0.33]),
                radius=0.2,
            )
            b.put(meshes.cylinder(10), b.paint("plain", tint=np.full(3, 0.7), shine=1.0), hub)
    for end, tone in ((y1, (1.0, 1.0, 0.9)), (y0, (0.9, 0.1, 0.1))):
        for side in (-1, 1):
            light = Material(
                b.textures.pick(b.random, "plain"), tone, 1.0, 0.2, 0.5, emission=b.size(0, 1)
            )
            where = (side * 0.7 * half, end - 0.02 * np.sign(end), 0.62)
            b.put(meshes.box(0.25, 0.08, 0.12), light, transform(where))
    return roof


def _fan(b: Builder, points: list[tuple[float, float, float]], material: Material) -> None:
    """A flat polygon."""
    p = np.array(points)
    triangles = np.stack([np.stack([p[0], p[k], p[k + 1]]) for k in range(1, len(p) - 1)])
    b.put(meshes.flat(triangles, triangles[..., 1:]), material)


def post(b: Builder) -> None:
    """A lamp post, traffic sign or bollard."""
    tall = b.size(0.8, 7)
    metal = b.paint("plain", tint=np.full(3, b.size(0.2, 0.7)))
    b.put(meshes.cylinder(8, 0.7), metal, transform(scale=(0.06, 0.06, tall)))
    if tall > 4:
        arm = meshes.towards(
            np.array([0, 0, tall]), np.array([b.size(0.5, 1.5), 0, tall + 0.2]), radius=0.04
        )
        b.put(meshes.cylinder(6), metal, arm)
    elif tall > 1.8:
        sign = b.paint("printed", "plain", tile=(0.5, 0.8))
        if b.random.random() < 0.5:
            disc = meshes.towards(
                np.array([0, -0.06, tall]), np.array([0, -0.08, tall]), radius=0.3
            )
            b.put(meshes.cylinder(18), sign, disc)
        else:
            b.put(
                meshes.box(b.size(0.4, 1.0), 0.02, b.size(0.3, 0.8)),
                sign,
                transform((0, -0.07, tall - 0.6)),
            )


def furniture(b: Builder) -> float:
    """Any piece of furniture."""
    makers = (table, chair, sofa, bed, shelf, cabinet, lamp, cabinet, shelf, chair)
    return makers[int(b.random.integers(len(makers)))](b)
