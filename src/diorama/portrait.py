"""Portraits: who is in the photo, as one mask each, and faces with the relief of a head.

A person is where a matte and the place below and around a face agree; colour draws the outline
(Rother, Kolmogorov and Blake, "GrabCut", 2004). A network sees a face as a blob: it is given the
relief r of a head (`diorama.head`), which the scene's disparity d0 meets around the head,

``Laplace d = Laplace r`` on head and hair,  ``d = d0`` where the person goes on around it,

and which runs out freely where the person ends (Perez et al., "Poisson image editing", 2003).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Labels, Mask, Rgb
from diorama.camera import Camera
from diorama.head import CHIN, MOUTH, NOSE, PUPILS_M, head_relief
from diorama.kernels.harmonic import solve_harmonic
from diorama.masks import Prompt, SeenPhoto
from diorama.photo import Photo

WORK_SIZE = 400
"""Long side in pixels at which people are looked for."""

LEAST_MATTE = 0.4
"""Mean of the matte over what is a face."""

INSIDE_ODDS, ODDS_FALL, LEAST_ODDS = 2.0, 4.0, -9.0
"""Logarithms of the odds that the place below and around a face says: within head and body, how
fast they fall outside (a distance between the pupils), and at least."""

NOBODY_ODDS = -4.0
"""With the matte's odds: below, colour is not asked."""

CERTAIN_FACE, TRUNK = 0.85, (0.9, 1.8, 5.0)
"""What is a person whatever colour says: so much of the face's oval, and, if the matte agrees,
what is no farther from the middle than this, between these v."""

ASIDE = 0.2
"""What a distance between the pupils from the middle counts for, beside one outside of a person."""

CUT_ROUNDS, LEAST_SAMPLES = 4, 50
"""Of GrabCut: rounds, and pixels on either side that its models of colour need."""

SMALLEST_PX = 6.0
"""Distance between the pupils below which a face is flat."""

NEAREST_M = 0.35
"""Nearer than this no face is taken to be, whatever the camera."""

LARGEST_TURN = 0.6
"""Radians: detectors of frontal faces see none turned farther."""

FACE, HEAD = (0.0, 0.32, 1.08, 1.42), (0.0, 0.1, 1.75, 2.3)
"""Middle and half axes of ovals, in distances between the pupils: forehead to chin; with hair."""

RIM = 0.02
"""Width of a person's rim, in long sides of the photo: an estimator's edges are that far off."""

LIMB = 3.0
"""Rims from the trunk, beyond which it is a limb."""

CHEST = 3.5
"""v of the chest."""

MIDDLE = 0.3
"""Of a face's oval: eyes to mouth, which is nobody else's."""

HAIR_REACH = 0.5
"""How far hair may stand off the head, in distances between the pupils."""

LARGEST = 1e6
"""Of a face's places, in pixels."""

PUPIL_DEPTH = 0.15
"""How far back pupils lie behind the place between the eyes."""

HAIR = -0.75
"""How far back ears and hair are: there the head's sides end for those who look at it."""


@dataclass(frozen=True)
class Face:
    """Where a face is: (x, y) in pixels of the photo, pixel centres at +0.5."""

    left_eye: tuple[float, float]
    """The eye on the picture's left."""
    right_eye: tuple[float, float]
    mouth: tuple[float, float]
    """The middle of the mouth."""
    nose: tuple[float, float] | None = None
    """The tip; None: the face looks at the camera, as far as is known."""
    score: float = 1.0
    """How sure the detector is, 0..1."""

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Face":
        """The face that `dataclasses.asdict` made these of, or JSON of them.

        Raises:
            KeyError, TypeError, ValueError: if it did not.
        """
        left, right, mouth, nose = (
            values[name]
            if values[name] is None
            else (float(values[name][0]), float(values[name][1]))
            for name in ("left_eye", "right_eye", "mouth", "nose")
        )
        if left is None or right is None or mouth is None:
            raise ValueError("a face has two eyes and a mouth")
        if not all(
            abs(value) < LARGEST for place in (left, right, mouth, nose or ()) for value in place
        ):
            raise ValueError("a face lies somewhere in the photo")
        return Face(left, right, mouth, nose, float(values["score"]))


@runtime_checkable
class FaceDetector(Protocol):
    """Anything that finds faces."""

    def detect(self, photo: Photo) -> tuple[Face, ...]:
        """Find the faces in `photo.rgb`, the largest first; deterministic."""
        ...


@runtime_checkable
class MatteEstimator(Protocol):
    """Anything that tells people from the rest."""

    def matte(self, photo: Photo) -> Alpha:
        """(H, W) float32: how much of each pixel of `photo.rgb` is people; deterministic."""
        ...


