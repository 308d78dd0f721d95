"""A world: placed meshes with their materials, and the light they stand in."""

from dataclasses import dataclass, field

import numpy as np

from diorama.arrays import Array
from training.scenes.meshes import Mesh, cross, transform

_HERE = transform()


@dataclass(frozen=True)
class Material:
    """What a surface looks like."""

    texture: int
    """Which tile of `Textures`."""
    tint: Array | tuple[float, ...] = (1.0, 1.0, 1.0)
    """Multiplies the tile's colour."""
    tile: float = 1.0
    """Metres that one tile covers."""
    contrast: float = 1.0
    """1 shows the tile, 0 nothing but the tint."""
    specular: float = 0.0
    """Strength of highlights, 0..1."""
    gloss: float = 20.0
    """Exponent of highlights."""
    emission: float = 0.0
    """Light it gives by itself, as part of its colour."""
    cutout: bool = False
    """Whether it is only there where the tile's alpha is above a half."""
    person: bool = False
    """Whether it belongs to a person: skin, hair, clothes."""


@dataclass(frozen=True)
class Light:
    """What lights a world."""

    towards: Array
    """(3,) direction to the sun, of length 1; or the place of the lamp."""
    colour: Array
    """(3,) of the sun or lamp."""
    is_lamp: bool
    """A lamp shines down from a place; its light falls off with distance."""
    above: Array
    """(3,) light from above, without shadows."""
    below: Array
    """(3,) light from below."""
    softness: float = 1.5
    """Half width of a shadow's edge, in texels of the shadow map."""
    glows: Array = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    """(n, 6): place and colour of small lights without shadows."""


@dataclass(frozen=True)
class Sky:
    """What is seen where nothing is, and in between."""

    zenith: Array
    """(3,) colour overhead."""
    horizon: Array
    """(3,) colour at the horizon."""
    clouds: int
    """Which tile of `Textures` has its clouds."""
    cover: float
    """How much of them shows, 0..1."""
    fog: float = 0.0
    """Part of the light that a metre of air takes away."""


@dataclass
class World:
    """Meshes placed so far."""

    meshes: list[Mesh] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)
    places: list[Array] = field(default_factory=list)
    """(3, 4) where each mesh is put."""
    instances: list[int] = field(default_factory=list)
    """The object that each mesh belongs to."""
    num_instances: int = 0

    def new_instance(self) -> int:
        """A number for an object made of several meshes."""
        self.num_instances += 1
        return self.num_instances

    def add(
        self,
        mesh: Mesh,
        material: Material,
        matrix: Array | None = None,
        instance: int | None = None,
    ) -> None:
        """Place a mesh by a (3, 4) matrix; without an instance it is an object of its own."""
        self.meshes.append(mesh)
        self.materials.append(material)
        self.places.append(_HERE if matrix is None else matrix)
        self.instances.append(self.new_instance() if instance is None else instance)

    def triangles(self) -> "Triangles":
        """Everything placed, as arrays. Texture coordinates grow with their mesh."""
        counts = [len(mesh.corners) for mesh in self.meshes]
        material = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        places = np.stack(self.places)
        linear = places[:, :, :3].astype(np.float32)
        turns = np.linalg.inv(places[:, :, :3]).astype(np.float32)
        moves = places[:, None, :, 3].astype(np.float32)
        corners = np.concatenate([mesh.corners for mesh in self.meshes])
        corners = corners @ linear.transpose(0, 2, 1)[material] + moves[material]
        normals = np.concatenate([mesh.normals for mesh in self.meshes]) @ turns[material]
        normals /= np.maximum(np.sqrt((normals * normals).sum(-1, keepdims=True)), 1e-12)
        size = np.abs(np.linalg.det(places[:, :, :3])) ** (1 / 3)
        tiles = (size / [m.tile for m in self.materials]).astype(np.float32)
        uv = np.concatenate([mesh.uv for mesh in self.meshes]) * tiles[material, None, None]
        across = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.sqrt((across * across).sum(-1))
        a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        uv_area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
        table = np.array(
            [
                [
                    m.texture,
                    *m.tint,
                    m.contrast,
                    m.specular,
                    m.gloss,
                    m.emission,
                    m.cutout,
                    m.person,
                ]
                for m in self.materials
            ],
            np.float32,
        )
        return Triangles(
            corners,
            normals,
            uv,
            np.sqrt(uv_area / np.maximum(area, 1e-12)),
            material,
            np.array(self.instances, np.int32)[material],
            table,
        )


@dataclass(frozen=True)
class Triangles:
    """A world as `raster` takes it."""

    corners: Array
    """(T, 3, 3) float32, metres."""
    normals: Array
    """(T, 3, 3) float32."""
    uv: Array
    """(T, 3, 2) float32, in tiles."""
    density: Array
    """(T,) float32, tiles per metre."""
    material: Array
    """(T,) int32."""
    instance: Array
    """(T,) int32, from 1."""
    table: Array
    """(M, 10) float32: texture, tint (3), contrast, specular, gloss, emission, cutout, person."""
