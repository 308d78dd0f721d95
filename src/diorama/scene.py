"""The scene: a photo, its depth, masks and layers, and what can be made of them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from diorama.arrays import Disparity
from diorama.camera import Camera, Frame, ViewBox
from diorama.layers import Layer
from diorama.masks import Masks
from diorama.mesh import Mesh
from diorama.photo import Photo


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
    """JSON-ready: models, versions, config, seed, licences, and what each stage reported."""

    @property
    def camera(self) -> Camera:
        """The photo's camera, at processing size."""
        return self.photo.camera

    @cached_property
    def meshes(self) -> tuple[Mesh, ...]:
        """One mesh a layer, in the order of `layers`; built at first use."""
        from diorama.mesh import layer_mesh

        return tuple(layer_mesh(layer, self.camera, self.view_box) for layer in self.layers)

    def render(self, camera: Camera) -> Frame:
        """What `camera` sees of the layered meshes."""
        from diorama.render import render_meshes

        return render_meshes(self, camera)