def confirmed(faces: Sequence[Face], matte: Alpha) -> tuple[Face, ...]:
    """Those faces where a matte says that people are: detectors see faces in stones, too.

    Args:
        faces: what a detector found.
        matte: (H, W) where people are.
    """
    kept = []
    for face in faces:
        frame = _frame(face)
        if (box := _box(frame, matte.shape)) is not None:
            oval = _in_oval(*frame.places_in(box), FACE)
            if oval.any() and matte[box][oval].mean() > LEAST_MATTE:
                kept.append(face)
    return tuple(kept)


def find_people(rgb: Rgb, matte: Alpha, faces: Sequence[Face]) -> Labels:
    """Find the people whose faces are known.

    Args:
        rgb: (H, W, 3) the photo.
        matte: (H, W) an estimate of where people are, which may be rough.
        faces: theirs.

    Returns:
        (H, W) int32: k + 1 where the person with the k-th face is, 0 where nobody of them.
    """
    height, width = rgb.shape[:2]
    if not faces:
        return np.zeros((height, width), np.int32)
    scale = min(1.0, WORK_SIZE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.clip(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), 0, 1)
    share = np.clip(cv2.resize(matte, size, interpolation=cv2.INTER_AREA), 0.02, 0.98)
    face, trunk = np.zeros((2, *size[::-1]), bool)
    outside, away = [], []
    for each in faces:
        u, v = _frame(each, scale).places_in((slice(0, size[1]), slice(0, size[0])))
        outside.append(_outside(u, v))
        away.append(_away(u, v))
        face |= _in_oval(u, v, FACE, CERTAIN_FACE)
        trunk |= (abs(u) < TRUNK[0]) & (v > TRUNK[1]) & (v < TRUNK[2])
    near = np.maximum(INSIDE_ODDS - ODDS_FALL * np.min(outside, axis=0), LEAST_ODDS)
    odds = np.log(share / (1 - share)) + near
    marks = np.where(odds > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[odds < NOBODY_ODDS] = cv2.GC_BGD
    marks[face | (trunk & (share > 0.5))] = cv2.GC_FGD
    inside = np.count_nonzero(marks & 1)  # certain and probable foreground are odd
    if face.any() and min(inside, marks.size - inside) >= LEAST_SAMPLES:
        cv2.setRNGSeed(0)  # its colour models start at random
        models = np.zeros((1, 65)), np.zeros((1, 65))
        pixels = np.rint(255 * small[..., ::-1]).astype(np.uint8)
        cv2.grabCut(pixels, marks, None, *models, CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)  # pyright: ignore
    solid = _joined_to((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD), face)
    # Of two who stand side by side a pixel is whose face is nearer, each by its own measure.
    whose = np.argmin(away, axis=0).astype(np.uint16) + 1
    whose = cv2.resize(whose, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(_refined(solid, rgb), whose, 0).astype(np.int32)


def point_at_people(seen: SeenPhoto, faces: Sequence[Face], shape: tuple[int, ...]) -> Labels:
    """As `find_people`, by a model that finds what is pointed at: at face and chest.

    Args:
        seen: the photo, as the model has seen it.
        faces: of who is looked for.
        shape: (H, W) of the photo.
    """
    height, width = shape[:2]
    people = np.zeros((height, width), np.int32)
    nearest = np.full((height, width), np.inf, np.float32)
    frames = [_frame(face) for face in faces]
    prompts = []
    for frame in frames:
        points = [frame.place(0, v) for v in (0.0, MOUTH, CHEST)]
        within = [(x, y) for x, y in points if 0 <= x < width and 0 <= y < height]
        corner = min(max(points[0][0], 0), width - 0.5), min(max(points[0][1], 0), height - 0.5)
        prompts.append(Prompt(inside=tuple(within or [corner])))
    for number, (frame, found) in enumerate(zip(frames, seen.masks(prompts), strict=True), 1):
        u, v = frame.places_in((slice(0, height), slice(0, width)))
        away = _away(u, v)
        nearer = found.mask & (away < nearest)
        people[nearer], nearest[nearer] = number, away[nearer]
    return people


def masks_of(faces: Sequence[Face], labels: Labels) -> list[int]:
    """Of each face in the photo, the label that most of its middle has, (H, W) int32 masks."""
    found = []
    for face in faces:
        frame = _frame(face)
        if (box := _box(frame, labels.shape)) is not None:
            u, v = frame.places_in(box)
            if (middle := _in_oval(u, v, FACE, MIDDLE)).any():
                found.append(int(np.bincount(labels[box][middle]).argmax()))
    return found


def hair_of(faces: Sequence[Face], shape: tuple[int, ...]) -> Mask:
    """(H, W) bool: where the outlines of these people's heads may be hair."""
    hair = np.zeros(shape[:2], bool)
    for face in faces:
        frame = _frame(face)
        if (box := _box(frame, shape)) is not None:
            u, v = frame.places_in(box)
            hair[box] |= (_outside_head(u, v) < HAIR_REACH) & ~_in_oval(u, v, FACE)
    return hair


def settle_outlines(disparity: Disparity, faces: Sequence[Face], labels: Labels) -> Disparity:
    """Let an estimate's outlines of people lie where their masks have them.

    Args:
        disparity: (H, W) in 1/scene units; not changed.
        faces: where they are.
        labels: (H, W) int32, masks: a person is the one between a face's eyes and mouth.

    Returns:
        (H, W) float32, the same but beside their outlines, on both sides.
    """
    result = disparity.copy()
    reach = max(1, round(RIM * max(disparity.shape)))
    people = [labels == own for own in sorted(set(masks_of(faces, labels)))]
    for person in people:
        _settle_rim(result, person, reach)
    if people:
        _settle_behind(result, np.logical_or.reduce(people), reach)
    return result


def add_faces(
    disparity: Disparity, faces: Sequence[Face], labels: Labels, camera: Camera
) -> Disparity:
    """Give every face the relief of a head.

    Args:
        disparity: (H, W) in 1/scene units; not changed.
        faces: where they are.
        labels: (H, W) int32, masks: a face ends where the one between its eyes and its mouth does.
        camera: tells how far away a face is, and so how much of its disparity its relief is.

    Returns:
        (H, W) float32, the same but on faces.
    """
    result = disparity.copy()
    for face in faces:
        frame = _frame(face)
        box = _box(frame, disparity.shape)
        if frame.unit < SMALLEST_PX or box is None or not (own := masks_of([face], labels)):
            continue
        u, v = frame.places_in(box)
        person, oval = labels[box] == own[0], _in_oval(u, v, HEAD)
        inside, around = oval & person, person & ~oval
        relief = _relief(frame, u, v, result[box], inside, camera)
        rest = (result[box] - relief)[..., None]
        result[box][inside] = relief[inside] + solve_harmonic(rest, around, inside)[:, 0]
    return np.maximum(result, 0)


@dataclass(frozen=True)
class _Frame:
    """A face's own axes."""

    origin: Array
    """(2,): between the eyes."""
    right: Array
    """(2,) unit vector from eye to eye."""
    unit: float
    """Pixels between the pupils, were the face not turned."""
    stretch: float
    """How much longer it is, from eyes to mouth, than most."""
    yaw: float
    """Radians; positive to the picture's right."""

    def place(self, u: float, v: float) -> tuple[float, float]:
        """X and y, in pixels, of a place on the face."""
        down = np.array([-self.right[1], self.right[0]])
        v *= self.stretch if v > 0 else 1
        x, y = self.origin + self.unit * (u * self.right + v * down)
        return float(x), float(y)

    def places_in(self, box: tuple[slice, slice]) -> tuple[Array, Array]:
        """(h, w) float32 each: u and v (`diorama.head`) of a box's pixels."""
        rows, columns = box
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] + 0.5 - self.origin[0]
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5 - self.origin[1]
        u = (x * self.right[0] + y * self.right[1]) / self.unit
        v = (y * self.right[0] - x * self.right[1]) / self.unit
        return u.astype(np.float32), (v / np.where(v > 0, self.stretch, 1)).astype(np.float32)


def _frame(face: Face, scale: float = 1.0) -> _Frame:
    left, right, mouth = (
        scale * np.array(place) for place in (face.left_eye, face.right_eye, face.mouth)
    )
    middle, across = (left + right) / 2, right - left
    apart = max(float(np.hypot(*across)), 1e-3)
    across = across / apart
    down = np.array([-across[1], across[0]])
    yaw = 0.0
    if face.nose is not None:
        # The tip stands out of the line between the pupils, which lie behind the lids.
        aside = float((scale * np.array(face.nose) - middle) @ across) / apart
        tip = float(head_relief(np.zeros(1), np.array([NOSE]))[0]) + PUPIL_DEPTH
        yaw = float(np.clip(np.arctan(aside / tip), -LARGEST_TURN, LARGEST_TURN))
    # Eyes of a turned head are closer together; its length does not change.
    unit = apart / np.cos(yaw)
    stretch = float(np.clip((mouth - middle) @ down / (MOUTH * unit), 0.75, 1.35))
    return _Frame(middle, across, unit, stretch, yaw)


def _relief(
    frame: _Frame, u: Array, v: Array, disparity: Array, inside: Mask, camera: Camera
) -> Array:
    """(h, w) float32: disparity of a head in front of or behind where the face is."""
    distance_m = max(float(camera.K[0, 0]) * PUPILS_M / frame.unit, NEAREST_M)
    relief = head_relief(u, v, frame.yaw) - np.float32(HAIR)
    # A maximum without a crease: hair goes on from where the face falls behind it.
    relief = 0.5 * (relief + np.sqrt(relief * relief + np.float32(0.1)))
    middle = np.float32(np.median(disparity[inside]))
    return middle / (1 - relief * np.float32(PUPILS_M / distance_m))


def _box(frame: _Frame, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns that hold the head and a little around it; None if it is not in there."""
    reach = 3.2 * frame.unit * max(frame.stretch, 1)
    spans = []
    for middle, side in ((frame.origin[1], shape[0]), (frame.origin[0], shape[1])):
        first, end = max(0, int(middle - reach)), min(side, int(middle + reach) + 1)
        if first >= end:
            return None
        spans.append(slice(first, end))
    return spans[0], spans[1]


def _settle_rim(disparity: Disparity, person: Mask, reach: int) -> None:
    """Let the outermost pixels of a person, in place, be no farther than those inside.

    An estimator's outline lies beside the one that colour has, and what is between the two would be
    as far away as the background. Limbs go on as they are where they have left the trunk.
    """
    size = 2 * reach + 1
    core = cv2.erode(person.astype(np.uint8), np.ones((size, size), np.uint8))
    away = cv2.distanceTransform(1 - core, cv2.DIST_L2, 3)
    rim = person & (core == 0) & (away < LIMB * reach)
    inner = solve_harmonic(disparity[..., None], person & ~rim, rim)[:, 0]
    disparity[rim] = np.maximum(disparity[rim], inner)


def _settle_behind(disparity: Disparity, people: Mask, reach: int) -> None:
    """The same of what is beside people: no nearer, in place, than what is farther outside."""
    away = cv2.distanceTransform((~people).astype(np.uint8), cv2.DIST_L2, 3)
    rim = ~people & (away <= reach)
    outer = solve_harmonic(disparity[..., None], ~people & ~rim, rim)[:, 0]
    disparity[rim] = np.minimum(disparity[rim], outer)


def _in_oval(u: Array, v: Array, oval: tuple[float, ...], size: float = 1.0) -> Mask:
    """Where an oval is, so much larger."""
    u0, v0, half_u, half_v = oval
    return ((u - u0) / half_u) ** 2 + ((v - v0) / half_v) ** 2 < size**2


def _outside(u: Array, v: Array) -> Array:
    """How far outside of head, hair and body, in distances between the pupils."""
    return np.minimum(_outside_head(u, v), _outside_body(u, v))


def _away(u: Array, v: Array) -> Array:
    """How little a place is a person's: outside, and also how far from the middle."""
    return _outside(u, v) + np.float32(ASIDE) * abs(u)


def _outside_head(u: Array, v: Array) -> Array:
    """How far outside of head and hair, in distances between the pupils."""
    radius = np.sqrt((u / 1.7) ** 2 + ((v - 0.1) / 2.5) ** 2)
    return 1.7 * np.maximum(radius - 1, 0)


def _outside_body(u: Array, v: Array) -> Array:
    """The same of shoulders, arms and long hair: the lower the wider."""
    half = np.clip(1.5 + 1.4 * (v - CHIN), 1.2, 6.0)
    return np.maximum(abs(u) - half, 0) + np.maximum(CHIN - 0.5 - v, 0)


def _joined_to(region: Mask, seeds: Mask) -> Mask:
    """The parts of a region that hold seeds, without holes smaller than a seventieth of it."""
    parts = np.asarray(cv2.connectedComponents(region.astype(np.uint8), connectivity=4)[1])
    region = region & np.isin(parts, parts[seeds & region])
    gaps = np.asarray(cv2.connectedComponents((~region).astype(np.uint8), connectivity=4)[1])
    small = np.bincount(gaps.ravel()) < region.sum() / 70
    small[0] = False
    return region | small[gaps]


def _refined(region: Array, rgb: Rgb) -> Mask:
    """(H, W) bool: a (h, w) region at the photo's size, its outline where colour has it."""
    height, width = rgb.shape[:2]
    share = cv2.resize(region.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    reach = max(2, round(1.5 * max(height, width) / max(region.shape)))
    # Its linear models of colour are fitted to fewer pixels where it reaches far (He and Sun,
    # "Fast guided filter", 2015).
    scale = min(1.0, 3 / reach)
    return cv2.ximgproc.guidedFilter(rgb, share, reach, 1e-3, scale=scale) > 0.5
