"""Real people cut out and put into other pictures, where their depth follows from their feet."""

from dataclasses import replace

import cv2
import numpy as np

from diorama.arrays import Array
from training.real import Cutout, Folder
from training.scenes.sample import EDGES, PERSON, Sample, occlusion_edges


def add_people(random: np.random.Generator, sample: Sample, folder: Folder) -> Sample:
    """Put one to three cut-outs into a drawn scene, each at a depth of its own."""
    photo = sample.photo.astype(np.float32)
    disparity, person = sample.disparity.copy(), sample.person.copy()
    normal, instance = sample.normal.copy(), sample.instance.copy()
    height, width = disparity.shape
    for k in range(int(random.integers(1, 4))):
        rgb, alpha = _placed(random, _pick(random, folder), (height, width))
        if alpha.max() < 0.5:
            continue
        rows, columns = np.nonzero(alpha > 0.5)
        foot = rows.max()
        below = disparity[foot, columns[rows == foot]]
        behind = disparity[alpha > 0.5]
        # Feet that are seen stand on something; a person cut by the frame is nearer than all there.
        depth = float(np.median(below)) if foot < height - 2 else float(np.percentile(behind, 95))
        depth = max(depth * random.uniform(1.0, 1.3), 1e-3)
        share = alpha * (depth > disparity)
        photo += (rgb - photo) * share[..., None]
        solid = share > 0.5
        disparity[solid], instance[solid] = depth, sample.instance.max() + 1 + k
        normal[solid] = (0, 0, -1)
        person = 1 - (1 - person) * (1 - share)
    return replace(
        sample,
        photo=np.rint(photo).astype(np.uint8),
        disparity=disparity,
        person=person,
        normal=normal,
        instance=instance,
        edges=occlusion_edges(disparity, instance),
    )


def people_over_photo(
    random: np.random.Generator, folder: Folder, size: tuple[int, int]
) -> tuple[Sample, Array]:
    """Cut-outs over a real photo, whose depth is unknown; and which truths hold where."""
    height, width = size
    back = folder.photos[int(random.integers(len(folder.photos)))]
    scale = max(height / back.shape[0], width / back.shape[1]) * random.uniform(1.0, 1.5)
    back = cv2.resize(back, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    top = int(random.integers(0, back.shape[0] - height + 1))
    left = int(random.integers(0, back.shape[1] - width + 1))
    photo = back[top : top + height, left : left + width].astype(np.float32)
    person = np.zeros(size, np.float32)
    for _ in range(int(random.integers(1, 3))):
        rgb, alpha = _placed(random, _pick(random, folder), size)
        photo += (rgb - photo) * alpha[..., None]
        person = 1 - (1 - person) * (1 - alpha)
    solid = (person > 0.5).astype(np.uint8)
    edges = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    # Inside and behind, the photo may have edges of its own that nobody knows.
    near = cv2.dilate(edges, np.ones((5, 5), np.uint8)) > 0
    known = np.full(size, PERSON, np.uint8)
    known[near] |= EDGES
    sample = Sample(
        np.rint(photo).astype(np.uint8),
        np.zeros(size, np.float32),
        np.zeros((*size, 3), np.float32),
        edges,
        person,
        solid.astype(np.int32),
    )
    return sample, known


def _pick(random: np.random.Generator, folder: Folder) -> Cutout:
    usable = [cutout for cutout in folder.cutouts if not cutout.held_out]
    return usable[int(random.integers(len(usable)))]


def _placed(
    random: np.random.Generator, cutout: Cutout, size: tuple[int, int]
) -> tuple[Array, Array]:
    """Colour (H, W, 3) and alpha (H, W) of a cut-out, scaled, mirrored and moved into a frame."""
    height, width = size
    rows, columns = np.nonzero(cutout.alpha > 0.5)
    if not len(rows):
        return np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    tall = max(1, int(rows.max() - rows.min()))
    scale = height * random.uniform(0.25, 1.2) / tall
    # Those cut off by their own frame's lower edge go to this frame's lower edge.
    cut = rows.max() >= cutout.alpha.shape[0] - 3
    bottom = height + 1 if cut else height * random.uniform(0.7, 1.05)
    middle = width * random.uniform(0.1, 0.9)
    mirror = -1 if random.random() < 0.5 else 1
    centre = (columns.min() + columns.max()) / 2
    matrix = np.array(
        [
            [mirror * scale, 0, middle - mirror * scale * centre],
            [0, scale, bottom - scale * rows.max()],
        ]
    )
    rgb = cv2.warpAffine(cutout.rgb, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(cutout.alpha, matrix, (width, height))
    light = random.uniform(0.7, 1.2, 3) * random.uniform(0.8, 1.2)
    return np.clip(rgb.astype(np.float32) * light.astype(np.float32), 0, 255), alpha
