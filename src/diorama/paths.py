"""Camera paths: named moves and key frames, always inside the view box.

A named path is a curve over the phase ``u`` in 0..1; a key-framed path interpolates its keys with
the monotone cubic of Fritsch and Carlson ("Monotone piecewise cubic interpolation", 1980), which
never leaves the range of the two keys around it: where the keys are inside the box, so is the path.

Positions are offsets from the photo's camera along its axes (OpenCV: x right, y down, z forward).
A path that loops has no doubled frame: the frame after the last is the first.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diorama.arrays import Array
from diorama.camera import Camera, ViewBox
from diorama.errors import InputError, UnknownNameError
from diorama.files import refuse_url

EASINGS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda u: u,  # constant speed
    "ease-in-out": lambda u: u * u * (3 - 2 * u),  # starts and ends at rest
    "smooth": lambda u: u**3 * (10 - 15 * u + 6 * u * u),  # at rest and without a jerk
}
"""How time becomes phase. All start and end at equal speed, so that loops stay seamless."""

FOCUS_DISPARITY = 0.4
"""Where paths look if not told: z = 2.5, the middle of a relative scene (near 1, far 0.1 or 0)."""

ZOOM = 1.15
"""Largest magnification of `zoom`: enough to be seen, little enough to stay sharp."""

INSIDE = 1 + 1e-6
"""Share of the view box a key may reach: rounding of decimal numbers is not an error."""


@dataclass(frozen=True)
class KeyFrame:
    """Where the camera is at one time."""

    t: float
    """Seconds."""
    position: tuple[float, float, float]
    """Right, down and forward as shares of the view box: each in -1..1, 0 at the photo's camera."""
    look_at: tuple[float, float, float] | None = None
    """Point in the photo camera's axes, scene units, kept in the picture's centre; None: look as
    the photo does."""
    fov_deg: float | None = None
    """Horizontal field of view; None: the photo's."""


@dataclass(frozen=True)
class CameraPath:
    """A path through key frames."""

    keys: tuple[KeyFrame, ...]
    """In order of time; at least two. Either all or none have `look_at`, likewise `fov_deg`."""
    fps: float = 30.0
    """Frames a second."""
    loop: bool = False
    """Whether the path closes; its last key then repeats the first and is not shown twice."""
    easing: str = "linear"
    """A name of `EASINGS`, of the whole path's time."""

    def __post_init__(self) -> None:
        _check(self, "camera path")

    @property
    def seconds(self) -> float:
        """Length."""
        return self.keys[-1].t - self.keys[0].t

    def cameras(
        self, camera: Camera, view_box: ViewBox, *, num_frames: int | None = None
    ) -> list[Camera]:
        """The path as cameras, by default `fps` a second."""
        frames = max(1, round(self.seconds * self.fps)) if num_frames is None else num_frames
        phases = _phases(frames, loop=self.loop, easing=self.easing)
        times = self.keys[0].t + self.seconds * phases
        box = np.array([view_box.sideways, view_box.vertical, view_box.forward])
        positions = self._curve([key.position for key in self.keys], times) * box
        targets: Sequence[Array | None] = [None] * frames
        if self.keys[0].look_at is not None:
            points = self._curve([key.look_at for key in self.keys], times)
            if (points[:, 2] <= positions[:, 2]).any():
                raise InputError(
                    "camera path: look_at must lie before the camera; give it a larger z"
                )
            targets = list(points)
        zooms = np.ones(frames)
        if self.keys[0].fov_deg is not None:
            # Interpolated as focal length: a constant rate of it looks like a steady zoom.
            tangents = [[math.tan(math.radians(key.fov_deg or 0) / 2)] for key in self.keys]
            focals = self._curve(camera.width / 2 / np.array(tangents), times)[:, 0]
            zooms = focals / camera.K[0, 0]
        return [
            _placed(camera, position, target, zoom)
            for position, target, zoom in zip(positions, targets, zooms, strict=True)
        ]

    def _curve(self, values: object, times: Array) -> Array:
        t = np.array([key.t for key in self.keys])
        return monotone_cubic(t, np.array(values, np.float64), times, periodic=self.loop)


@dataclass(frozen=True)
class _Move:
    """A named path."""

    pose: Callable[[float, ViewBox, float], tuple[Array, Array | None, float]]
    """(phase, view box, focus z) -> position, point looked at or None, magnification."""
    loop: bool
    easing: str


