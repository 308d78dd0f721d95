"""How the embedded network is made: exact scenes, samples from seeds, training that resumes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

from diorama.arrays import Array
from training.batches import EVERYTHING, overlay, recolour
from training.scenes import meshes
from training.scenes.meshes import transform
from training.scenes.raster import Eye, Kernels, draw
from training.scenes.sample import DISPARITY, PERSON, make_sample, occlusion_edges
from training.scenes.textures import Textures, make_textures
from training.scenes.world import Light, Material, Sky, World
from training.scenes.worlds import make_view

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def textures() -> Textures:
    return make_textures(0)


def drawn(world: World, textures: Textures, eye: Eye):
    light = Light(np.array([0, 0, 1.0]), np.ones(3), False, np.full(3, 0.5), np.full(3, 0.2))
    sky = Sky(np.array([0.2, 0.4, 0.9]), np.full(3, 0.8), int(textures.families["clouds"][0]), 0.0)
    return draw(world.triangles(), eye, light, sky, textures)


class TestRaster:
    @pytest.mark.parametrize("seed", range(3))
    def test_torch_draws_the_same_world(self, textures: Textures, seed: int):
        pytest.importorskip("torch")
        view = make_view(np.random.default_rng(seed), textures, (48, 64))
        world = view.world.triangles()
        a, b = (
            draw(world, view.eye, view.light, view.sky, textures, kernels=kernels)
            for kernels in get_args(Kernels)
        )
        for name in ("rgb", "disparity", "normal", "instance", "person"):
            expected, found = getattr(a, name), getattr(b, name)
            assert expected.dtype == found.dtype, name
            # A sample on two triangles' common edge may go to either.
            same = np.isclose(expected, found, rtol=1e-3, atol=1e-3)
            assert same.mean() > 0.99, name

    def test_a_floor_has_the_depth_of_a_floor(self, textures: Textures):
        world = World()
        # Its corners lie behind the camera and far outside the frame.
        world.add(meshes.quad((-99, -99, 0), (99, -99, 0), (99, 99, 0), (-99, 99, 0)), Material(0))
        eye = Eye.looking(np.array([0.0, 0.0, 1.5]), 0.3, -0.4, 0.0, 50.0, (48, 64))
        seen = drawn(world, textures, eye)
        y = np.arange(48) + 0.5
        # A ray's slope below the horizon over the camera's height is the disparity.
        expected = (np.sin(0.4) + (y - 24) / 50 * np.cos(0.4)) / 1.5
        visible = expected > 0.02
        np.testing.assert_allclose(
            seen.disparity[visible], expected[visible, None].repeat(64, 1), atol=1e-5
        )
        up = np.array([0, -np.cos(0.4), -np.sin(0.4)])
        np.testing.assert_allclose(seen.normal[-1, 5], up, atol=1e-5)

    def test_cards_whose_sides_follow_the_rows_and_columns(self, textures: Textures):
        random = np.random.default_rng(0)
        eye = Eye.looking(np.zeros(3), 0.0, 0.0, 0.0, 60.0, (48, 64))
        y, x = (np.mgrid[:96, :128] + 0.5) / 2  # the four samples of a pixel
        for _ in range(20):
            world = World()
            nearest = np.zeros((96, 128))
            for depth in random.uniform(2, 9, 20):
                (left, right), (low, high) = np.sort(random.uniform(-5, 5, (2, 2)), 1)
                corners = ((left, low), (right, low), (right, high), (left, high))
                world.add(meshes.quad(*((a, depth, b) for a, b in corners)), Material(0))
                u, v = (x - 32) / 60 * depth, (24 - y) / 60 * depth
                inside = (u > left) & (u < right) & (v > low) & (v < high)
                nearest = np.where(inside, np.maximum(nearest, 1 / depth), nearest)
            seen = drawn(world, textures, eye)
            samples = nearest.reshape(48, 2, 64, 2)
            error = np.abs(seen.disparity[:, None, :, None] - samples).min((1, 3))
            assert error.max() < 1e-5

    def test_a_ball_in_front_of_a_wall(self, textures: Textures):
        world = World()
        world.add(meshes.quad((-9, 5, -9), (9, 5, -9), (9, 5, 9), (-9, 5, 9)), Material(0))
        ball = transform((0, 3, 0), scale=0.5)
        world.add(meshes.sphere(40), Material(0, person=True), ball)
        eye = Eye.looking(np.zeros(3), 0.0, 0.0, 0.0, 60.0, (48, 64))
        seen = drawn(world, textures, eye)
        assert seen.disparity[24, 32] == pytest.approx(1 / 2.5, rel=0.01)
        assert seen.disparity[2, 2] == pytest.approx(1 / 5, rel=1e-4)
        inside = seen.instance == 2
        # Where rays touch it: a disc of radius f tan(asin(r / z)).
        assert inside.sum() == pytest.approx(np.pi * (60 * np.tan(np.arcsin(1 / 6))) ** 2, rel=0.03)
        assert seen.person.sum() == pytest.approx(inside.sum(), rel=0.05)
        edges = occlusion_edges(seen.disparity, seen.instance)
        rim = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0))
        assert edges[rim].all()
        assert not edges[24, 32]

    def test_what_ends_before_a_pixels_centre_does_not_cover_it(self, textures: Textures):
        eye = Eye.looking(np.zeros(3), 0.0, 0.0, 0.0, 60.0, (48, 64))
        # Its right side, 3 m away, lies a tenth of a pixel right of the frame's left side.
        right = (0.1 - 32) / 60 * 3
        world = World()
        world.add(meshes.quad((-9, 3, -9), (right, 3, -9), (right, 3, 9), (-9, 3, 9)), Material(0))
        assert not drawn(world, textures, eye).instance.any()

    def test_shadows_fall_away_from_the_light(self, textures: Textures):
        world = World()
        white = Material(int(textures.families["plain"][0]), contrast=0.0)
        world.add(meshes.quad((-4, -1, 0), (4, -1, 0), (4, 9, 0), (-4, 9, 0)), white)
        world.add(meshes.box(0.5, 0.5, 1), white, transform((0, 3, 0)))
        light = Light(
            np.array([0.6, 0, 0.8]), np.ones(3), False, np.full(3, 0.1), np.full(3, 0.1), 0.5
        )
        sky = Sky(np.ones(3), np.ones(3), 0, 0.0)
        eye = Eye.looking(np.array([0.0, -1.0, 3.0]), 0.0, -0.6, 0.0, 50.0, (48, 64))
        seen = draw(world.triangles(), eye, light, sky, textures)
        floor = np.where(seen.instance == 1, seen.rgb.mean(-1), np.nan)
        lit = np.nanmedian(floor)
        dark = floor < 0.5 * lit
        assert dark.sum() > 10
        assert np.nonzero(dark)[1].mean() < 31  # to the left of the box: the sun is right


class TestSamples:
    def test_the_same_seed_makes_the_same_sample(self, textures: Textures):
        first, again = (make_sample(5, textures, (48, 64)) for _ in range(2))
        other = make_sample(6, textures, (48, 64))
        for name in ("photo", "disparity", "normal", "edges", "person", "instance"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert (first.photo != other.photo).any()

    @pytest.mark.parametrize("seed", range(12))
    def test_every_sample_is_whole(self, textures: Textures, seed: int):
        sample = make_sample(seed, textures, (48, 64))
        assert sample.photo.shape == (48, 64, 3)
        assert sample.photo.std() > 3
        assert np.isfinite(sample.disparity).all()
        assert (sample.disparity >= 0).all()
        length = np.linalg.norm(sample.normal, axis=-1)
        np.testing.assert_allclose(length[sample.disparity > 0], 1, atol=1e-3)
        assert sample.edges.any()
        assert ((sample.person >= 0) & (sample.person <= 1)).all()


def run(module: str, *args: object) -> None:
    command = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def scene_of(disparity: Array, photo: float, solid: Array | None = None) -> dict[str, Array]:
    """A sample as batches have it: `solid` is a thing with edges."""
    shape = disparity.shape
    edges = np.zeros(shape, np.float32)
    if solid is not None:
        edges = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    return {
        "photo": np.full((*shape, 3), photo, np.float32),
        "disparity": disparity.astype(np.float32),
        "normal": np.zeros((*shape, 3), np.float32),
        "person": np.full(shape, photo, np.float32),
        "edges": np.asarray(edges, np.float32),
        "known": np.full(shape, EVERYTHING, np.uint8),
    }


class TestOverlay:
    @pytest.mark.parametrize("seed", range(5))
    def test_what_is_near_stands_before_all_that_it_hides(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        back = scene_of(random.uniform(0.5, 2, (64, 96)), 0.0)
        solid = np.zeros((64, 96), bool)
        solid[20:50, 30:70] = True
        front = scene_of(np.where(solid, 0.3, 0.1), 1.0, solid)
        before = {name: values.copy() for name, values in back.items()}
        found = overlay(random, back, front)
        inner = np.zeros_like(solid)
        inner[24:46, 34:66] = True
        over = found["disparity"] != back["disparity"]
        whole = cv2.erode(over.astype(np.uint8), np.ones((7, 7))) > 0
        assert found["photo"][whole].min() > 0.99
        assert found["person"][whole].min() > 0.99
        assert (found["disparity"] >= back["disparity"]).all()
        assert over[inner].mean() > 0.9  # it hides almost everything
        away = ~solid
        for name in ("disparity", "edges"):
            np.testing.assert_array_equal(found[name][away & ~over], back[name][away & ~over])
        assert found["photo"].min() >= 0
        assert found["photo"].max() <= 1
        assert np.isfinite(recolour(random, found)["photo"]).all()
        rim = cv2.morphologyEx(over.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
        assert found["edges"][rim].mean() > 0.5
        assert all((back[name] == before[name]).all() for name in back)

    def test_what_has_no_outline_stays_away(self) -> None:
        random = np.random.default_rng(0)
        back = scene_of(np.ones((64, 96)), 0.0)
        slope = scene_of(np.linspace(1, 2, 64)[:, None] * np.ones(96), 1.0)
        assert overlay(random, back, slope) is back
        unknown = scene_of(np.ones((64, 96)), 1.0)
        unknown["known"][:] = PERSON
        assert overlay(random, back, unknown) is back

    def test_before_what_is_unknown_only_the_thing_is_known(self) -> None:
        random = np.random.default_rng(0)
        back = scene_of(np.zeros((64, 96)), 0.0)
        back["known"][:] = PERSON
        solid = np.zeros((64, 96), bool)
        solid[20:50, 30:70] = True
        found = overlay(random, back, scene_of(np.where(solid, 0.3, 0.1), 1.0, solid))
        known = (found["known"] & DISPARITY) > 0
        assert known[24:46, 34:66].all()
        assert not known[~solid].any()


def test_training_goes_on_where_it_stopped(tmp_path: Path):
    torch = pytest.importorskip("torch")
    run("training.pool", "--out", tmp_path / "pool", "--count", 24, "--jobs", 2, "--rows", 64)
    options = ["--pool", tmp_path / "pool", "--batch", 4, "--area", 4096]
    options += ["--every", 2, "--validation", 8]
    run("training.train", *options, "--out", tmp_path / "whole", "--steps", 4)
    run("training.train", *options, "--out", tmp_path / "parts", "--steps", 4, "--stop", 2)
    run("training.train", *options, "--out", tmp_path / "parts", "--steps", 4)
    whole, parts = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts")
    )
    assert whole["step"] == parts["step"] == 4
    for name, values in whole["net"].items():
        torch.testing.assert_close(parts["net"][name], values, msg=name)
    assert len((tmp_path / "parts" / "log.csv").read_text().splitlines()) == 3

    (tmp_path / "away").mkdir()
    parcel = tmp_path / "parts" / "parcel.pt"
    assert parcel.stat().st_size < 16 * 2**20
    parcel.rename(tmp_path / "away" / "parcel.pt")
    run("training.train", *options, "--out", tmp_path / "away", "--steps", 6)
    away = torch.load(tmp_path / "away" / "last.pt", weights_only=True)
    assert away["step"] == 6

    run("training.train", *options, "--out", tmp_path / "new", "--steps", 2, "--rate", 0, "--start",
        ROOT / "training" / "embedded.pt")  # fmt: skip
    new = torch.load(tmp_path / "new" / "last.pt", weights_only=True)
    packaged = torch.load(ROOT / "training" / "embedded.pt", weights_only=True)
    for weights in (new["net"], new["average"], packaged["net"]):
        assert all(values.isfinite().all() for values in weights.values())
    name = "heads.0.weight"
    torch.testing.assert_close(new["net"][name], packaged["net"][name].float())


class TestDepthwise:
    @pytest.mark.parametrize(("size", "side"), [((4, 5), 5), ((1, 9), 3), ((16, 3), 7)])
    def test_its_gradients_are_those_of_torch(self, size: tuple[int, int], side: int):
        torch = pytest.importorskip("torch")
        from training.depthwise import convolve

        torch.manual_seed(0)
        x, out = torch.randn(3, 6, *size), torch.randn(3, 6, *size)
        weight = torch.randn(6, 1, side, side)
        given = [x.requires_grad_(), weight.requires_grad_()]
        expected = torch.nn.functional.conv2d(x, weight, padding=side // 2, groups=6)
        found = convolve(x, weight)
        torch.testing.assert_close(found, expected)
        for a, b in zip(
            torch.autograd.grad(found, given, out),
            torch.autograd.grad(expected, given, out),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)

    def test_the_network_learns_the_same(self):
        torch = pytest.importorskip("torch")
        from diorama.models.nets.embedded import build
        from training.depthwise import quicken

        torch.manual_seed(0)
        plain, quick = build().eval(), build().eval()
        for values in plain.parameters():
            if values.ndim == 1:
                torch.nn.init.normal_(values, 0.5, 0.1)  # no block may change nothing
        torch.nn.init.normal_(plain.get_parameter("everywhere.0.out.weight"), 0.0, 0.05)
        quick.load_state_dict(plain.state_dict())
        quicken(quick)
        assert list(quick.state_dict()) == list(plain.state_dict())
        photo = torch.rand(2, 3, 64, 96)
        for net in (plain, quick):
            net(photo).square().mean().backward()
        for (name, a), b in zip(plain.named_parameters(), quick.parameters(), strict=True):
            assert a.grad is not None, name
            assert b.grad is not None, name
            scale = float(a.grad.abs().max())
            assert scale > 0, name
            torch.testing.assert_close(b.grad / scale, a.grad / scale, rtol=0, atol=1e-3, msg=name)


def test_a_deeper_network_begins_as_the_shallower(tmp_path: Path):
    torch = pytest.importorskip("torch")
    from dataclasses import replace

    from diorama.models.nets.embedded import EmbeddedConfig, build
    from training.train import open_run, save

    torch.manual_seed(0)
    depths = tuple(min(depth, 2) for depth in EmbeddedConfig().depths)
    shallow = build(replace(EmbeddedConfig(), depths=depths)).eval()
    save(tmp_path / "start.pt", {"net": shallow.state_dict(), "step": 0})
    deep = open_run(tmp_path, 1e-3, torch.device("cpu"), tmp_path / "start.pt")
    photo = torch.rand(1, 3, 64, 96)
    for net in (deep.net.eval(), deep.average.eval()):
        torch.testing.assert_close(net(photo), shallow(photo))
    other = {**shallow.state_dict(), "another": torch.zeros(1)}
    save(tmp_path / "start.pt", {"net": other, "step": 0})
    with pytest.raises(ValueError, match="another network's weights"):
        open_run(tmp_path, 1e-3, torch.device("cpu"), tmp_path / "start.pt")


def test_halves_keep_variances_beyond_their_range():
    torch = pytest.importorskip("torch")
    from training.train import halved

    weights = {"weight": torch.ones(2, 3), "running_var": torch.tensor([1e7, 1.0])}
    kept = halved(weights)
    assert kept["weight"].dtype == torch.float16
    torch.testing.assert_close(kept["running_var"], weights["running_var"])


@pytest.mark.slow
def test_the_average_of_two_networks(tmp_path: Path):
    """Weights lie between; what counts steps is the newer one's."""
    torch = pytest.importorskip("torch")
    from diorama.models.nets.embedded import build
    from training.train import save

    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        states.append(build().state_dict())
        states[-1]["stem.0.1.num_batches_tracked"].fill_(seed + 5)
        save(tmp_path / f"{seed}.pt", {"net": states[-1], "step": 100 * seed})
    command = [sys.executable, "-m", "training.average", "0.pt", "1.pt", "--share", "0.25"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--out", "mean.pt"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)
    assert mean["step"] == 100
    build().load_state_dict(mean["net"])
    for name, value in mean["net"].items():
        if value.dtype.is_floating_point:
            expected = 0.75 * states[0][name] + 0.25 * states[1][name]
            torch.testing.assert_close(value.float(), expected, atol=1e-3, rtol=1e-3)
    assert int(mean["net"]["stem.0.1.num_batches_tracked"]) == 6


def test_the_search_keeps_a_table(tmp_path: Path):
    pytest.importorskip("torch")
    run("training.pool", "--out", tmp_path / "pool", "--count", 8, "--jobs", 1, "--rows", 64)
    options = ["--pool", tmp_path / "pool", "--out", tmp_path / "study"]
    options += ["--steps", 1, "--validation", 2]
    run("training.search", *options, "--trials", 1)
    run("training.search", *options, "--trials", 2)
    lines = (tmp_path / "study" / "study.md").read_text().splitlines()
    assert len(lines) == 4
    assert "[16, 32, 64, 128, 224] | [0, 2, 2, 9, 9]" in "".join(lines)  # the one in use
