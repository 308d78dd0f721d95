"""Whole worlds with a camera in them: rooms, tables, streets, country, crowds, studios."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diorama.arrays import Array
from training.scenes import meshes, things
from training.scenes.meshes import Mesh, transform
from training.scenes.people import person
from training.scenes.raster import Eye
from training.scenes.textures import Textures, colour, noise
from training.scenes.things import Builder
from training.scenes.world import Light, Material, Sky, World


@dataclass(frozen=True)
class View:
    """A world and how it is looked at."""

    world: World
    eye: Eye
    light: Light
    sky: Sky
    openness: float
    """Metres within which surfaces darken each other."""


def make_view(random: np.random.Generator, textures: Textures, size: tuple[int, int]) -> View:
    """A world of a random kind."""
    kinds, weights = zip(*KINDS, strict=True)
    make = kinds[int(random.choice(len(kinds), p=np.array(weights) / sum(weights)))]
    return make(Builder(World(), textures, random), size)


def room(b: Builder, size: tuple[int, int]) -> View:
    """A furnished room or corridor, with people in it now and then."""
    random = b.random
    wide, deep, tall = b.size(2.5, 8), b.size(3, 11), b.size(2.3, 3.6)
    if random.random() < 0.15:
        wide, deep = b.size(1.4, 2.6), b.size(6, 25)
    floor = b.paint("wood", "bricks", "mottled", "cloth", "plain", tile=(0.6, 3), shine=0.5)
    walls = [
        b.paint("plain", "plain", "plain", "bricks", "cloth", "wood", tile=(0.8, 3), shine=0.1)
    ]
    if random.random() < 0.3:
        walls.append(b.paint("plain", "bricks", "wood", tile=(0.8, 3), shine=0.1))
    x, y = wide / 2, deep
    b.world.add(meshes.quad((-x, -2, 0), (x, -2, 0), (x, y, 0), (-x, y, 0)), floor)
    ceiling = b.paint(
        "plain", "plain", "bricks", tile=(1, 3), shine=0, tint=np.full(3, b.size(0.7, 1.0))
    )
    b.world.add(meshes.quad((-x, -2, tall), (x, -2, tall), (x, y, tall), (-x, y, tall)), ceiling)
    sides = [
        ((-x, y), (x, y)), ((-x, -2), (-x, y)), ((x, -2), (x, y)), ((-x, -2), (x, -2)),
    ]  # fmt: skip
    for k, (start, end) in enumerate(sides):
        wall = walls[int(random.integers(len(walls)))]
        _wall(b, start, end, tall, wall, holes=k < 3 and random.random() < 0.45)
    along = np.zeros(0)
    for side in (-1, 1):
        at = b.size(0.2, 1.5)
        while at < deep - 0.6:
            if random.random() < 0.75:
                where = (side * (x - b.size(0.35, 0.55)), at, 0)
                things_top(b.at(where, -side * math.pi / 2 + b.size(-0.05, 0.05)))
            at += b.size(0.8, 2.0)
            along = np.append(along, at)
    for _ in range(int(random.integers(0, 3))):
        where = (b.size(-0.8, 0.8) * x, deep - b.size(0.3, 0.6), 0)
        things_top(b.at(where, b.size(-0.1, 0.1)))
    for _ in range(int(random.integers(0, 4))):
        _dining(b, (b.size(-0.6, 0.6) * x, b.size(1.4, max(1.6, deep - 1.2))))
    for _ in range(int(random.integers(0, 7))):
        _hang(b, x, deep, tall)
    if random.random() < 0.35:
        for _ in range(int(random.integers(1, 4))):
            where = (b.size(-0.7, 0.7) * x, b.size(1.2, deep - 0.5), 0)
            person(b.at(where, b.size(0, 6.3)))
    for _ in range(int(random.integers(0, 5))):
        where = (b.size(-0.8, 0.8) * x, b.size(0.8, deep - 0.3), 0)
        things.small_thing(b.at(where, b.size(0, 6.3)), b.size(0.15, 0.6))
    if random.random() < 0.4:
        rug = b.paint("cloth", tile=(0.5, 2), shine=0)
        where = transform((b.size(-0.4, 0.4) * x, b.size(1, deep - 1), 0), yaw=b.size(-0.5, 0.5))
        b.world.add(meshes.box(b.size(1, 2.4), b.size(1, 3), 0.012), rug, where)
    position = np.array(
        [b.size(-0.7, 0.7) * x, b.size(-1.8, 0.3 * deep), b.size(0.5, min(2.0, tall - 0.3))]
    )
    goal = np.array([b.size(-0.5, 0.5) * x, b.size(0.6, 1.0) * deep, b.size(0.2, 1.4)])
    return View(
        b.world, _eye_at(b, position, goal, size), _lamp_light(b, x, deep, tall), _sky(b), 0.5
    )


def things_top(b: Builder) -> None:
    """A piece of furniture, with small things on it if it has a top to put them on."""
    top = things.furniture(b)
    if 0.3 < top < 1.1:
        for _ in range(int(b.random.integers(0, 5))):
            offset = b.place[:, :3] @ [b.size(-0.35, 0.35), b.size(-0.15, 0.15), 0] + b.place[:, 3]
            child = b.at(offset + [0, 0, top], b.size(0, 6.3))
            if b.random.random() < 0.2:
                things.screen(b.at(offset + [0, 0, top], math.atan2(b.place[1, 0], b.place[0, 0])))
            else:
                things.small_thing(child, b.size(0.1, 0.35))


def _wall(
    b: Builder,
    start: tuple[float, float],
    end: tuple[float, float],
    tall: float,
    paint: Material,
    *,
    holes: bool,
) -> None:
    """A wall, perhaps with windows that show the sky, and frames round them."""
    a, c = np.array([*start, 0.0]), np.array([*end, 0.0])
    length = float(np.linalg.norm(c - a))
    along = (c - a) / length
    across = np.array([along[1], -along[0], 0])

    def panel(
        u0: float, u1: float, z0: float, z1: float, material: Material, off: float = 0.0
    ) -> None:
        if u1 - u0 < 1e-3 or z1 - z0 < 1e-3:
            return
        p = [a + along * u + across * off for u in (u0, u1)]
        up0, up1 = np.array([0, 0, z0]), np.array([0, 0, z1])
        corners = [p[0] + up0, p[1] + up0, p[1] + up1, p[0] + up1]
        b.world.add(meshes.quad(*(tuple(v) for v in corners)), material)

    at = 0.0
    frame = b.paint("plain", "wood", shine=0.5)
    while holes and length - at > 1.4:
        gap, broad = b.size(0.3, 1.5), b.size(0.6, 1.8)
        if at + gap + broad > length - 0.2:
            break
        low, high = b.size(0.0, 1.1), b.size(1.7, tall - 0.1)
        panel(at, at + gap, 0, tall, paint)
        u0, u1 = at + gap, at + gap + broad
        panel(u0, u1, 0, low, paint)
        panel(u0, u1, high, tall, paint)
        for edge in (u0, (u0 + u1) / 2, u1):
            panel(edge - 0.03, edge + 0.03, low, high, frame, -0.02)
        panel(u0, u1, low - 0.03, low + 0.03, frame, -0.03)
        panel(u0, u1, high - 0.03, high + 0.03, frame, -0.03)
        if b.random.random() < 0.4:
            cloth = b.paint("cloth", "plain", tile=(0.4, 1.0), shine=0)
            for u, w in ((u0 - 0.2, 0.4), (u1 - 0.2, 0.4)):
                steps = np.linspace(u, u + w, 14)
                fold = 0.06 + 0.04 * np.sin(steps * b.size(30, 60))
                base = a + steps[:, None] * along - fold[:, None] * across
                top = base + [0, 0, min(high + 0.2, tall - 0.02)]
                b.world.add(meshes.grid(np.stack([base + [0, 0, 0.05], top])), cloth)
        at = u1
    panel(at, length, 0, tall, paint)
    if b.random.random() < 0.6:
        panel(0, length, 0, b.size(0.05, 0.15), frame, -0.012)


def _hang(b: Builder, x: float, deep: float, tall: float) -> None:
    """A picture, poster, shelf or clock on a wall."""
    art = b.paint("photo", "photo", "printed", "plain", tile=(0.5, 1.0), shine=0.2)
    w, h = b.size(0.2, 1.3), b.size(0.2, 1.0)
    z = b.size(1.0, max(1.1, tall - h - 0.2))
    side = b.random.integers(3)
    where, yaw = [
        ((b.size(-0.8, 0.8) * x, deep - 0.03, z), 0.0),
        ((-x + 0.03, b.size(0.3, deep), z), math.pi / 2),
        ((x - 0.03, b.size(0.3, deep), z), -math.pi / 2),
    ][side]
    o = b.at(where, yaw)
    o.put(meshes.box(w + 0.06, 0.03, h + 0.06), b.paint("wood", "plain"))
    o.put(
        meshes.quad(
            (-w / 2, -0.02, 0.03),
            (w / 2, -0.02, 0.03),
            (w / 2, -0.02, h + 0.03),
            (-w / 2, -0.02, h + 0.03),
        ),
        art,
    )


def _dining(b: Builder, where: tuple[float, float]) -> None:
    """A table with chairs round it and things on it."""
    yaw = b.size(0, 6.3)
    o = b.at((*where, 0.0), yaw)
    wide, deep = b.size(0.7, 1.8), b.size(0.6, 1.0)
    top = things.table(o, wide=wide, deep=deep)
    turn = o.place[:, :3]
    for side in (-1, 1):
        for _ in range(int(b.random.integers(0, 3))):
            offset = turn @ [b.size(-0.4, 0.4) * wide, side * (deep / 2 + b.size(0.1, 0.5)), 0]
            place = np.array([*where, 0.0]) + offset
            things.chair(b.at(place, yaw + (0 if side > 0 else math.pi) + b.size(-0.3, 0.3)))
    for _ in range(int(b.random.integers(0, 8))):
        offset = turn @ [b.size(-0.42, 0.42) * wide, b.size(-0.4, 0.4) * deep, top]
        things.small_thing(
            b.at(np.array([*where, 0.0]) + offset, b.size(0, 6.3)), b.size(0.06, 0.3)
        )


def tabletop(b: Builder, size: tuple[int, int]) -> View:
    """Things on a table or floor, seen from near."""
    random = b.random
    unit = 10 ** b.size(-0.5, 0.15)  # metres: how large the arrangement is
    ground = b.paint("wood", "cloth", "mottled", "plain", "bricks", tile=(0.3, 2.0), shine=0.4)
    reach = 0.75 * unit if random.random() < 0.5 else 8
    x = reach if reach > 1 else reach * b.size(0.8, 2)
    b.world.add(
        meshes.quad((-x, -3 * unit, 0), (x, -3 * unit, 0), (x, reach, 0), (-x, reach, 0)), ground
    )
    back = b.paint("plain", "cloth", "bricks", "wood", "photo", tile=(0.5, 3))
    far = reach + (0.0 if random.random() < 0.4 else b.size(0.2, 3))
    if random.random() < 0.8:
        b.world.add(meshes.quad((-9, far, -1.2), (9, far, -1.2), (9, far, 4), (-9, far, 4)), back)
        floor = b.paint("wood", "mottled", "bricks", tile=(0.6, 3))
        b.world.add(
            meshes.quad((-9, -9, -0.75), (9, -9, -0.75), (9, 9, -0.75), (-9, 9, -0.75)), floor
        )
        for _ in range(int(random.integers(0, 4))):
            things_top(b.at((b.size(-2, 2), far - 0.4, -0.75), b.size(-0.2, 0.2)))
    count = int(random.integers(1, 22))
    for _ in range(count):
        where = (unit * b.size(-0.7, 0.7), unit * b.size(-0.6, 0.65), 0)
        things.small_thing(b.at(where, b.size(0, 6.3)), unit * 10 ** b.size(-1.2, -0.25))
    if random.random() < 0.15:
        person(
            b.at((unit * b.size(-0.5, 0.5), reach + 0.3, -0.75), b.size(-0.3, 0.3)), pose="sitting"
        )
    steep = b.size(0.12, 1.35)
    away = unit * b.size(0.8, 1.8)
    aim = np.array([unit * b.size(-0.2, 0.2), unit * b.size(-0.15, 0.2), unit * b.size(0, 0.15)])
    turn = b.size(-0.4, 0.4)
    position = aim + away * np.array(
        [math.cos(steep) * math.sin(turn), -math.cos(steep) * math.cos(turn), math.sin(steep)]
    )
    light = _lamp_light(b, 2, 3, b.size(1.0, 2.4)) if random.random() < 0.6 else _sun_light(b, 0.7)
    return View(b.world, _eye_at(b, position, aim, size), light, _sky(b), 0.25 * unit)


def studio(b: Builder, size: tuple[int, int]) -> View:
    """Slanted boards, cloths and objects in layers, densely textured, as in stereo benchmarks."""
    random = b.random
    back = b.paint("photo", "printed", "cloth", "mottled", tile=(0.3, 1.5), shine=0)
    far = b.size(1.5, 3)
    lean = transform((0, far, 0), yaw=b.size(-0.5, 0.5), pitch=b.size(-0.3, 0.3))
    b.world.add(meshes.quad((-4, 0, -3), (4, 0, -3), (4, 0, 3), (-4, 0, 3)), back, lean)
    for _ in range(int(random.integers(2, 14))):
        # Piled up, the nearer the lower, as things are that something must hold.
        away = b.size(0.6, far - 0.1)
        where = (b.size(-0.9, 0.9), away, b.size(-0.6, away / far - 0.5))
        paint = b.paint("photo", "printed", "cloth", "mottled", "wood", tile=(0.2, 1.0), shine=0.1)
        kind = random.random()
        turn = transform(
            where,
            yaw=b.size(-1, 1),
            pitch=b.size(-0.8, 0.8),
            roll=b.size(-1, 1),
            scale=b.size(0.15, 0.6),
        )
        if kind < 0.4:
            b.world.add(
                meshes.quad((-0.7, 0, -0.5), (0.7, 0, -0.5), (0.7, 0, 0.5), (-0.7, 0, 0.5)),
                paint,
                turn,
            )
        elif kind < 0.55:
            steps = np.linspace(-1, 1, 24)
            bend = 0.12 * np.sin(steps * b.size(2, 9))[:, None] * np.ones(8)
            points = np.stack(
                [steps[:, None] * np.ones(8), bend, np.ones((24, 1)) * np.linspace(-1, 1, 8)], -1
            )
            b.world.add(meshes.grid(points), paint, turn)
        elif kind < 0.8:
            b.world.add(things.blob(int(random.integers(60))), paint, turn)
        elif kind < 0.9:
            b.world.add(things.rock(int(random.integers(24))), paint, turn)
        else:
            things.plant(b.at(np.array(where) - [0, 0, 0.3]), b.size(0.3, 0.9))
    if random.random() < 0.85:
        ground = b.paint("wood", "cloth", "mottled", "photo", tile=(0.4, 1.5))
        b.world.add(meshes.quad((-3, -1, -0.6), (3, -1, -0.6), (3, 4, -0.6), (-3, 4, -0.6)), ground)
        for _ in range(int(random.integers(0, 8))):
            where = (b.size(-0.8, 0.8), b.size(0.5, far - 0.2), -0.6)
            things.small_thing(b.at(where, b.size(0, 6.3)), b.size(0.1, 0.5))
    position = np.array([b.size(-0.2, 0.2), -b.size(0.0, 0.6), b.size(-0.2, 0.6)])
    aim = np.array([b.size(-0.2, 0.2), 1.2, b.size(-0.2, 0.1)])
    light = (
        _lamp_light(b, 1.5, 1.5, b.size(0.8, 2)) if random.random() < 0.5 else _sun_light(b, 0.8)
    )
    return View(b.world, _eye_at(b, position, aim, size), light, _sky(b), 0.3)


def closeup(b: Builder, size: tuple[int, int]) -> View:
    """A few large things close together before something upright; of the ground little shows.

    Lengths are in units of the distance, for nothing in such a picture tells its size.
    """
    random = b.random
    far = b.size(1.1, 2.2)
    ground = -b.size(0.2, 0.6)
    _backdrop(b, far)
    arrangement = random.random()
    if arrangement < 0.3:
        _heap(b, far, ground)
    elif arrangement < 0.5:
        for k in range(int(random.integers(1, 4))):
            _drape(b, b.size(0.6 + 0.25 * k, 0.8 + 0.35 * k), ground)
    elif arrangement < 0.6:
        _shelves(b, far)
    if arrangement > 0.3:
        if random.random() < 0.8:
            front = b.size(-0.5, 0.8)
            top = b.paint("wood", "cloth", "mottled", "plain", "photo", tile=(0.2, 1.5))
            depth = b.size(front + 0.3, far)
            b.world.add(
                meshes.box(6, depth - front, 0.3),
                top,
                transform((0, (front + depth) / 2, ground - 0.3)),
            )
        for _ in range(int(random.integers(1, 9))):
            _upright(b, (b.size(-0.6, 0.6), b.size(0.55, far - 0.15)), ground)
    position = np.array([b.size(-0.15, 0.15), b.size(-0.8, -0.1), b.size(ground + 0.1, 0.4)])
    aim = np.array([b.size(-0.15, 0.15), 1.0, b.size(ground, 0.15)])
    light = (
        _lamp_light(b, 1.5, 1.5, b.size(0.5, 2)) if random.random() < 0.6 else _sun_light(b, 0.8)
    )
    return View(b.world, _eye_at(b, position, aim, size, fov=(22, 60)), light, _sky(b), 0.2)


def _backdrop(b: Builder, far: float) -> None:
    """A wall, board, curtain, or corner of walls that fills the frame."""
    families = ("photo", "printed", "cloth", "mottled", "plain", "wood", "bricks")
    paint = b.paint(*families, tile=(0.3, 2.0), shine=0.1)
    turn = {"yaw": b.size(-0.4, 0.4), "pitch": b.size(-0.15, 0.15)}
    kind = b.random.random()
    if kind < 0.5:
        wall = meshes.quad((-5, 0, -4), (5, 0, -4), (5, 0, 4), (-5, 0, 4))
        b.world.add(wall, paint, transform((0, far, 0), **turn))
    elif kind < 0.75:
        b.world.add(_cloth(b, 5.0, b.size(0.02, 0.12)), paint, transform((0, far, 0), **turn))
    else:
        wide = b.size(0.3, 1.2)
        other = paint if b.random.random() < 0.5 else b.paint(*families, tile=(0.3, 2.0))
        for side in (-1, 1):
            x, y = side * 5, -b.size(0, 6)
            corner = meshes.quad((0, 0, -4), (x, y, -4), (x, y, 4), (0, 0, 4))
            where = (side * wide if b.random.random() < 0.5 else 0.0, far, 0)
            b.world.add(corner, paint if side < 0 else other, transform(where))
        b.world.add(meshes.quad((-5, far, -4), (5, far, -4), (5, far, 4), (-5, far, 4)), other)


def _cloth(b: Builder, side: float, deep: float, *, bulge: float = 0.0) -> Mesh:
    """An upright square with folds `deep` metres deep, pushed forward somewhere by `bulge`."""
    folds = noise(b.random, b.size(1.4, 2.4), stretch=10 ** b.size(-0.5, 0.3))
    part = int(b.random.integers(24, len(folds)))
    rows = np.linspace(0, part - 1, 40).astype(int)
    steps = np.linspace(-side / 2, side / 2, 40)
    x, z = np.meshgrid(steps, steps)
    middle = b.random.uniform(-0.3, 0.3, 2) * side
    away = np.hypot(x - middle[0], z - middle[1]) / (b.size(0.15, 0.4) * side)
    y = 4 * deep * folds[np.ix_(rows, rows)] - bulge * np.exp(-(away**2))
    return meshes.grid(np.stack([x, y, z], -1))


def _drape(b: Builder, away: float, ground: float) -> None:
    """A cloth thrown over something: folded, leaning back, bulging where something is below."""
    paint = b.paint("cloth", "printed", "plain", "photo", "mottled", tile=(0.15, 0.8), shine=0)
    side = b.size(0.6, 2.0)
    sheet = _cloth(b, side, b.size(0.02, 0.1), bulge=b.size(0, 0.4) * side)
    where = (b.size(-0.5, 0.5), away + b.size(0, 0.2), ground + side * b.size(0.1, 0.5))
    lean = transform(where, yaw=b.size(-0.6, 0.6), pitch=-b.size(0, 1.1), roll=b.size(-0.8, 0.8))
    b.world.add(sheet, paint, lean)


def _heap(b: Builder, far: float, ground: float) -> None:
    """Many things of a kind, or of all kinds, piled against what is behind them."""
    random = b.random
    kind = random.random()
    same = b.paint("mottled", "wood", "plain", "cloth", tile=(0.1, 0.8), shine=0.1)
    size = b.size(0.08, 0.3)
    for _ in range(int(random.integers(12, 45))):
        back = random.random()  # 0 in front, 1 at the back: the pile rises
        where = (
            b.size(-0.9, 0.9),
            0.55 + back * (far - 0.7),
            ground + back * b.size(0.3, 1.1) - 0.2 * random.random(),
        )
        turn = transform(
            where,
            yaw=b.size(0, 6.3),
            pitch=b.size(-1.5, 1.5),
            roll=b.size(-1.5, 1.5),
            scale=size * random.uniform(0.5, 1.4, 3),
        )
        paint = (
            same
            if random.random() < 0.4
            else b.paint("mottled", "printed", "photo", "plain", tile=(0.1, 0.8), shine=0.2)
        )
        which = random.random()
        if kind < 0.4 or which < 0.3:
            b.world.add(things.rock(int(random.integers(24))), paint, turn)
        elif which < 0.6:
            b.world.add(things.blob(int(random.integers(60))), paint, turn)
        elif which < 0.8:
            b.world.add(meshes.box(1.6, 1.0, 1.2), paint, turn)
        else:
            b.world.add(meshes.cylinder(18, b.size(0.1, 1)), paint, turn)
    slope = meshes.quad(
        (-3, 0.5, ground - 0.2), (3, 0.5, ground - 0.2), (3, far, ground + 0.7),
        (-3, far, ground + 0.7),
    )  # fmt: skip
    b.world.add(slope, same)


def _shelves(b: Builder, far: float) -> None:
    """Boards across the picture with books and boxes on them, seen from the front."""
    wood = b.paint("wood", "plain", tile=(0.3, 1.5))
    level, deep = -0.9, b.size(0.15, 0.5)
    while level < 0.9:
        room = b.size(0.25, 0.7)
        b.world.add(meshes.box(6, deep, 0.03), wood, transform((0, far - deep / 2, level)))
        x = -1.3
        while x < 1.3:
            wide, high = b.size(0.03, 0.2), room * b.size(0.5, 0.95)
            if b.random.random() < 0.85:
                cover = b.paint("plain", "printed", "cloth", "photo", tile=(0.1, 0.5))
                where = (x + wide / 2, far - 0.5 * deep + b.size(-0.3, 0.2) * deep, level + 0.03)
                b.world.add(meshes.box(wide, 0.6 * deep, high), cover, transform(where))
            x += wide + b.size(0.002, 0.02)
        level += room + 0.03


def _upright(b: Builder, at: tuple[float, float], ground: float) -> None:
    """One thing that stands there, large in the picture."""
    random = b.random
    where = (*at, ground)
    paint = b.paint(
        "photo", "printed", "wood", "cloth", "mottled", "plain", tile=(0.1, 0.8), shine=0.3
    )
    tall = b.size(0.15, 0.8)
    turn = transform(where, yaw=b.size(-0.9, 0.9), scale=tall)
    kind = random.random()
    if kind < 0.3:  # a board, box or book
        b.world.add(meshes.box(b.size(0.1, 1.3), 10 ** b.size(-1.7, -0.3), 1), paint, turn)
    elif kind < 0.42:
        b.world.add(
            meshes.cylinder(20, b.size(0.05, 1.2)),
            paint,
            transform(where, yaw=b.size(0, 6.3), scale=(0.3 * tall, 0.3 * tall, tall)),
        )
    elif kind < 0.55:
        b.world.add(things.vessel(int(random.integers(24))), paint, turn)
    elif kind < 0.7:
        lifted = transform((*at, ground + 0.4 * tall), yaw=b.size(0, 6.3), scale=0.5 * tall)
        b.world.add(things.blob(int(random.integers(60))), paint, lifted)
    elif kind < 0.78:
        person(b.at((at[0], at[1], ground - b.size(0.3, 0.8)), random.normal(0, 0.6)), tall=1.0)
    elif kind < 0.88:
        things.plant(b.at(where, b.size(0, 6.3)), b.size(0.3, 1.0))
    else:  # a frame one can look through
        for k in range(int(random.integers(1, 5))):
            rod = np.array([[-0.5, 0, 0], [b.size(-0.5, 0.5), b.size(-0.2, 0.2), 1]])
            rod += [0.25 * k, 0, 0]
            b.world.add(meshes.tube(rod, b.size(0.01, 0.05)), paint, turn)


def street(b: Builder, size: tuple[int, int]) -> View:
    """A street, road or square with buildings, cars, trees and people."""
    random = b.random
    road, walk = b.size(3, 9), b.size(1.2, 5)
    asphalt = b.paint("mottled", "mottled", "bricks", tile=(1.5, 5), shine=0.15)
    b.world.add(meshes.quad((-60, -10, 0), (60, -10, 0), (60, 300, 0), (-60, 300, 0)), asphalt)
    paving = b.paint("bricks", "mottled", "grass", tile=(0.8, 3), shine=0.05)
    lane = Material(b.textures.pick(random, "plain"), (0.9, 0.9, 0.85), 1.0, 0.2)
    offset = b.size(-0.4, 0.4) * road
    rural = random.random() < 0.3
    grass = b.paint("grass", tile=(1, 4), shine=0)
    for side in (-1, 1):
        edge = side * road + offset
        if not rural:
            width = walk
            b.world.add(
                meshes.box(width, 310, 0.13), paving, transform((edge + side * width / 2, 145, 0))
            )
        else:
            verge = transform((edge + side * 30, 145, -0.05))
            b.world.add(meshes.box(60, 310, 0.08), grass, verge)
    if random.random() < 0.7:
        for k in range(30):
            b.world.add(meshes.box(0.15, 3, 0.005), lane, transform((offset, 8 * k - 6, 0.0)))
    for side in (-1, 1):
        edge = side * (road + walk) + offset
        at = -8.0
        dense = b.size(0.3, 1.0) * (0.35 if rural else 1)
        while at < 160:
            front = b.size(6, 22)
            if random.random() < dense:
                deep, tall = b.size(6, 14), b.size(3, 26)
                wall = b.paint(
                    "facade", "facade", "facade", "bricks", "plain", tile=(2.5, 6), shine=0.15
                )
                place = transform((edge + side * (deep / 2 + b.size(0, 2)), at + front / 2, 0))
                b.world.add(meshes.box(deep, front, tall), wall, place)
                if random.random() < 0.4:
                    roof = b.paint("bricks", "plain", tile=(1, 3))
                    _gable(b, place[:, 3] + [0, 0, tall], deep, front, b.size(1, 4), roof)
            elif random.random() < 0.6:
                things.tree(
                    b.at((edge + side * b.size(0, 5), at + b.size(0, front), 0), 0), b.size(3, 12)
                )
            at += front + (0 if random.random() < 0.6 else b.size(1, 8))
    for _ in range(int(random.integers(0, 16))):
        side = random.choice([-1, 1])
        lane_x = offset + side * road * b.size(0.3, 0.85)
        where = (lane_x, b.size(3, 10) ** 1.6, 0)
        things.car(b.at(where, (0 if side > 0 else math.pi) + random.normal(0, 0.05)))
    for _ in range(int(random.integers(0, 12))):
        side = random.choice([-1, 1])
        where = (offset + side * (road + b.size(0.2, 0.9) * walk), b.size(2, 9) ** 1.6, 0.13)
        if random.random() < 0.6:
            person(b.at(where, b.size(0, 6.3)))
        else:
            things.post(b.at(where, 0.0))
    for _ in range(int(random.integers(0, 8))):
        side = random.choice([-1, 1])
        where = (offset + side * (road + b.size(0.3, 1.5) * walk), b.size(2.5, 9) ** 1.7, 0.1)
        kind = random.random()
        if kind < 0.6:
            things.tree(b.at(where, 0.0), b.size(3, 10))
        elif kind < 0.8:
            things.plant(b.at(where, 0.0), b.size(0.6, 1.8))
        else:
            _fence(b, np.array(where), b.size(2, 12))
    driving = random.random() < 0.5
    x = offset + (
        b.size(-0.6, 0.6) * road
        if driving
        else random.choice([-1, 1]) * (road + b.size(0, 1) * walk)
    )
    position = np.array([x, b.size(-4, 1), b.size(1.2, 2.2) if driving else b.size(1.2, 1.9)])
    aim = position + [b.size(-6, 6) if driving else b.size(-12, 12), 20, b.size(-2.5, 2)]
    return View(
        b.world, _eye_at(b, position, aim, size), _sun_light(b, 1.0), _sky(b, fog=True), 1.2
    )


def _gable(b: Builder, base: Array, wide: float, long: float, tall: float, paint: Material) -> None:
    x, y = wide / 2 + 0.3, long / 2 + 0.3
    ridge = np.array([[0, -y, tall], [0, y, tall]])
    for side in (-1, 1):
        corners = [(side * x, -y, 0), (side * x, y, 0), tuple(ridge[1]), tuple(ridge[0])]
        b.world.add(meshes.quad(*corners), paint, transform(base))
    for end in (-1, 1):
        triangle = np.array([[[-x, end * y, 0], [x, end * y, 0], [0, end * y, tall]]])
        b.world.add(meshes.flat(triangle, triangle[..., [0, 2]]), paint, transform(base))


def _fence(b: Builder, where: Array, long: float) -> None:
    tall = b.size(0.6, 1.8)
    wire = Material(b.textures.pick(b.random, "wire"), (1, 1, 1), tall, cutout=True)
    o = b.at(where, b.random.choice([0, math.pi / 2]) + b.random.normal(0, 0.1))
    o.put(
        meshes.quad((-long / 2, 0, 0), (long / 2, 0, 0), (long / 2, 0, tall), (-long / 2, 0, tall)),
        wire,
    )
    for k in range(int(long / 2) + 1):
        o.put(
            meshes.cylinder(6),
            b.paint("plain", "wood"),
            transform((2 * k - long / 2, 0, 0), scale=(0.04, 0.04, tall)),
        )


def country(b: Builder, size: tuple[int, int]) -> View:
    """Hills, fields, woods, rocks and water."""
    random = b.random
    steps, extent = 56, 120.0
    relief = 10 ** b.size(-0.8, 0.9)
    surface = noise(random, b.size(1.6, 2.4))[: 4 * steps : 4, : 4 * steps : 4] - 0.5
    heights = surface * relief * 4
    axis = np.linspace(-extent / 2, extent / 2, steps)
    near = np.hypot(axis[None], axis[:, None] + extent / 2)
    heights = heights * np.clip(near / 40, 0.05, 1)

    def ground(x: float, y: float) -> float:
        column = int(np.clip((x / extent + 0.5) * (steps - 1) + 0.5, 0, steps - 1))
        row = int(np.clip((y / extent) * (steps - 1) + 0.5, 0, steps - 1))
        return float(heights[row, column])

    soil = b.paint("grass", "grass", "mottled", tile=(0.8, 4), shine=0)
    b.world.add(meshes.heightfield(heights, extent, extent), soil, transform((0, extent / 2, 0)))
    far = b.paint("grass", "mottled", tile=(10, 40), shine=0)
    ridge = np.linspace(-600, 600, 40)
    for distance in (130.0, 260.0, 480.0):
        if random.random() < 0.7:
            crest = np.abs(noise(random, 1.4)[0, :40] - 0.3) * distance * b.size(0.05, 0.5)
            lower = np.stack([ridge, np.full(40, distance), np.full(40, -8.0)], -1)
            upper = np.stack([ridge, np.full(40, distance * 1.3), crest], -1)
            b.world.add(meshes.grid(np.stack([lower, upper])), far)
    plain = meshes.quad((-900, 60, -6), (900, 60, -6), (900, 1200, -6), (-900, 1200, -6))
    b.world.add(plain, far)
    if random.random() < 0.25:
        water = Material(b.textures.pick(random, "plain"), (0.25, 0.35, 0.4), 4.0, 0.4, 0.9, 60)
        level = float(np.percentile(heights, b.size(5, 40)))
        b.world.add(
            meshes.quad((-900, 5, level), (900, 5, level), (900, 900, level), (-900, 900, level)),
            water,
        )
    path = None
    if random.random() < 0.3:
        path = b.paint("mottled", "bricks", tile=(1, 3), shine=0)
        y = np.linspace(0, 60, 30)
        middle = 3 * np.sin(y / b.size(6, 20) + b.size(0, 6)) - 3 * math.sin(0)
        rows = np.stack([[m - 1.2, v, ground(m, v) + 0.05] for m, v in zip(middle, y, strict=True)])
        b.world.add(meshes.grid(np.stack([rows, rows + [2.4, 0, 0]])), path)
    woods = random.random()
    for _ in range(int(random.integers(0, 30) * woods)):
        x, y = b.size(-25, 25), b.size(2, 10) ** 1.8
        things.tree(b.at((x, y, ground(x, y) - 0.1), b.size(0, 6.3)), b.size(3, 14))
    for _ in range(int(random.integers(0, 14))):
        x, y = b.size(-8, 8), b.size(1.2, 6) ** 1.7
        half = 10 ** b.size(-1, 0.4)
        turn = transform(
            (x, y, ground(x, y)), yaw=b.size(0, 6.3), scale=half * random.uniform(0.5, 1.3, 3)
        )
        b.world.add(
            things.rock(int(random.integers(24))), b.paint("mottled", tile=(0.3, 2), shine=0), turn
        )
    for _ in range(int(random.integers(0, 10))):
        x, y = b.size(-6, 6), b.size(1.2, 5) ** 1.6
        things.plant(b.at((x, y, ground(x, y)), 0.0), b.size(0.3, 1.6))
    if random.random() < 0.5:
        things.grass_patch(
            b.at((0, 0, 0)), 14, int(random.integers(30, 260)), lambda x, y: ground(x, y + 7)
        )
    for _ in range(int(random.integers(0, 4) * (random.random() < 0.4))):
        x, y = b.size(-3, 3), b.size(2, 6) ** 1.3
        person(b.at((x, y, ground(x, y)), b.size(0, 6.3)))
    if random.random() < 0.2:
        x, y = b.size(-15, 15), b.size(15, 60)
        house = b.paint("facade", "plain", "bricks", "wood", tile=(2, 5))
        place = transform((x, y, ground(x, y) - 0.5), yaw=b.size(0, 6.3))
        b.world.add(meshes.box(8, 11, 5), house, place)
    if random.random() < 0.25:
        _fence(b, np.array([b.size(-4, 4), b.size(3, 12), 0.0]), b.size(5, 30))
    position = np.array([0.0, 0.3, ground(0, 0.3) + b.size(0.4, 2.2)])
    aim = position + [b.size(-6, 6), 20, b.size(-6, 3)]
    return View(
        b.world, _eye_at(b, position, aim, size), _sun_light(b, 1.0), _sky(b, fog=True), 0.8
    )


def crowd(b: Builder, size: tuple[int, int]) -> View:
    """People: one near, or many, in front of a wall, indoors or in the open."""
    random = b.random
    ground = b.paint("bricks", "mottled", "grass", "wood", "cloth", tile=(0.8, 3), shine=0.2)
    b.world.add(meshes.quad((-60, -5, 0), (60, -5, 0), (60, 150, 0), (-60, 150, 0)), ground)
    far = b.size(2.5, 25)
    if random.random() < 0.7:
        wall = b.paint("facade", "photo", "bricks", "plain", "wood", tile=(1, 5), shine=0.1)
        b.world.add(
            meshes.quad((-60, far, 0), (60, far, 0), (60, far, b.size(3, 15)), (-60, far, 4)), wall
        )
    portrait = random.random() < 0.45
    count = int(random.integers(1, 4)) if portrait else int(random.integers(3, 24))
    eyes = 1.5
    for k in range(count):
        y = b.size(0.9, 1.8) if portrait and k == 0 else b.size(1.6, max(2.0, min(far - 0.4, 14)))
        spread = 0.15 if portrait and k == 0 else 0.5
        where = (b.size(-spread, spread) * y, y, 0)
        near = b.at(where, random.normal(0, 0.6) if portrait else b.size(0, 6.3))
        tall = person(near, pose="standing" if portrait and k == 0 else "")
        eyes = tall if k == 0 else eyes
    for _ in range(int(random.integers(0, 6))):
        where = (b.size(-5, 5), b.size(2, max(2.5, far - 0.5)), 0)
        if random.random() < 0.5:
            things.plant(b.at(where), b.size(0.5, 2))
        else:
            things_top(b.at(where, b.size(0, 6.3)))
    low = eyes + b.size(-0.5, 0.25) if portrait else b.size(0.9, 2.6)
    position = np.array([b.size(-0.1, 0.1), 0.0, low])
    aim = (
        np.array([b.size(-0.15, 0.15), 1.3, eyes - b.size(0, 0.35)])
        if portrait
        else position + [b.size(-2, 2), 6, b.size(-1, 0.3)]
    )
    light = _sun_light(b, 0.9) if random.random() < 0.6 else _lamp_light(b, 3, 4, b.size(2.4, 4))
    return View(b.world, _eye_at(b, position, aim, size), light, _sky(b, fog=True), 0.5)


KINDS: tuple[tuple[Callable[[Builder, tuple[int, int]], View], float], ...] = (
    (room, 0.27),
    (tabletop, 0.18),
    (studio, 0.07),
    (closeup, 0.15),
    (street, 0.15),
    (country, 0.09),
    (crowd, 0.09),
)
"""Every kind of world, and its share."""


def _eye_at(
    b: Builder,
    position: Array,
    aim: Array,
    size: tuple[int, int],
    *,
    fov: tuple[float, float] = (35, 85),
) -> Eye:
    """A camera that looks from a place at a point, its field of view so many degrees wide."""
    along = aim - position
    yaw = math.atan2(along[0], along[1])
    pitch = math.atan2(along[2], math.hypot(along[0], along[1]))
    focal = max(size) / 2 / math.tan(math.radians(b.size(*fov)) / 2)
    return Eye.looking(position, yaw, pitch, b.random.normal(0, 0.035), focal, size)


def _lamp_light(b: Builder, x: float, deep: float, tall: float) -> Light:
    place = np.array([b.size(-0.6, 0.6) * x, b.size(0.1, 0.8) * deep, tall - 0.08])
    warmth = np.array([1.0, b.size(0.75, 1.0), b.size(0.5, 1.05)])
    glows = np.concatenate(
        [
            np.stack(
                [
                    b.random.uniform(-x, x, 3),
                    b.random.uniform(0, deep, 3),
                    b.random.uniform(0.5, tall, 3),
                ],
                -1,
            ),
            warmth * b.random.uniform(0, 1.2, (3, 1)),
        ],
        1,
    )
    ambient = b.size(0.15, 0.7)
    above = ambient * np.array([b.size(0.85, 1), b.size(0.85, 1), 1.0])
    below = above * b.size(0.5, 0.9)
    return Light(
        place,
        warmth * b.size(0.3, 1.8),
        True,
        above,
        below,
        b.size(1, 6),
        glows[: int(b.random.integers(4))],
    )


def _sun_light(b: Builder, strength: float) -> Light:
    yaw, rise = b.size(0, 6.3), b.size(0.15, 1.4)
    towards = np.array(
        [math.cos(rise) * math.sin(yaw), math.cos(rise) * math.cos(yaw), math.sin(rise)]
    )
    sunny = b.random.random() < 0.6
    warm = np.array([1.0, 1 - 0.35 * max(0, 0.6 - rise), 1 - 0.7 * max(0, 0.6 - rise)])
    direct = warm * strength * (b.size(0.8, 2.2) if sunny else b.size(0, 0.25))
    above = np.array([b.size(0.7, 1.0), b.size(0.8, 1.0), 1.0]) * (
        b.size(0.25, 0.5) if sunny else b.size(0.5, 1.0)
    )
    return Light(towards, direct, False, above, above * b.size(0.25, 0.6), b.size(0.6, 3))


def _sky(b: Builder, *, fog: bool = False) -> Sky:
    grey = b.random.random() < 0.35
    zenith = colour(b.random, (0.55, 0.63), (0.0, 0.15) if grey else (0.3, 0.8), (0.3, 1.1))
    horizon = zenith * 0.3 + 0.7 * colour(b.random, (0.05, 0.65), (0, 0.2), (0.6, 1.1))
    thick = 10 ** b.size(-3.6, -1.6) if fog else 0.0
    return Sky(zenith**2, horizon**2, b.textures.pick(b.random, "clouds"), b.size(0, 1), thick)
