"""People: a posed skeleton with limbs, a head with a face, hair and clothes."""

import math
from functools import cache

import numpy as np

from diorama.arrays import Array
from training.scenes import meshes
from training.scenes.meshes import towards, transform
from training.scenes.textures import colour, common
from training.scenes.things import Builder, rounded
from training.scenes.world import Material


def person(b: Builder, *, pose: str = "", tall: float = 0.0) -> float:
    """A person who faces -y and stands on the origin.

    Args:
        b: where.
        pose: "standing", "walking" or "sitting"; random if empty.
        tall: metres; random if 0.

    Returns:
        The height of the eyes.
    """
    random = b.random
    tall = tall or b.size(1.5, 1.92) * (b.size(0.5, 0.9) if random.random() < 0.12 else 1.0)
    pose = pose or str(random.choice(["standing", "walking", "sitting"], p=[0.5, 0.35, 0.15]))
    broad = b.size(0.85, 1.25)
    skin = _skin(b)
    shirt = _person_material(b, "cloth", "plain", "printed")
    trousers = shirt if random.random() < 0.1 else _person_material(b, "cloth", "plain")
    shoes = _person_material(b, "plain")
    thigh, shin, trunk = 0.245 * tall, 0.246 * tall, 0.3 * tall
    hip = 0.1 * tall * 0.9 * broad
    sitting = pose == "sitting"
    swing = b.size(0.15, 0.6) if pose == "walking" else b.size(0, 0.12)
    hips = np.array([0.0, 0.0, (shin + 0.05 * tall) if sitting else thigh + shin + 0.02 * tall])
    lowest = []
    for side in (-1, 1):
        top = hips + [side * hip, 0, 0]
        lift = b.size(1.3, 1.6) if sitting else side * swing + b.size(-0.05, 0.05)
        knee = top + thigh * np.array([side * b.size(0, 0.2), -math.sin(lift), -math.cos(lift)])
        bend = b.size(-0.3, 0.1) if sitting else lift - b.size(0, 0.5) * (pose == "walking")
        foot = knee + shin * np.array([0, -math.sin(bend), -math.cos(bend)])
        _limb(b, top, knee, 0.055 * tall * broad, 0.7, trousers)
        bare = random.random() < 0.2
        _limb(b, knee, foot, 0.036 * tall * broad, 0.65, skin if bare else trousers)
        _limb(b, foot + [0, 0.02, -0.01], foot + [0, -0.11 * tall, -0.02], 0.026 * tall, 0.8, shoes)
        lowest.append(foot[2] - 0.03 * tall)
    lean = b.size(-0.25, 0.1) if sitting else b.size(-0.1, 0.12)
    neck = hips + trunk * np.array([b.size(-0.05, 0.05), -math.sin(lean), math.cos(lean)])
    middle = (hips + neck) / 2
    wide = 0.118 * tall * broad
    torso = transform(
        middle, pitch=lean, scale=(wide, 0.62 * wide * b.size(0.9, 1.4), trunk * 0.58)
    )
    b.put(rounded(0.7), shirt, torso)
    pelvis = transform(hips, scale=(wide, 0.65 * wide, 0.085 * tall))
    b.put(rounded(0.8), trousers, pelvis)
    if random.random() < 0.15:
        b.put(
            meshes.cylinder(16, 1.6),
            trousers,
            transform(hips, pitch=math.pi, scale=(wide, 0.7 * wide, 0.3 * tall)),
        )
    raised = random.random() < 0.25
    short = random.random() < 0.45
    for side in (-1, 1):
        shoulder = neck + [side * wide * 1.05, 0, -0.035 * tall]
        out, forward = b.size(0.05, 0.5), side * -swing + b.size(-0.3, 0.3)
        if sitting or raised:
            forward = b.size(0.3, 1.6)
        direction = np.array([side * math.sin(out), -math.sin(forward), -math.cos(forward)])
        elbow = shoulder + 0.172 * tall * direction / np.linalg.norm(direction)
        fold = forward + b.size(0.1, 1.6)
        direction = np.array([-side * b.size(-0.3, 0.6), -math.sin(fold), -math.cos(fold)])
        hand = elbow + 0.15 * tall * direction / np.linalg.norm(direction)
        _limb(b, shoulder, elbow, 0.034 * tall * broad, 0.8, shirt)
        _limb(b, elbow, hand, 0.025 * tall * broad, 0.7, skin if short else shirt)
        fingers = hand + 0.085 * tall * direction / np.linalg.norm(direction)
        _limb(b, hand, fingers, 0.022 * tall, 0.6, skin)
    _limb(b, neck - [0, 0, 0.03 * tall], neck + [0, -0.01, 0.06 * tall], 0.034 * tall, 0.95, skin)
    centre = neck + [0, -0.015 * tall - 0.3 * lean * 0.1, 0.115 * tall]
    head(b, centre, 0.066 * tall, skin)
    return float(centre[2])


