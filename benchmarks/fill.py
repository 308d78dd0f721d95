"""Fill known regions that are shaped like disocclusions, and compare with the truth.

A disocclusion is thin, one-sided and runs along an object's outline: background on one side, an
occluder, which nobody may use, on the other. Three groups of tasks:

- `stereo`: the right picture of a rectified pair; the hole is what the left camera does not see,
  the occluder is what is nearer than the background beside it. True disocclusions, true colours.
- `outline`: a picture with human segmentation; objects are shifted sideways by 2-5 % of the width
  and what they uncover is the hole.
- `photo`: photos without truth at up to 1280 px; the objects are smooth random shapes.

Peers get the same knowledge: the occluder is part of what they must fill.
Metrics inside the hole: `psnr` (dB), `ssim` (Gaussian window 11, sigma 1.5), `texture` (mean total
variation distance, 0..1, between the histograms of gradient magnitude and of Gabor energies at four
orientations and two wavelengths; lower is better).

A fourth group, `disparity`, fills disparity behind occluders of synthetic scenes, whose truth is
exact: `rmse_px` and `worst_px` (in pixels of parallax at the default view box's limit) and `before`
(share of the hole's pixels that come before the occluder).

    python benchmarks/fill.py --data DIR [--json FILE] [--quick]
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from common import Result, arguments, load_items, pick, psnr, read_rgb, read_truth

from diorama.arrays import Array, Disparity, Mask, Rgb
from diorama.camera import Camera, ViewBox, disparity_per_px
from diorama.inpaint import FillTask, fill_disparity
from diorama.kernels.harmonic import nearest_values, solve_harmonic
from diorama.models.exemplar import Exemplar
from diorama.testing import Plane, Sphere, SyntheticScene, disc, rectangle, stripes

SEED = 0
MIXED_PX = 2
"""Pixels beside an occluder that carry its colour too: nobody may use them, nobody is judged on
them."""
SHIFTS = (0.02, 0.05)
"""How far objects move, as a share of the picture's width: 38 and 96 px at 1920 px."""
PHOTO_SIZE_PX = 1280
BIHARMONIC = "scikit-image-biharmonic"
BIHARMONIC_TILE_PX = 96
"""Biharmonic filling takes minutes on whole pictures, so it works tile by tile, and not at all on
the large `photo` group: its means over all groups are not to be compared."""
MIN_HOLE_PX = 50
"""Smaller holes say nothing."""

