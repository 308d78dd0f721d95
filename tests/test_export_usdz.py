"""The USDZ package: read back by Pixar's library, and valid by its own validators."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from pxr import Ar, Gf, Usd, UsdGeom, UsdShade, UsdValidation

from diorama.camera import Camera
from diorama.errors import OutputError
from diorama.export.textured import encode_texture, textured_meshes
from diorama.export.usdz import write_usdz
from diorama.scene import Scene

LAYERS = ("layer_0_back", "layer_1", "layer_2_front")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene(128, 96)


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("usdz") / "my photo.usdz"
    write_usdz(scene, path)
    return path


@pytest.fixture(scope="module")
def stage(path: Path) -> Usd.Stage:
    return Usd.Stage.Open(str(path))


def test_pixars_validators_find_no_fault(stage: Usd.Stage) -> None:
    registry = UsdValidation.ValidationRegistry()
    validators = registry.GetOrLoadAllValidators()
    names = {v.GetMetadata().name for v in validators}
    assert "usdUtilsValidators:UsdzPackageValidator" in names
    assert "usdShadeValidators:ShaderSdrCompliance" in names
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [(e.GetName(), e.GetMessage()) for e in errors] == []


def test_the_validators_would_find_a_fault(path: Path, tmp_path: Path) -> None:
    """The test above can fail: an unaligned package is not valid."""
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "bad.usdz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    stage = Usd.Stage.Open(str(tmp_path / "bad.usdz"))
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert {error.GetName() for error in errors} >= {"ByteMisalignment"}


def test_files_are_stored_and_aligned(path: Path) -> None:
    data = path.read_bytes()
    with zipfile.ZipFile(path) as package:
        infos = package.infolist()
    assert [info.filename for info in infos] == [
        "scene.usda",
        "textures/layer_0.jpg",
        "textures/layer_1.png",
        "textures/layer_2.png",
    ]
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        at = info.header_offset
        lengths = np.frombuffer(data, "<u2", 2, at + 26)
        start = at + 30 + int(lengths.sum())
        assert start % 64 == 0
        assert int(lengths[1]) < 4 + 64


def test_usd_reads_the_same_triangles(stage: Usd.Stage, scene: Scene) -> None:
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    for name, mesh, textured in zip(LAYERS, scene.meshes, textured_meshes(scene), strict=True):
        prim = UsdGeom.Mesh(stage.GetPrimAtPath(f"/scene/{name}"))
        points = np.array(prim.GetPointsAttr().Get())
        np.testing.assert_array_equal(points, mesh.vertices * np.float32([1, -1, -1]))
        indices = np.array(prim.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
        np.testing.assert_array_equal(indices, mesh.triangles[:, ::-1])
        assert set(prim.GetFaceVertexCountsAttr().Get()) == {3}
        a, b, c = points[indices].transpose(1, 0, 2)
        assert (np.cross(b - a, c - a)[:, 2] > 0).all()  # they face the camera
        assert prim.GetSubdivisionSchemeAttr().Get() == "none"
        st = UsdGeom.PrimvarsAPI(prim).GetPrimvar("st")
        assert st.GetInterpolation() == "vertex"
        np.testing.assert_allclose(np.array(st.Get()) * [1, -1] + [0, 1], textured.uvs, atol=1e-6)
        extent = UsdGeom.PointBased.ComputeExtent(prim.GetPointsAttr().Get())
        assert extent == prim.GetExtentAttr().Get()


def test_materials_glow_in_the_textures_colours(stage: Usd.Stage, scene: Scene) -> None:
    for index, (name, mesh) in enumerate(zip(LAYERS, textured_meshes(scene), strict=True)):
        prim = stage.GetPrimAtPath(f"/scene/{name}")
        material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
        surface, _, _ = material.ComputeSurfaceSource()
        assert surface.GetShaderId() == "UsdPreviewSurface"
        source, output, _ = surface.GetInput("emissiveColor").GetConnectedSource()
        assert (source.GetPrim().GetName(), output) == ("texture", "rgb")
        asset = source.GetPrim().GetAttribute("inputs:file").Get()
        _, data = encode_texture(mesh)
        opened = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath))
        assert bytes(opened.GetBuffer()) == data
        opacity = surface.GetInput("opacity")
        assert opacity.HasConnectedSource() == (index > 0)
        if index:
            assert opacity.GetConnectedSource()[1] == "a"
        assert surface.GetInput("opacityThreshold").Get() == 0


@pytest.mark.parametrize("shift", [(0.0, 0.0), (7.0, -4.0)])
def test_usds_camera_projects_as_ours(
    scene: Scene, tmp_path: Path, shift: tuple[float, float]
) -> None:
    K = scene.camera.K.copy()
    K[:2, 2] += shift
    K[1, 1] *= 1.1
    camera = Camera(K, np.eye(4), 128, 96)
    moved = replace(scene, photo=replace(scene.photo, camera=camera))
    moved.__dict__["meshes"] = scene.meshes
    write_usdz(moved, tmp_path / "a.usdz")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    seen = UsdGeom.Camera(stage.GetPrimAtPath("/scene/photo")).GetCamera(Usd.TimeCode.Default())
    frustum = seen.frustum
    project = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
    for point in ([0.1, 0.2, 1.0], [-0.5, 0.3, 2.0], [0.0, 0.0, 5.0]):
        ndc = project.Transform(Gf.Vec3d(point[0], -point[1], -point[2]))
        pixel = (ndc[0] + 1) / 2 * 128, (1 - ndc[1]) / 2 * 96
        u, v, w = K @ point
        assert pixel == pytest.approx((u / w, v / w), abs=1e-3)


def test_same_scene_same_bytes(scene: Scene, path: Path, tmp_path: Path) -> None:
    write_usdz(scene, tmp_path / "b.usdz")
    assert (tmp_path / "b.usdz").read_bytes() == path.read_bytes()


def test_an_empty_scene_is_said(scene: Scene, tmp_path: Path) -> None:
    other = replace(scene)
    other.__dict__["meshes"] = tuple(
        replace(mesh, triangles=np.zeros((0, 3), np.int32)) for mesh in scene.meshes
    )
    with pytest.raises(OutputError, match="every layer of the scene is empty"):
        write_usdz(other, tmp_path / "none.usdz")
    assert list(tmp_path.iterdir()) == []
