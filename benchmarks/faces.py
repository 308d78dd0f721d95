"""Heads of portraits, with and without what is known of faces.

On every photo with a face: how much nearer the nose is than the ears (`nose`, disparity over
disparity), the largest step of disparity from pixel to pixel where the head's relief meets the rest
of the person (`border_step`) and along forehead and chin (`skin_step`), in hundredths of the
person's disparity, and the share of what is filled behind the head whose colour is the person's
rather than the background's (`leak`): nearer, in CIELAB, to what is just inside of the outline than
to what is just outside. `plain` is the same photo with `faces="none"`, where the person may be in
several layers, so that nothing is simply behind.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from common import Result, arguments, load_items, read_rgb

from diorama import SceneConfig, photo_to_scene
from diorama.portrait import Face, masks_of

INSIDE, OUTSIDE = (0.004, 0.02), (0.01, 0.03)
"""Strips along the outline, in long sides of the photo, whose colours are compared."""


def main() -> None:
    args = arguments(__doc__ or "")
    result = Result("faces")
    for item in load_items(args.data, ("photo",)):
        rgb = read_rgb(item)
        scene = photo_to_scene(rgb, config=SceneConfig(faces="cascade"))
        faces = [Face.from_dict(values) for values in scene.provenance["faces"]]
        if not faces:
            continue
        person = scene.masks.labels == masks_of(faces[:1], scene.masks.labels)[0]
        plain = photo_to_scene(rgb, config=SceneConfig(faces="none"))
        result.add(item["id"], "plain", score(plain, person, faces[0]))
        leaks = {"leak": leak(scene, person, faces[0])}
        result.add(item["id"], "diorama", {**score(scene, person, faces[0]), **leaks})
    result.finish(args)


def score(scene, person: np.ndarray, face: Face) -> dict[str, float]:
    """The measures of one scene; `person` is who has the face."""
    left, right, mouth = (np.array(p) for p in (face.left_eye, face.right_eye, face.mouth))
    across, middle = right - left, (left + right) / 2
    down = (mouth - middle) / 1.12
    d = np.where(person, scene.disparity, np.nan)

    def along(places: Sequence[tuple[float, float]]) -> np.ndarray:
        points = np.array([middle + u * across + v * down for u, v in places])
        x, y = np.clip(points.T.astype(int), 0, np.array(d.shape[::-1])[:, None] - 1)
        return d[y, x]

    nose = np.nanmax(along([(0, v) for v in np.linspace(0.55, 0.8, 11)]))
    ears = np.nanmax(along([(u, 0.3) for u in (-1.2, -1.1, 1.1, 1.2)]))
    angle = np.linspace(0, 2 * np.pi, 180)
    rim = [
        (r * 1.75 * np.sin(a), 0.1 + r * 2.3 * np.cos(a)) for a in angle for r in (0.97, 1, 1.03)
    ]
    across_rim = np.abs(np.diff(along(rim).reshape(-1, 3), axis=1)) / (0.05 * np.hypot(*across))
    fine = np.linspace(0, 1, 200)
    skin = [[(0, -0.3 - 0.7 * t) for t in fine], [(0, 1.3 + 0.4 * t) for t in fine]]
    unit = 100 / np.nanmedian(d)
    return {
        "nose": float(nose / ears),
        "border_step": float(unit * np.nanpercentile(across_rim, 98)),
        "skin_step": float(unit * max(np.nanmax(np.abs(np.diff(along(line)))) for line in skin)),
    }


def leak(scene, person: np.ndarray, face: Face) -> float:
    """Share of the pixels filled behind the head whose colour is the person's."""
    left, right = np.array(face.left_eye), np.array(face.right_eye)
    middle, unit = (left + right) / 2, np.hypot(*(right - left))
    long_side = max(person.shape)
    inner = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, 5) / long_side
    outer = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5) / long_side
    y, x = np.indices(person.shape)
    head = np.hypot(x - middle[0], y - middle[1]) < 3 * unit
    lab = cv2.cvtColor(scene.photo.rgb, cv2.COLOR_RGB2LAB)
    own = lab[head & (inner > INSIDE[0]) & (inner < INSIDE[1])][::7]
    other = lab[head & (outer > OUTSIDE[0]) & (outer < OUTSIDE[1])][::7]
    filled = []
    for layer in scene.layers:
        hidden = layer.hole & head & person
        # A layer that shows some of the person fills behind that, too, and may.
        if (layer.rgba[..., 3][person & ~layer.hole] > 0.5).mean() < 0.02:
            filled.append(cv2.cvtColor(layer.rgba[..., :3], cv2.COLOR_RGB2LAB)[hidden][::5])
    colors = np.concatenate(filled)
    return float(np.mean(nearest(colors, own) < nearest(colors, other)))


def nearest(colors: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The distance of each colour to the nearest of others."""
    parts = [
        np.sqrt(np.square(part[:, None] - among[None]).sum(-1)).min(1)
        for part in np.array_split(colors, max(1, len(colors) // 500))
    ]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