def path_names() -> list[str]:
    """Names of the paths there are."""
    return list(_MOVES)


def camera_path(
    name: str | os.PathLike[str],
    camera: Camera,
    view_box: ViewBox,
    *,
    num_frames: int,
    focus_disparity: float = FOCUS_DISPARITY,
    easing: str | None = None,
) -> list[Camera]:
    """Cameras along a named path, or along the key frames of a JSON file.

    ============  ====================================================================
    `orbit`       a loop on a sphere around the focus, looking at it
    `circle`      a loop sideways and up and down, looking straight on
    `swing`       left and right on an arc around the focus, looking at it; loops
    `zoom`        the lens zooms in and out again; loops
    `dolly-zoom`  forward and back while the lens keeps the focus plane's size; loops
    `push-in`     forward through the box, once
    `spiral`      two turns, out and in again, looking at the focus; loops
    `static`      the photo's view
    ============  ====================================================================

    Args:
        name: a name of `path_names()`, or the path of a JSON file (see `load_path`).
        camera: the photo's camera, at any size.
        view_box: where the camera may go.
        num_frames: cameras to return. A loop's last one is a step before its first.
        focus_disparity: of the point on the optical axis that paths turn around: best the
            scene's median; > 0.
        easing: a name of `EASINGS`; None takes the path's own.

    Returns:
        `num_frames` cameras, all inside the view box.

    Raises:
        UnknownNameError: if there is no such path.
        InputError: if an argument or the file is out of range.
    """
    if num_frames < 1:
        raise InputError(f"num_frames must be at least 1, got {num_frames}")
    if not (math.isfinite(focus_disparity) and focus_disparity > 0):
        raise InputError(f"focus_disparity must be finite and > 0, got {focus_disparity}")
    if easing is not None and easing not in EASINGS:
        raise UnknownNameError("easing", str(easing), EASINGS)
    name = os.fspath(name)
    if name.lower().endswith(".json"):
        path = load_path(name)
        if easing is not None:
            path = CameraPath(path.keys, path.fps, path.loop, easing)
        return path.cameras(camera, view_box, num_frames=num_frames)
    if name not in _MOVES:
        raise UnknownNameError("camera path", name, _MOVES)
    move = _MOVES[name]
    phases = _phases(num_frames, loop=move.loop, easing=easing or move.easing)
    poses = (move.pose(float(u), view_box, 1 / focus_disparity) for u in phases)
    return [_placed(camera, *pose) for pose in poses]


