"""Speed of the mesher and of both renderers at 1920x1080, beside plain ways of doing the same.

The scene is made of a photo (the first large one in `--data`, or the bundled one) with at most 4,
and with at most 8 layers, and seen from a corner of its view box.

- ``mesh_slowest_layer``, ``mesh_all_layers``: `layer_mesh` and `layer_meshes`.
- ``render_meshes``: the layered meshes; ``peer_remap`` reads every layer backwards through its own
  disparity with ``cv2.remap`` and composites in NumPy: no surface is drawn, so where depth bends it
  is wrong by a few pixels.
- ``render_mpi``: 32 planes, of which the share ``occupancy`` of all tiles is kept; ``peer_planes``
  warps the same planes whole (premultiplied bytes) with ``cv2.warpPerspective`` and composites them
  in NumPy; ``peer_boxes`` leaves out what is empty: it does so inside each plane's bounding box.

``ms`` is the median of 7 warm runs (3 when quick), taking turns; ``cpu_ms`` the least time of one,
summed over threads; ``ratio`` a peer's time over ours, ``psnr_to_ours`` how near its picture is.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import common
import cv2
import numpy as np
from stages import choose, write_photo

from diorama.camera import Camera, Frame, project_from
from diorama.config import SceneConfig
from diorama.layers import LayersConfig
from diorama.mesh import layer_mesh, layer_meshes
from diorama.mpi import Mpi, build_mpi, render_mpi
from diorama.pipeline import photo_to_scene
from diorama.scene import Scene

NUM_PLANES = 32
BACKWARD = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def main() -> None:
    args = common.arguments(__doc__ or "", needs_data=False)
    result = common.Result("render")
    add_rows(result, choose(args.data), quick=args.quick)
    result.finish(args)


def add_rows(result: common.Result, source: Path, *, quick: bool) -> None:
    """Measure scenes of the photo's middle at 1920x1080."""
    for max_layers in (4, 8):
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / f"{source.stem}.jpg"
            write_photo(source, photo, 1920, 1080)
            config = SceneConfig(layers=LayersConfig(max_layers=max_layers))
            scene = photo_to_scene(photo, config=config)
        for method, metrics in measure(scene, 3 if quick else 7).items():
            result.add(source.name, f"{method}, {len(scene.layers)} layers", metrics)


def measure(scene: Scene, repeats: int) -> dict[str, dict[str, float]]:
    """All rows of one scene."""
    camera = scene.camera.at(*scene.view_box.corners()[0])
    mpi = build_mpi(scene.layers, scene.camera, num_planes=NUM_PLANES, view_box=scene.view_box)
    planes = whole_planes(mpi)
    boxes = [cv2.boundingRect(plane[..., 3]) for plane in planes]
    homographies = plane_homographies(mpi, camera)
    size = (camera.width, camera.height)
    textures = [premultiplied(layer.rgba) for layer in scene.layers]
    slowest = max(scene.layers, key=lambda layer: (layer.rgba[..., 3] > 0).sum())
    calls = {
        "mesh_slowest_layer": lambda: layer_mesh(slowest, scene.camera, scene.view_box),
        "mesh_all_layers": lambda: layer_meshes(scene.layers, scene.camera, scene.view_box),
        "render_meshes": lambda: scene.render(camera),
        "peer_remap": lambda: peer_remap(scene, textures, camera),
        "render_mpi": lambda: render_mpi(mpi, camera),
        "peer_planes": lambda: peer_planes(planes, homographies, size),
        "peer_boxes": lambda: peer_boxes(planes, boxes, homographies, size),
    }
    times = common.time_ms(calls, repeats=repeats)
    rows = {
        name: {"ms": ms, "cpu_ms": cpu_ms(calls[name], repeats), "fps": 1e3 / ms}
        for name, ms in times.items()
    }
    for ours, peers in (
        ("render_meshes", ["peer_remap"]),
        ("render_mpi", ["peer_planes", "peer_boxes"]),
    ):
        frame: Frame = calls[ours]()
        for peer in peers:
            rows[peer]["ratio"] = times[peer] / times[ours]
            rows[peer]["psnr_to_ours"] = common.psnr(
                calls[peer]()[..., :3], frame.rgb, frame.alpha > 0.99
            )
    rows["render_mpi"]["occupancy"] = mpi.occupancy
    rows["render_meshes"]["triangles"] = sum(len(mesh.triangles) for mesh in scene.meshes)
    return rows


