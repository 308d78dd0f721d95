"""The analytic head: where things are, how smooth it is, and what turning does."""

import numpy as np
import pytest

from diorama.arrays import Array
from diorama.head import CHIN, DEEP, MOUTH, NOSE, WIDTH, head_relief


def relief(u: float, v: float, yaw: float = 0.0) -> float:
    return float(head_relief(np.array([u]), np.array([v]), yaw)[0])


def grid(step: float = 0.02) -> tuple[Array, Array]:
    v, u = np.mgrid[-1.1:1.75:step, -1.05:1.05:step]
    return u, v


def test_what_stands_out_of_a_face() -> None:
    nose = relief(0, NOSE)
    assert nose == pytest.approx(0.36, abs=0.05)
    assert nose > relief(0, MOUTH) > relief(0.6, MOUTH)
    assert relief(0, CHIN - 0.2) > relief(0.6, CHIN - 0.2)
    assert relief(0.5, 0) < min(relief(0.45, -0.3), relief(0.6, 0.55))  # eyes lie deep
    assert relief(0, 0) == pytest.approx(0, abs=0.1)
    for side in (-1, 1):
        ear = relief(side * WIDTH, 0.3)
        assert -DEEP <= ear < nose - 1.2
    u, v = grid()
    best = np.argmax(head_relief(u, v))
    assert np.hypot(u.flat[best], v.flat[best] - NOSE) < 0.06


def test_both_sides_are_alike() -> None:
    u, v = grid()
    np.testing.assert_allclose(head_relief(u, v), head_relief(-u, v), atol=1e-6)
    np.testing.assert_allclose(head_relief(u, v, 0.4), head_relief(-u, v, -0.4), atol=1e-4)


def test_forehead_and_chin_are_smooth() -> None:
    step = 0.01
    u, v = grid(step)
    found = head_relief(u, v)
    bend = np.abs(np.diff(found, 2, axis=0))[:, 1:-1] + np.abs(np.diff(found, 2, axis=1))[1:-1]
    for place in ((v < -0.6) & (abs(u) < 0.8), (v > 1.4) & (abs(u) < 0.4)):
        assert bend[place[1:-1, 1:-1]].max() < 30 * step**2


def test_a_turned_head_shows_its_nose_where_it_points() -> None:
    u, v = grid(0.01)
    for yaw in (-0.25, 0.3):
        row = (abs(v - NOSE) < 0.005) & (abs(u) < 0.6)
        ridge, reach = head_relief(u[row], v[row], yaw), 25
        # On the turned head's slope: how much it stands out of both its sides.
        out = ridge[reach:-reach] - (ridge[2 * reach :] + ridge[: -2 * reach]) / 2
        found = float(u[row][reach + np.argmax(out)])
        assert found == pytest.approx(relief(0, NOSE) * np.sin(yaw), abs=0.1)
    small, none = head_relief(u, v, 1e-4), head_relief(u, v)
    assert np.abs(small - none).max() < 0.01


def test_beyond_the_head_nothing_is_deeper_than_it() -> None:
    far = np.array([-1e6, -5.0, 5.0, 1e6])
    for yaw in (0.0, 0.6):
        found = head_relief(far, far, yaw)
        assert np.isfinite(found).all()
    assert (head_relief(far, far) == np.float32(-DEEP)).all()
