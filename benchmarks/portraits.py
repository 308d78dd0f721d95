"""People found by the embedded network, and with faces, beside GrabCut and an ellipse.

On the scenes of the training folder that training never sees (every tenth): intersection over
union of what is more person than not, and the sum of absolute differences of alpha in thousands,
for pictures with a binary mask and with a soft matte. GrabCut (Rother et al., 2004) is given a
rectangle a tenth inside the frame, open at the bottom, and 400 pixels, for it takes long.
`--pictures` writes photo, truth, ours and GrabCut's side by side.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from common import Result, arguments, time_ms

from diorama import registry
from diorama.camera import Camera
from diorama.photo import Photo
from diorama.portrait import confirmed, find_people

sys.path.insert(0, str(Path(__file__).parents[1]))

from training.real import Cutout, read_folder

MARGIN = 0.1
"""Of the rectangle and the ellipse, in sizes of the picture."""

GRABCUT_SIZE = 400
"""Long side in pixels at which GrabCut works."""

SHOWN_HEIGHT = 240


def main() -> None:
    args = arguments(__doc__ or "", pictures="a PNG file to write all pictures to")
    if not (args.data / "index.jsonl").exists():
        print(f"nothing to measure: {args.data} has no index.jsonl (the training folder has)")
        return
    result = Result("portraits")
    people = [cutout for cutout in read_folder(args.data).cutouts if cutout.held_out]
    rows = []
    for index, person in enumerate(people[:3] if args.quick else people):
        group = "matte" if is_soft(person) else "mask"
        alphas = predictions(person.rgb)
        for method, alpha in alphas.items():
            metrics = score(alpha, person.alpha)
            result.add(str(index), method, {f"{group}.{k}": v for k, v in metrics.items()})
        shown = [person.alpha, alphas["diorama"], alphas["grabcut"]]
        rows.append(np.hstack([as_shown(part) for part in (person.rgb, *shown)]))
    photo = people[0].rgb
    matte = found(photo)
    calls = {
        "diorama": lambda: found(photo),
        "diorama-faces": lambda: with_faces(photo, matte),
        "grabcut": lambda: grabcut(photo),
    }
    for method, ms in time_ms(calls, repeats=1 if args.quick else 5).items():
        result.add("first", method, {"ms": ms})
    if args.pictures:
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
        cv2.imwrite(args.pictures, np.vstack(padded)[..., ::-1])
    result.finish(args)


def predictions(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Each method's alpha (H, W) float32."""
    height, width = rgb.shape[:2]
    middle = np.zeros((height, width), np.float32)
    axes = round((0.5 - MARGIN) * width), round((0.5 - MARGIN) * height)
    cv2.ellipse(middle, (width // 2, height // 2), axes, 0, 0, 360, (1.0,), -1)
    matte = found(rgb)
    return {
        "diorama": matte,
        "diorama-faces": with_faces(rgb, matte),
        "grabcut": grabcut(rgb),
        "ellipse": middle,
    }


def as_photo(rgb: np.ndarray) -> Photo:
    camera = Camera.from_fov(rgb.shape[1], rgb.shape[0])
    return Photo(rgb.astype(np.float32) / 255, rgb, camera)


def found(rgb: np.ndarray) -> np.ndarray:
    """(H, W) float32: the embedded network's."""
    return registry.load("depth", "embedded").estimate(as_photo(rgb)).matte


def with_faces(rgb: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """(H, W) float32: the same, or, where a face is found, who has it."""
    photo = as_photo(rgb)
    faces = confirmed(registry.load("faces", "cascade").detect(photo), matte)
    if not faces:
        return matte
    return (find_people(photo.rgb, matte, faces) > 0).astype(np.float32)


def grabcut(rgb: np.ndarray) -> np.ndarray:
    """(H, W) float32, 0 or 1 before it is enlarged."""
    scale = min(1.0, GRABCUT_SIZE / max(rgb.shape))
    full, rgb = rgb, cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = rgb.shape[:2]
    left, top = round(MARGIN * width), round(MARGIN * height)
    labels = np.zeros((height, width), np.uint8)
    box = (left, top, width - 2 * left, height - top)
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(
        np.ascontiguousarray(rgb[..., ::-1]),
        *(labels, box, models[0], models[1], 5, cv2.GC_INIT_WITH_RECT),
    )
    person = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(person, full.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def is_soft(person: Cutout) -> bool:
    """Whether the truth is an alpha matte: more than a hundredth is neither 0 nor 1."""
    return bool(((person.alpha > 0.05) & (person.alpha < 0.95)).mean() > 0.01)


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Intersection over union and SAD of one picture."""
    ours, true = alpha > 0.5, truth > 0.5
    return {
        "iou": float((ours & true).sum() / max((ours | true).sum(), 1)),
        "sad": float(np.abs(alpha - truth).sum() / 1000),
    }


def as_shown(picture: np.ndarray) -> np.ndarray:
    """(240, w, 3) uint8."""
    if picture.ndim == 2:
        picture = np.repeat(np.rint(255 * picture).astype(np.uint8)[..., None], 3, 2)
    width = round(picture.shape[1] * SHOWN_HEIGHT / picture.shape[0])
    return cv2.resize(picture, (width, SHOWN_HEIGHT), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
