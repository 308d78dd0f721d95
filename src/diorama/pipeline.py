"""From a photo to a scene: the stages in order, and nothing else."""

import dataclasses
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import diorama
from diorama import registry
from diorama.arrays import Array
from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.depth import DepthResult, canonical_disparity
from diorama.depth_files import DEPTH_SUFFIXES, read_depth
from diorama.harmonise import harmonise
from diorama.inpaint import fill_layers
from diorama.layers import extract_layers
from diorama.masks import set_apart
from diorama.matting import reconcile
from diorama.photo import Photo, load_photo
from diorama.scene import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

STAGES = ("photo", "depth", "masks", "harmonise", "layers", "inpaint")
"""The stages `photo_to_scene` reports, in order."""


def photo_to_scene(
    source: "str | Path | Image | Array",
    *,
    depth: DepthResult | None = None,
    view_box: ViewBox | None = None,
    config: SceneConfig = SceneConfig(),
    progress: Callable[[str], None] | None = None,
) -> Scene:
    """Turn one photo into a scene.

    Args:
        source: a file, a PIL image, or an array (H, W, 3) of uint8 or of float in 0..1.
        depth: depth at hand; instead of `config.depth`.
        view_box: where the camera will go; holes are filled for it and no more. None: the default
            box, narrower for a telephoto lens.
        config: everything else.
        progress: called with each stage's name (of `STAGES`) as it begins.

    Returns:
        The scene.

    Raises:
        DioramaError: where something cannot be used, with one line on what, where and what to do.
    """
    report = progress or (lambda stage: None)
    models = _Models(config, depth)

    report("photo")
    photo = load_photo(
        source,
        max_size=config.max_size,
        texture_size=config.texture_size,
        fov_deg=config.fov_deg,
    )
    if view_box is None:
        view_box = ViewBox.for_camera(photo.camera)

    report("depth")
    canonical = canonical_disparity(models.depth(photo), photo)

    report("masks")
    masks = models.segmenter.segment(photo, canonical.disparity)
    if photo.nothing is not None:
        masks = set_apart(masks, photo.nothing)

    report("harmonise")
    harmonised = harmonise(
        photo,
        canonical.disparity,
        masks,
        confidence=canonical.confidence,
        config=config.harmonise,
    )
    report("layers")
    layers, layers_report = extract_layers(
        photo,
        harmonised.disparity,
        masks,
        view_box,
        confidence=canonical.confidence,
        config=config.layers,
        matting=config.matting,
    )
    report("inpaint")
    layers = fill_layers(
        photo,
        layers,
        harmonised.disparity,
        inpainter=models.inpainter,
        config=config.inpaint,
        seed=config.seed,
    )
    opaque = None if photo.alpha is None else photo.alpha >= 1
    reconcile(photo.rgb, [(layer.rgba, layer.hole) for layer in layers], opaque=opaque)

    return Scene(
        photo=photo,
        view_box=view_box,
        raw_disparity=canonical.disparity,
        disparity=harmonised.disparity,
        masks=masks,
        layers=layers,
        metric=canonical.metric,
        disparity_scale=canonical.scale,
        provenance={
            "models": models.names,
            "licences": models.licences,
            "config": dataclasses.asdict(config),
            "versions": {
                "diorama": diorama.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "reports": {
                "harmonise": dataclasses.asdict(harmonised.report),
                "layers": dataclasses.asdict(layers_report),
            },
        },
    )


class _Models:
    """The models a run uses, found before anything is computed so that a typo costs no time."""

    def __init__(self, config: SceneConfig, depth: DepthResult | None) -> None:
        self.names: dict[str, str] = {}
        self.licences: dict[str, str] = {}
        self._given = depth
        self._config = config
        self._depth_file = None
        if depth is not None:
            self.names["depth"] = "given"
        elif Path(config.depth).suffix.lower() in DEPTH_SUFFIXES:
            self._depth_file = Path(config.depth)
            self.names["depth"] = self._depth_file.name
        else:
            self._estimator = self._load("depth", config.depth)
        self.segmenter = self._load("segmenter", config.segmenter)
        self.inpainter = self._load("inpainter", config.inpainter)

    def depth(self, photo: Photo) -> DepthResult:
        """Depth from whichever source was asked for."""
        if self._given is not None:
            return self._given
        if self._depth_file is not None:
            return read_depth(
                self._depth_file,
                kind=self._config.depth_kind,
                scale=self._config.depth_scale,
                unit_m=self._config.depth_unit_m,
            )
        return self._estimator.estimate(photo)

    def _load(self, task: registry.Task, name: str) -> Any:
        entry = registry.find(task, name)
        self.names[task] = entry.name
        self.licences[f"{task} {entry.name}"] = entry.licence
        return registry.load(task, name)
