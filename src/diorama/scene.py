"""The scene: a photo, its depth, masks and layers, and what can be made of them."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from diorama.arrays import Alpha, Confidence, Disparity
from diorama.camera import Camera, Frame, ViewBox
from diorama.layers import Layer
from diorama.masks import Masks
from diorama.mesh import Mesh
from diorama.photo import Photo

if TYPE_CHECKING:
    from diorama.render import Renderer

Part = Literal[
    "photo",  # its colours
    "alpha",  # where the photo shows nothing
    "camera",
    "view_box",
    "raw_disparity",
    "edges",  # of the estimate
    "masks",
    "disparity",
    "layers",
]
"""What of a scene can be edited; `diorama.remake` then makes anew what depends on it."""


@dataclass(frozen=True)
class Scene:
    """One photo as layers in space. Immutable: an edit makes a new scene."""

    photo: Photo
    view_box: ViewBox
    raw_disparity: Disparity
    """(H, W) float32: the estimate in canonical units, before harmonising."""
    disparity: Disparity
    """(H, W) float32: harmonised; its edges lie on mask edges."""
    masks: Masks
    layers: tuple[Layer, ...]
    """Back to front."""
    metric: bool = False
    """True if the scene unit is the metre."""
    disparity_scale: float = 1.0
    """What a supplied disparity was multiplied by to reach canonical units."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """JSON-ready: models, versions, config, seed, licences, what each stage reported, and which
    parts were edited by hand."""
    unknown: dict[str, Any] = field(default_factory=dict, repr=False)
    """Fields of an opened `scene.json` that this version does not know; saved again as they are."""
    confidence: Confidence | None = None
    """(H, W) float32 in 0..1: how far to trust `raw_disparity`; None if its estimator does not
    tell."""
    edges: Alpha | None = None
    """(H, W) float32 in 0..1: probability of an occlusion edge; None if the estimator does not
    tell."""

    @property
    def camera(self) -> Camera:
        """The photo's camera, at processing size."""
        return self.photo.camera

    @cached_property
    def meshes(self) -> tuple[Mesh, ...]:
        """One mesh a layer, in the order of `layers`; built at first use."""
        from diorama.mesh import layer_meshes

        return layer_meshes(self.layers, self.camera, self.view_box)

    def render(self, camera: Camera) -> Frame:
        """What `camera` sees of the layered meshes."""
        return self.renderer(camera)

    @cached_property
    def renderer(self) -> "Renderer":
        """Renders the layered meshes; keeps their textures between frames."""
        from diorama.render import Renderer

        return Renderer(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the scene as a folder, or as one file if `path` ends in ".zip".

        Nothing is left half-written; an older scene of this name is replaced.

        Raises:
            InputError: if `path` does not end in ".diorama", ".zip" or no suffix at all.
            OutputError: if `path` cannot be written, or is a folder that is not a scene.
        """
        from diorama.scene_file import write_scene

        write_scene(self, path)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the scene in the format of the suffix of `path` (`diorama.export.FORMATS`).

        Raises:
            UnknownNameError: if no format has this suffix.
            OutputError: if `path` cannot be written.
        """
        from diorama.export import write

        write(self, path)