def cpu_ms(call: Callable[[], object], repeats: int) -> float:
    """Least CPU time in milliseconds, summed over threads: it tells more where others work, too."""
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        spent.append((time.process_time() - begin) * 1e3)
    return min(spent)


def premultiplied(rgba: np.ndarray) -> np.ndarray:
    light = rgba * rgba[..., 3:]
    light[..., 3] = rgba[..., 3]
    return light


def peer_remap(scene: Scene, textures: Sequence[np.ndarray], camera: Camera) -> np.ndarray:
    """(H, W, 4) premultiplied: every layer read where its disparity, there, says it came from."""
    x, y = np.meshgrid(
        np.arange(camera.width, dtype=np.float32), np.arange(camera.height, dtype=np.float32)
    )
    moved = -camera.camera_to_world[:3, 3]
    out = np.zeros((camera.height, camera.width, 4), np.float32)
    for layer, texture in zip(scene.layers, textures, strict=True):
        map_x, map_y = project_from(scene.camera, moved, x + 0.5, y + 0.5, layer.disparity)
        maps = (map_x - 0.5).astype(np.float32), (map_y - 0.5).astype(np.float32)
        seen = cv2.remap(texture, *maps, cv2.INTER_LINEAR)
        out *= 1 - seen[..., 3:]
        out += seen
    return out


def whole_planes(mpi: Mpi) -> list[np.ndarray]:
    """Each plane (H, W, 4) uint8, premultiplied."""
    return [
        np.rint(premultiplied(mpi.plane(i)) * 255).astype(np.uint8)
        for i in range(len(mpi.disparities))
    ]


def plane_homographies(mpi: Mpi, camera: Camera) -> list[np.ndarray]:
    """From a pixel of `camera`, centres at whole numbers as in OpenCV, to the plane's."""
    position, K = camera.camera_to_world[:3, 3], mpi.camera.K
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    back = np.linalg.inv(shift)
    rays = np.linalg.inv(camera.K)
    return [
        back @ K @ (d * np.outer(position, rays[2]) + (1 - d * position[2]) * rays) @ shift
        for d in mpi.disparities.astype(np.float64)
    ]


def peer_planes(
    planes: Sequence[np.ndarray], homographies: Sequence[np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """(H, W, 4) premultiplied: whole planes, warped and composited back to front."""
    out = np.zeros((size[1], size[0], 4), np.float32)
    for plane, homography in zip(planes, homographies, strict=True):
        composite(out, cv2.warpPerspective(plane, homography, size, flags=BACKWARD))
    return out


def peer_boxes(
    planes: Sequence[np.ndarray],
    boxes: Sequence[Sequence[int]],
    homographies: Sequence[np.ndarray],
    size: tuple[int, int],
) -> np.ndarray:
    """As `peer_planes`, within the bounding box of what is not empty on each plane."""
    out = np.zeros((size[1], size[0], 4), np.float32)
    for plane, (x, y, w, h), homography in zip(planes, boxes, homographies, strict=True):
        if w == 0:
            continue
        corners = np.array([[[x - 1, y - 1], [x + w, y - 1], [x - 1, y + h], [x + w, y + h]]])
        seen = cv2.perspectiveTransform(corners.astype(np.float64), np.linalg.inv(homography))[0]
        left, top = np.clip(np.floor(seen.min(0)), 0, size).astype(int).tolist()
        right, bottom = np.clip(np.ceil(seen.max(0)) + 1, 0, size).astype(int).tolist()
        if left < right and top < bottom:
            to_box = homography @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
            part = (right - left, bottom - top)
            warped = cv2.warpPerspective(plane, to_box, part, flags=BACKWARD)
            composite(out[top:bottom, left:right], warped)
    return out


def composite(out: np.ndarray, seen: np.ndarray) -> None:
    """Put premultiplied bytes over what is there, in place."""
    light = seen * np.float32(1 / 255)
    out *= 1 - light[..., 3:]
    out += light


if __name__ == "__main__":
    main()
