"""A layer as a triangle mesh: its hull, with vertices where disparity bends."""

from dataclasses import dataclass

from diorama.arrays import Points, Triangles, Uvs


@dataclass(frozen=True)
class Mesh:
    """Triangles in the photo camera's axes (OpenCV), textured by the layer's `rgba`."""

    vertices: Points
    """(n, 3) float32 in scene units."""
    uvs: Uvs
    """(n, 2) float32: (x / W, y / H) of the layer's picture, x right and y down, pixel edges at
    whole numbers of pixels (so the centre of the first pixel is at 0.5 / W)."""
    triangles: Triangles
    """(m, 3) int32 indices of vertices, clockwise on screen (facing the camera in OpenCV axes)."""