DISPARITY_SIZE = (1280, 960)
"""Width and height of the synthetic scenes."""
REVEALED_PX = 40
"""How far behind an occluder's outline disparity is filled."""
GREY = stripes((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0)


@dataclass(frozen=True)
class Case:
    """One picture with a hole whose content is known."""

    item: str
    group: str
    truth: Rgb
    task: FillTask


def cases(data: Path, *, quick: bool) -> Iterator[Case]:
    """All cases, group by group."""
    yield from _stereo_cases(data, quick=quick)
    yield from _outline_cases(data, quick=quick)
    yield from _photo_cases(data, quick=quick)


def _case(item: str, group: str, truth: Rgb, occluder: Mask, hole: Mask) -> Case:
    kernel = np.ones((2 * MIXED_PX + 1,) * 2, np.uint8)
    near = cv2.dilate(occluder.astype(np.uint8), kernel).astype(bool)
    hole = hole & ~near
    known = ~near & ~hole
    # What must not be looked at is made loud, so that a look would show in the score.
    rgb = np.where(known[..., None], truth, np.array([1, 0, 1], np.float32)).astype(np.float32)
    return Case(item, group, truth, FillTask(rgb, known, hole))


def _stereo_cases(data: Path, *, quick: bool) -> Iterator[Case]:
    items = [i for i in load_items(data, ["stereo"]) if "vis_right" in i["files"]]
    for item in pick(items, quick):
        truth = _floats(read_rgb(item, "right"))
        disparity = read_truth(item, "gt_right")
        hole = read_rgb(item, "vis_right")[..., 0] == 128
        hole = cv2.morphologyEx(hole.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        hole = hole.astype(bool) & np.isfinite(disparity)
        # The background's disparity is spread from the hole; what is nearer by 6 % of the
        # range is the occluder, and so is what has no truth.
        span = np.nanpercentile(disparity, 98) - np.nanpercentile(disparity, 2)
        beside = nearest_values(disparity, hole)
        occluder = ~hole & ~(disparity <= beside + 0.06 * span)
        yield _case(item["id"], "stereo", truth, occluder, hole)


def _outline_cases(data: Path, *, quick: bool) -> Iterator[Case]:
    rng = np.random.default_rng(SEED)
    for item in pick(load_items(data, ["segmentation"]), quick):
        truth = _floats(read_rgb(item))
        gt = np.load(data / item["files"]["gt"])
        if "segmentations" not in gt:
            continue
        segments = min(gt["segmentations"], key=lambda s: len(np.unique(s)))
        ids, areas = np.unique(segments, return_counts=True)
        objects = ids[(areas > 0.01 * segments.size) & (areas < 0.3 * segments.size)]
        for shift in SHIFTS:
            occluder, hole = _uncover([segments == i for i in objects], shift, rng)
            yield _case(f"{item['id']}@{shift}", "outline", truth, occluder, hole)


def _photo_cases(data: Path, *, quick: bool) -> Iterator[Case]:
    rng = np.random.default_rng(SEED)
    for item in pick(load_items(data, ["photo"]), quick):
        picture = read_rgb(item)
        scale = min(1.0, PHOTO_SIZE_PX / max(picture.shape))
        truth = _floats(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        height, width = truth.shape[:2]
        noise = rng.standard_normal((24, round(24 * width / height))).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
        smooth = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)
        shape = smooth > np.percentile(smooth, 75)
        for shift in SHIFTS:
            occluder, hole = _uncover([shape], shift, rng)
            yield _case(f"{item['id']}@{shift}", "photo", truth, occluder, hole)


def _uncover(shapes: list[Mask], shift: float, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Occluder and hole when the objects move sideways by up to `shift` of the width."""
    occluder, covered = np.zeros_like(shapes[0]), np.zeros_like(shapes[0])
    for shape in shapes:
        side = 1 if rng.random() < 0.5 else -1
        step_px = max(3, round(shift * shape.shape[1] * rng.uniform(0.5, 1.0)))
        moved = np.zeros_like(shape)
        # Swept, not copied: a camera may stop anywhere on its way.
        for px in range(step_px + 1):
            cut = slice(px, None) if side > 0 else slice(None, shape.shape[1] - px)
            take = slice(None, shape.shape[1] - px) if side > 0 else slice(px, None)
            moved[:, cut] |= shape[:, take]
        # A hole beside another object, or another hole, would have no known side.
        if (covered & moved).any() or (occluder & moved).mean() > 0.05:
            continue
        occluder |= shape
        covered |= moved
    return occluder, covered & ~occluder


def _floats(rgb: Array) -> Rgb:
    return rgb.astype(np.float32) / 255


def _bytes(rgb: Rgb) -> Array:
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def fill_exemplar(task: FillTask) -> Rgb:
    filled = task.rgb.copy()
    filled[task.hole] = Exemplar().inpaint([task], seed=SEED)[0]
    return filled


def fill_telea(task: FillTask) -> Rgb:
    return _opencv(task, cv2.INPAINT_TELEA)


def fill_navier_stokes(task: FillTask) -> Rgb:
    return _opencv(task, cv2.INPAINT_NS)


def _opencv(task: FillTask, method: int) -> Rgb:
    unknown = (~task.known).astype(np.uint8)
    return cv2.inpaint(_bytes(task.rgb), unknown, 5, method).astype(np.float32) / 255


def fill_edge_stretch(task: FillTask) -> Rgb:
    """The nearest known pixel's colour."""
    return nearest_values(task.rgb, task.known)


def fill_biharmonic(task: FillTask) -> Rgb:
    """scikit-image's, tile by tile; the occluder is unknown as far as the hole reaches."""
    from skimage.restoration import inpaint_biharmonic

    stretched = fill_edge_stretch(task)
    grown = cv2.dilate(task.hole.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    # Far inside the occluder nothing is asked; stretched colours there keep the system small.
    unknown = task.hole | (grown & ~task.known)
    result = stretched.copy()
    height, width = unknown.shape
    for top in range(0, height, BIHARMONIC_TILE_PX):
        for left in range(0, width, BIHARMONIC_TILE_PX):
            inner = np.s_[top : top + BIHARMONIC_TILE_PX, left : left + BIHARMONIC_TILE_PX]
            if not task.hole[inner].any():
                continue
            y, x = max(0, top - 16), max(0, left - 16)
            outer = np.s_[y : top + BIHARMONIC_TILE_PX + 16, x : left + BIHARMONIC_TILE_PX + 16]
            tile = inpaint_biharmonic(stretched[outer], unknown[outer], channel_axis=-1)
            at = (top - y, left - x)
            size = result[inner].shape
            result[inner] = tile[at[0] : at[0] + size[0], at[1] : at[1] + size[1]]
    return np.clip(np.where(task.hole[..., None], result, task.rgb), 0, 1).astype(np.float32)


def score(case: Case, filled: Rgb) -> dict[str, float]:
    """PSNR, SSIM and texture distance inside the hole."""
    hole = case.task.hole
    result = np.where(hole[..., None], np.clip(filled, 0, 1), case.truth).astype(np.float32)
    return {
        "psnr": psnr(result, case.truth, hole),
        "ssim": float(_ssim_map(result, case.truth)[hole].mean()),
        "texture": _texture_distance(result, case.truth, hole),
    }


def _ssim_map(a: Rgb, b: Rgb) -> Array:
    def blur(x: Array) -> Array:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return (ssim / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(-1)


def _texture_distance(a: Rgb, b: Rgb, hole: Mask) -> float:
    distances = []
    for have, want in zip(_texture_energies(a), _texture_energies(b), strict=True):
        # Bins of equal ratio: as much weight to faint as to strong texture.
        edges = np.r_[-np.inf, np.geomspace(0.002, 0.5, 15), np.inf]
        p = np.histogram(have[hole], edges)[0] / hole.sum()
        q = np.histogram(want[hole], edges)[0] / hole.sum()
        distances.append(0.5 * np.abs(p - q).sum())
    return float(np.mean(distances))


def _texture_energies(rgb: Rgb) -> list[Array]:
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    gradient = np.hypot(cv2.Scharr(luma, -1, 1, 0), cv2.Scharr(luma, -1, 0, 1)) / 32
    energies = [gradient]
    for wavelength in (4.0, 8.0):
        for angle in np.arange(4) * np.pi / 4:
            parts = []
            for phase in (0.0, np.pi / 2):
                size = int(2 * wavelength) | 1
                gabor = cv2.getGaborKernel(
                    (size, size), wavelength * 0.5, angle, wavelength, 1.0, phase
                )
                gabor -= gabor.mean()
                gabor /= np.abs(gabor).sum()
                parts.append(cv2.filter2D(luma, -1, gabor.astype(np.float32)))
            energies.append(np.hypot(*parts))
    return energies


def disparity_scenes() -> dict[str, SyntheticScene]:
    """Surfaces whose last one hides what must be filled."""
    camera = Camera.from_fov(*DISPARITY_SIZE)
    card = Plane((0, 0, 1), 1.0, GREY, rectangle(-0.2, -0.2, 0.15, 0.3))
    round_card = Plane((0, 0, 1), 1.0, GREY, disc(0.05, 0.05, 0.22))
    floor, wall = Plane((0, 1, 0), 0.5, GREY), Plane((0, 0, 1), 5.0, GREY)
    return {
        "floor": SyntheticScene((floor, card), camera),
        "floor and wall": SyntheticScene((wall, floor, card), camera),
        "standing on a floor": SyntheticScene(
            (wall, floor, Plane((0, 0, 1), 2.0, GREY, rectangle(-0.3, -0.3, 0.2, 0.5))), camera
        ),
        "slanted wall": SyntheticScene((Plane((0.6, 0.2, 1), 3.0, GREY), card), camera),
        "steep wall": SyntheticScene((Plane((1.2, 0, 1), 3.0, GREY), round_card), camera),
        "corner": SyntheticScene(
            (Plane((0.8, 0, 1), 3.0, GREY), Plane((-0.8, 0, 1), 3.0, GREY), round_card), camera
        ),
        "curved": SyntheticScene((wall, Sphere((0.0, 0.0, 3.0), 1.4, GREY), round_card), camera),
        "curved and steep": SyntheticScene(
            (wall, Sphere((-0.7, 0.2, 2.6), 1.3, GREY), card), camera
        ),
    }


def add_disparity_rows(result: Result) -> None:
    for name, scene in disparity_scenes().items():
        seen = scene.disparity()
        truth = SyntheticScene(scene.surfaces[:-1], scene.camera).disparity()
        occluder = scene.masks().labels == len(scene.surfaces) - 1
        inside_px = cv2.distanceTransform(occluder.astype(np.uint8), cv2.DIST_L2, 5)
        hole = occluder & (inside_px <= REVEALED_PX)
        per_px = disparity_per_px(scene.camera, ViewBox())
        for method, fill in DISPARITY_METHODS.items():
            filled = fill(seen, ~occluder, hole)
            error_px = np.abs(filled - truth)[hole] / per_px
            metrics = {
                "rmse_px": float(np.sqrt(np.square(error_px).mean())),
                "worst_px": float(error_px.max()),
                "before": float((filled > seen)[hole].mean()),
            }
            result.add(name, method, {f"disparity.{key}": v for key, v in metrics.items()})


def plane_and_rest(disparity: Disparity, known: Mask, hole: Mask) -> Disparity:
    return fill_disparity(disparity, known, hole, upper=disparity)


def harmonic_only(disparity: Disparity, known: Mask, hole: Mask) -> Disparity:
    filled = disparity.copy()
    filled[hole] = solve_harmonic(disparity[..., None], known, hole)[:, 0]
    return filled


def telea_disparity(disparity: Disparity, known: Mask, hole: Mask) -> Disparity:
    del hole  # as for colours, the occluder is unknown, too
    steps = 65535 / float(disparity.max())  # OpenCV's filling of floats looks under the mask
    whole = np.where(known, np.rint(disparity * steps), 0).astype(np.uint16)
    filled = cv2.inpaint(whole, (~known).astype(np.uint8), 5, cv2.INPAINT_TELEA)
    return (filled / steps).astype(np.float32)


def nearest_disparity(disparity: Disparity, known: Mask, hole: Mask) -> Disparity:
    del hole
    return nearest_values(disparity, known)


DISPARITY_METHODS = {
    "diorama": plane_and_rest,
    "harmonic without plane": harmonic_only,
    "opencv-telea": telea_disparity,
    "edge-stretching": nearest_disparity,
}

METHODS = {
    "diorama": fill_exemplar,
    "opencv-telea": fill_telea,
    "opencv-navier-stokes": fill_navier_stokes,
    "edge-stretching": fill_edge_stretch,
    BIHARMONIC: fill_biharmonic,
}


def main() -> None:
    args = arguments("Fill regions shaped like disocclusions and compare with the truth.")
    result = Result("fill", seed=SEED)
    for case in cases(args.data, quick=args.quick):
        if case.task.hole.sum() < MIN_HOLE_PX:
            continue
        for name, fill in METHODS.items():
            if name == BIHARMONIC and case.group == "photo":
                continue
            scores = score(case, fill(case.task))
            grouped = {f"{case.group}.{metric}": value for metric, value in scores.items()}
            result.add(case.item, name, {**scores, **grouped})
    add_disparity_rows(result)
    result.finish(args)


if __name__ == "__main__":
    main()