def load_path(file: str | os.PathLike[str]) -> CameraPath:
    """Read a key-framed path.

    ::

        {"fps": 30, "loop": true, "easing": "linear",
         "keys": [{"t": 0, "position": [-1, 0, 0], "look_at": [0, 0, 2], "fov_deg": 50},
                  {"t": 2, "position": [1, 0, 0.5], "look_at": [0, 0, 2], "fov_deg": 45},
                  {"t": 4, "position": [-1, 0, 0], "look_at": [0, 0, 2], "fov_deg": 50}]}

    Only `keys` with `t` and `position` are needed; units are those of `KeyFrame`.

    Raises:
        InputError: if the file cannot be read, or says something that makes no path.
    """
    refuse_url(file, "camera path")
    file = Path(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot read camera path {file}: {reason}") from error
    except ValueError as error:
        raise InputError(f"camera path {file} is not JSON: {error}") from error
    where = f"camera path {file}"
    fields = _fields(content, where, required=("keys",), optional=("fps", "loop", "easing"))
    if not isinstance(fields["keys"], list):
        raise InputError(f"{where}: keys must be a list of key frames")
    keys = tuple(_key(key, f"{where}: keys[{i}]") for i, key in enumerate(fields["keys"]))
    fps = _number(fields.get("fps", 30), f"{where}: fps")
    loop = fields.get("loop", False)
    if not isinstance(loop, bool):
        raise InputError(f"{where}: loop must be true or false, got {loop!r}")
    easing = fields.get("easing", "linear")
    if not isinstance(easing, str):
        raise InputError(f"{where}: easing must be one of {', '.join(EASINGS)}, got {easing!r}")
    try:
        return CameraPath(keys, fps, loop, easing)
    except InputError as error:
        raise InputError(str(error).replace("camera path", where, 1)) from error


def monotone_cubic(t: Array, values: Array, at: Array, *, periodic: bool = False) -> Array:
    """Interpolate `values` (n, c), given at ascending times `t` (n,), at times `at` (m,).

    Slopes are the three-point harmonic means of Fritsch and Butland, so that every value lies
    between its two keys; the first derivative is continuous, across the ends too if `periodic`
    (whose last value equals the first).

    Returns:
        (m, c) float64.
    """
    step = np.diff(t)[:, None]  # (n-1, 1)
    rise = np.diff(values, axis=0) / step
    if periodic:
        before, after = np.roll(rise, 1, axis=0), rise
        before_step, after_step = np.roll(step, 1, axis=0), step
        inner = _limited_slope(before, after, before_step, after_step)
        slope = np.concatenate([inner, inner[:1]])
    else:
        inner = _limited_slope(rise[:-1], rise[1:], step[:-1], step[1:])
        slope = np.concatenate([rise[:1], inner, rise[-1:]])
    i = np.clip(np.searchsorted(t, at, side="right") - 1, 0, len(t) - 2)
    h = step[i]
    u = (at[:, None] - t[i, None]) / h
    return (
        (1 + 2 * u) * (1 - u) ** 2 * values[i]
        + u * (1 - u) ** 2 * h * slope[i]
        + u**2 * (3 - 2 * u) * values[i + 1]
        + u**2 * (u - 1) * h * slope[i + 1]
    )


def _limited_slope(before: Array, after: Array, before_step: Array, after_step: Array) -> Array:
    """Weighted harmonic mean of the slopes on both sides; 0 where they change sign."""
    first, second = 2 * after_step + before_step, after_step + 2 * before_step
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (first + second) / (first / before + second / after)
    return np.where(before * after > 0, mean, 0.0)


def _phases(num_frames: int, *, loop: bool, easing: str) -> Array:
    u = np.arange(num_frames) / max(1, num_frames if loop else num_frames - 1)
    return EASINGS[easing](u)


def _placed(camera: Camera, position: Array, target: Array | None, zoom: float) -> Camera:
    """`camera` moved by `position` along its axes, turned to `target`, magnified by `zoom`."""
    local = np.eye(4)
    local[:3, 3] = position
    if target is not None:
        forward = target - position
        forward = forward / np.linalg.norm(forward)
        right = np.cross([0.0, 1.0, 0.0], forward)  # the picture stays level
        right = right / np.linalg.norm(right)
        local[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    K = camera.K.copy()
    K[0, 0] *= zoom
    K[1, 1] *= zoom
    return Camera(K, camera.camera_to_world @ local, camera.width, camera.height)


def _on_sphere(x: float, y: float, box: ViewBox, focus_z: float) -> tuple[Array, Array, float]:
    """The point at (x, y) whose distance from the focus is that of the photo's camera.

    The whole sphere is made smaller, or flatter, where it would not fit the box.
    """
    widest = max(box.sideways, box.vertical)
    reach = min(1.0, focus_z / 2 / widest) if widest > 0 else 1.0
    highest = focus_z - math.sqrt(focus_z**2 - (reach * widest) ** 2)
    flat = min(1.0, box.forward / highest) if highest > 0 else 1.0
    x, y = reach * x, reach * y
    z = flat * (focus_z - math.sqrt(focus_z**2 - x * x - y * y))
    return np.array([x, y, z]), np.array([0.0, 0.0, focus_z]), 1.0


def _orbit(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    turn = 2 * math.pi * u
    x, y = box.sideways * math.cos(turn), box.vertical * math.sin(turn)
    return _on_sphere(x, y, box, focus_z)


def _circle(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    del focus_z
    turn = 2 * math.pi * u
    return (
        np.array([box.sideways * math.cos(turn), box.vertical * math.sin(turn), 0.0]),
        None,
        1.0,
    )


def _swing(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    return _on_sphere(box.sideways * math.sin(2 * math.pi * u), 0.0, box, focus_z)


def _zoom(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    del box, focus_z
    share = 0.5 - 0.5 * math.cos(2 * math.pi * u)
    return np.zeros(3), None, ZOOM**share


def _dolly_zoom(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    # Never so close to the focus plane that the lens would have to become a fisheye.
    z = min(box.forward, focus_z / 2) * math.sin(2 * math.pi * u)
    return np.array([0.0, 0.0, z]), None, (focus_z - z) / focus_z


def _push_in(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    del focus_z
    return np.array([0.0, 0.0, box.forward * u]), None, 1.0


def _spiral(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    turn = 4 * math.pi * u
    radius = math.sin(math.pi * u) ** 2
    x = box.sideways * radius * math.cos(turn)
    y = box.vertical * radius * math.sin(turn)
    z = min(box.forward, focus_z / 2) * math.sin(2 * math.pi * u)
    return np.array([x, y, z]), np.array([0.0, 0.0, focus_z]), 1.0


def _static(u: float, box: ViewBox, focus_z: float) -> tuple[Array, Array | None, float]:
    del u, box, focus_z
    return np.zeros(3), None, 1.0


_MOVES = {
    "orbit": _Move(_orbit, loop=True, easing="linear"),
    "circle": _Move(_circle, loop=True, easing="linear"),
    "swing": _Move(_swing, loop=True, easing="linear"),
    "zoom": _Move(_zoom, loop=True, easing="linear"),
    "dolly-zoom": _Move(_dolly_zoom, loop=True, easing="linear"),
    "push-in": _Move(_push_in, loop=False, easing="ease-in-out"),
    "spiral": _Move(_spiral, loop=True, easing="linear"),
    "static": _Move(_static, loop=True, easing="linear"),
}


def _check(path: CameraPath, where: str) -> None:
    keys = path.keys
    if len(keys) < 2:
        raise InputError(f"{where}: keys must hold at least 2 key frames, got {len(keys)}")
    if not (math.isfinite(path.fps) and path.fps > 0):
        raise InputError(f"{where}: fps must be finite and > 0, got {path.fps}")
    if path.easing not in EASINGS:
        raise InputError(
            f"{where}: easing must be one of {', '.join(EASINGS)}, got {path.easing!r}"
        )
    for i, key in enumerate(keys):
        if i and key.t <= keys[i - 1].t:
            raise InputError(
                f"{where}: keys[{i}].t must be later than the key before it "
                f"({keys[i - 1].t:g} s), got {key.t:g}"
            )
        if max(abs(p) for p in key.position) > INSIDE:
            raise InputError(
                f"{where}: keys[{i}].position must stay in the view box, "
                f"-1..1 each, got {list(key.position)}"
            )
        if key.fov_deg is not None and not 1 <= key.fov_deg <= 150:
            raise InputError(
                f"{where}: keys[{i}].fov_deg must be within 1..150, got {key.fov_deg:g}"
            )
        for name in ("look_at", "fov_deg"):
            if (getattr(key, name) is None) != (getattr(keys[0], name) is None):
                raise InputError(f"{where}: give {name} in all keys or in none (see keys[{i}])")
    first, last = keys[0], keys[-1]
    same = (first.position, first.look_at, first.fov_deg) == (
        last.position,
        last.look_at,
        last.fov_deg,
    )
    if path.loop and not same:
        raise InputError(
            f"{where}: a loop's last key must repeat its first; repeat it or loop: false"
        )


def _key(content: object, where: str) -> KeyFrame:
    fields = _fields(content, where, required=("t", "position"), optional=("look_at", "fov_deg"))
    look_at, fov_deg = fields.get("look_at"), fields.get("fov_deg")
    return KeyFrame(
        _number(fields["t"], f"{where}.t"),
        _triple(fields["position"], f"{where}.position"),
        None if look_at is None else _triple(look_at, f"{where}.look_at"),
        None if fov_deg is None else _number(fov_deg, f"{where}.fov_deg"),
    )


def _fields(
    content: object, where: str, *, required: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{where} must be an object with {', '.join(required)}")
    for name in required:
        if name not in content:
            raise InputError(f"{where}: {name} is missing")
    for name in content:
        if name not in (*required, *optional):
            known = ", ".join((*required, *optional))
            raise InputError(f"{where}: {name!r} is not known here; use {known}")
    return content


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where} must be a finite number, got {value!r}")
    return float(value)


def _triple(value: object, where: str) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"{where} must be three numbers [x, y, z], got {value!r}")
    x, y, z = (_number(number, where) for number in value)
    return x, y, z
