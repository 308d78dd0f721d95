"""One photo in, a 3D scene to look around in out.

::

    import diorama

    scene = diorama.photo_to_scene("cat.jpg")
    scene.save("cat.diorama")
    scene.export("cat.html")
    frame = scene.render(scene.camera.at(x=0.02))

Conventions, the same in every module and file:

colour
    `rgb` is float32 (H, W, 3), sRGB-encoded, 0..1. `rgba` is straight; only compositors
    premultiply, in encoded sRGB as viewers do. Colour is bled to where alpha is 0, so that
    filtering never pulls in black.
disparity
    The one depth quantity: float32 (H, W), 1/z in 1/scene units; larger is nearer, 0 is infinitely
    far. Parallax is linear in it, and a plane in space is an affine function of pixel position in
    it. Geometry clamps at z = 1000.
scene unit
    With relative depth, near surfaces (the 99.5th percentile) lie at z = 1; what is nearer keeps
    its larger disparity. With metric depth it is the metre, and `Scene.metric` is true. An estimate
    known up to scale and shift is mapped so that its far end lies at 0.1, or at 0 where sky is
    found. Depth you supply is only scaled, by `Scene.disparity_scale`.
view box
    Where the camera may go, as half sizes: by default 0.03 scene units sideways and up and down,
    0.05 forward and back. Holes, layers, paths and viewer limits all follow from it.
camera
    OpenCV axes: x right, y down, z forward. Pixel centres lie at +0.5. Intrinsics are in pixels,
    `camera_to_world` is 4x4, and the photo's camera sits at the origin. The horizontal field of
    view is 55 degrees unless EXIF tells.
masks
    `labels` int32 (H, W): every pixel belongs to exactly one mask, ids are stable.
layers
    Back to front, each with `rgba`, `disparity`, `hole` (what was filled) and `mask_ids`.
results
    The same machine, versions, seed and photo give the same bytes, whatever the number of threads.
errors
    Whatever a user can mend is a `DioramaError` with one line: what was wrong, where, what to do.

Public names load their modules when they are first used, so that importing the package is instant.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diorama.batch import PhotoResult, convert_photos
    from diorama.camera import Camera, Frame, ViewBox
    from diorama.config import SceneConfig
    from diorama.depth import DepthEstimator, DepthResult
    from diorama.errors import (
        DioramaError,
        InputError,
        MissingExtraError,
        OutputError,
        UnknownNameError,
    )
    from diorama.harmonise import HarmoniseConfig
    from diorama.inpaint import FillTask, InpaintConfig, Inpainter
    from diorama.inputs import PhotoFile, find_photos
    from diorama.layers import Layer, LayersConfig
    from diorama.masks import Masks, Segmenter
    from diorama.matting import MattingConfig
    from diorama.mesh import Mesh
    from diorama.mpi import Mpi, build_mpi, render_mpi
    from diorama.paths import CameraPath, camera_path, load_path
    from diorama.phone_depth import own_depth
    from diorama.photo import Photo, load_photo
    from diorama.pipeline import open_scene, photo_to_scene, remake
    from diorama.portrait import Face, FaceDetector, MatteEstimator
    from diorama.registry import ModelEntry, register
    from diorama.scene import Scene
    from diorama.splats import Splats
    from diorama.stereo import render_stereo, stereo_cameras

__version__ = "0.1.0"

__all__ = [
    "Camera",
    "CameraPath",
    "DepthEstimator",
    "DepthResult",
    "DioramaError",
    "Face",
    "FaceDetector",
    "FillTask",
    "Frame",
    "HarmoniseConfig",
    "InpaintConfig",
    "Inpainter",
    "InputError",
    "Layer",
    "LayersConfig",
    "Masks",
    "MatteEstimator",
    "MattingConfig",
    "Mesh",
    "MissingExtraError",
    "ModelEntry",
    "Mpi",
    "OutputError",
    "Photo",
    "PhotoFile",
    "PhotoResult",
    "Scene",
    "SceneConfig",
    "Segmenter",
    "Splats",
    "UnknownNameError",
    "ViewBox",
    "build_mpi",
    "camera_path",
    "convert_photos",
    "find_photos",
    "load_path",
    "load_photo",
    "open_scene",
    "own_depth",
    "photo_to_scene",
    "register",
    "remake",
    "render_mpi",
    "render_stereo",
    "stereo_cameras",
]

_HOMES = {
    "batch": (
        "convert_photos",
        "PhotoResult",
    ),
    "camera": (
        "Camera",
        "Frame",
        "ViewBox",
    ),
    "config": ("SceneConfig",),
    "depth": (
        "DepthEstimator",
        "DepthResult",
    ),
    "errors": (
        "DioramaError",
        "InputError",
        "MissingExtraError",
        "OutputError",
        "UnknownNameError",
    ),
    "harmonise": ("HarmoniseConfig",),
    "inpaint": (
        "FillTask",
        "InpaintConfig",
        "Inpainter",
    ),
    "inputs": (
        "find_photos",
        "PhotoFile",
    ),
    "layers": (
        "Layer",
        "LayersConfig",
    ),
    "masks": (
        "Masks",
        "Segmenter",
    ),
    "matting": ("MattingConfig",),
    "mesh": ("Mesh",),
    "mpi": (
        "build_mpi",
        "render_mpi",
        "Mpi",
    ),
    "paths": (
        "camera_path",
        "load_path",
        "CameraPath",
    ),
    "phone_depth": ("own_depth",),
    "photo": (
        "load_photo",
        "Photo",
    ),
    "pipeline": (
        "open_scene",
        "photo_to_scene",
        "remake",
    ),
    "portrait": (
        "Face",
        "FaceDetector",
        "MatteEstimator",
    ),
    "registry": (
        "register",
        "ModelEntry",
    ),
    "scene": ("Scene",),
    "splats": ("Splats",),
    "stereo": (
        "render_stereo",
        "stereo_cameras",
    ),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"diorama.{module}"), name)
            globals()[name] = value  # the next look-up does not come here
            return value
    raise AttributeError(f"module 'diorama' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