def head(b: Builder, centre: Array, size: float, skin: Material) -> None:
    """A head that faces about -y, `size` about half its height's two thirds, in metres."""
    random = b.random
    yaw, pitch = random.normal(0, 0.35), random.normal(0, 0.15)
    frame = transform(centre, yaw=yaw, pitch=pitch, scale=size)

    def put(mesh: meshes.Mesh, material: Material, matrix: Array) -> None:
        b.put(mesh, material, meshes.combined(frame, matrix))

    put(meshes.sphere(20), skin, transform((0, 0.1, 0.25), scale=(1.0, 1.18, 1.12)))
    put(meshes.sphere(16), skin, transform((0, -0.28, -0.55), scale=(0.72, 0.8, 0.8)))
    put(meshes.sphere(10), skin, transform((0, -1.12, -0.12), pitch=0.4, scale=(0.17, 0.3, 0.3)))
    lips = Material(skin.texture, tuple(np.array(skin.tint) * [0.95, 0.6, 0.6]), person=True)
    put(meshes.sphere(10), lips, transform((0, -0.98, -0.72), scale=(0.3, 0.12, 0.1)))
    white = Material(skin.texture, (0.95, 0.95, 0.95), 1.0, 0.1, 0.6, 80, person=True)
    iris = Material(skin.texture, (0.12, 0.09, 0.07), 1.0, 0.1, 0.8, 80, person=True)
    for side in (-1, 1):
        put(meshes.sphere(10), white, transform((side * 0.38, -0.86, 0.1), scale=(0.2, 0.14, 0.12)))
        put(meshes.sphere(8), iris, transform((side * 0.38, -0.96, 0.1), scale=(0.09, 0.06, 0.09)))
        put(meshes.sphere(10), skin, transform((side * 1.0, 0.1, -0.05), scale=(0.12, 0.25, 0.35)))
    tone = colour(random, (0.02, 0.13), (0.05, 0.75), (0.04, 0.75))
    hair = Material(
        b.textures.pick(random, "wood", "hair"), tuple(1.3 * tone), 0.2, 0.6, 0.4, 12, person=True
    )
    brow = Material(hair.texture, tuple(0.7 * tone), 0.2, person=True)
    for side in (-1, 1):
        put(meshes.sphere(8), brow, transform((side * 0.38, -0.95, 0.34), scale=(0.26, 0.08, 0.05)))
    style = random.random()
    if style < 0.1:
        return
    tilt = b.size(-0.65, -0.3)
    put(_cap(), hair, transform((0, 0.13, 0.3), pitch=tilt, scale=(1.1, 1.3, 1.22)))
    strands = Material(
        b.textures.pick(random, "hair"), tuple(1.2 * tone), 1.0, cutout=True, person=True
    )
    card = meshes.quad((-0.5, 0, 0), (0.5, 0, 0), (0.5, 0, -1), (-0.5, 0, -1))
    long = b.size(0.2, 0.7) if style < 0.5 else b.size(0.8, 3.2)
    spread = b.size(0.1, 0.5)
    for angle in np.linspace(-2.3, 2.3, 15):
        around = angle + math.pi / 2  # from one temple round the back to the other
        where = (1.02 * math.cos(around), 0.13 + 1.2 * math.sin(around), 0.55)
        turn = transform(where, yaw=angle, pitch=spread * b.size(0.3, 1.2), scale=(0.75, 1, long))
        put(
            card,
            Material(
                strands.texture,
                strands.tint,
                size * max(long, 0.75) * 0.91,
                cutout=True,
                person=True,
            ),
            turn,
        )
    if style > 0.9:
        put(
            rounded(0.6),
            _person_material(b, "cloth", "plain"),
            transform((0, 0.1, 1.0), scale=(1.1, 1.3, 0.5)),
        )
        brim = transform((0, -0.3, 0.75), scale=(1.2, 1.5, 0.06))
        put(meshes.cylinder(18), _person_material(b, "cloth", "plain"), brim)


@cache
def _cap() -> meshes.Mesh:
    """The upper half of a ball, a little more at the back."""
    angle = np.linspace(-0.1, np.pi / 2, 7)
    return meshes.lathe(np.stack([np.cos(angle), np.sin(angle)], -1), sides=18)


def _limb(
    b: Builder, start: Array, end: Array, radius: float, taper: float, material: Material
) -> None:
    mesh = meshes.limb(round(taper * 20) * 5)
    b.put(mesh, material, towards(np.asarray(start, float), np.asarray(end, float), radius=radius))


def _skin(b: Builder) -> Material:
    tone = np.array([0.95, 0.78, 0.68]) * b.size(0.35, 1.0) ** np.array([0.8, 1.1, 1.3])
    return Material(
        b.textures.pick(b.random, "plain"), tuple(tone), 0.5, 0.15, 0.25, 12, person=True
    )


def _person_material(b: Builder, *families: str) -> Material:
    tone = tuple(common(b.random, (0.08, 1.0)))
    tile = b.size(0.2, 0.8)
    return Material(b.textures.pick(b.random, *families), tone, tile, b.size(0.2, 1.0), person=True)
