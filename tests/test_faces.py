"""Face detectors and mattes: the cascade on real faces, networks of the published files' shape."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from diorama import registry
from diorama.arrays import Array
from diorama.errors import InputError
from diorama.models.faces import Cascade, YuNet, find_eye, find_mouth
from diorama.models.u2net import SIDE_PX, U2NetHuman
from diorama.photo import Photo, load_photo
from diorama.portrait import FaceDetector, MatteEstimator


@pytest.fixture(scope="module")
def astronaut() -> Photo:
    return load_photo(data.astronaut())


def photo_of(rgb: Array) -> Photo:
    return load_photo(np.asarray(rgb, np.float32))


EYES, MOUTH = ((203, 101), (245, 103)), (223, 145)
"""Of the astronaut, read off the picture."""


class TestCascade:
    def test_a_face_with_its_eyes_and_mouth(self, astronaut: Photo) -> None:
        assert isinstance(Cascade(), FaceDetector)
        (face,) = Cascade().detect(astronaut)
        assert np.hypot(*np.subtract(face.left_eye, EYES[0])) < 5
        assert np.hypot(*np.subtract(face.right_eye, EYES[1])) < 5
        assert np.hypot(*np.subtract(face.mouth, MOUTH)) < 9
        assert face.nose is None

    @pytest.mark.parametrize("zoom", [0.5, 2.0])
    def test_at_any_size(self, astronaut: Photo, zoom: float) -> None:
        way = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        other = photo_of(cv2.resize(astronaut.rgb, None, fx=zoom, fy=zoom, interpolation=way))
        face = Cascade().detect(other)[0]  # and perhaps, smaller, what a matte tells is none
        assert np.hypot(*np.subtract(face.left_eye, np.multiply(EYES[0], zoom))) < 6 * zoom
        assert np.hypot(*np.subtract(face.right_eye, np.multiply(EYES[1], zoom))) < 6 * zoom

    def test_two_faces_the_larger_first_and_the_same_again(self, astronaut: Photo) -> None:
        head = astronaut.rgb[20:260, 120:330]
        small = cv2.resize(head, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        both = np.full((260, 420, 3), 0.6, np.float32)
        both[:240, :210] = head
        both[60 : 60 + len(small), 260 : 260 + small.shape[1]] = small
        faces = Cascade().detect(photo_of(both))
        assert len(faces) == 2
        assert faces[0].left_eye[0] < 210 < faces[1].left_eye[0]
        assert Cascade().detect(photo_of(both)) == faces

    def test_nobody(self) -> None:
        assert Cascade().detect(load_photo(data.coffee())) == ()
        assert Cascade().detect(photo_of(np.zeros((20, 300, 3)))) == ()
        assert Cascade().detect(photo_of(np.full((120, 120, 3), 0.5))) == ()


@pytest.mark.parametrize("at", [(26.0, 30.0), (34.0, 33.0)])
def test_an_iris_is_found(at: tuple[float, float]) -> None:
    face = np.full((80, 80), 190, np.uint8)
    cv2.ellipse(face, (round(at[0]), round(at[1])), (8, 5), 0, 0, 360, 235, -1)
    cv2.circle(face, (round(at[0]), round(at[1])), 4, 60, -1)
    face[18:21, 15:45] = 110  # a brow
    found = find_eye(face, (30.0, 31.0), (12.0, 9.0))
    assert np.hypot(*(found - at)) < 2


def test_a_mouth_is_found() -> None:
    face = np.full((80, 80), 180, np.uint8)
    face[62:65, 28:52] = 90
    assert find_mouth(face, 40, 16, (54, 74)) == pytest.approx(63, abs=1.5)
    assert 54 <= find_mouth(np.full((80, 80), 180, np.uint8), 40, 16, (54, 74)) <= 74


def yunet_file(path: Path, size: tuple[int, int]) -> Path:
    """A network with YuNet's inputs and outputs whose faces are bright cells of 32 pixels.

    Each face is 64 by 96 pixels around the cell's corner, with eyes, nose and mouth in it.
    """
    width, height = size
    nodes, values = [], []

    def constant(name: str, value: Array) -> str:
        values.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    for stride in (8, 16, 32):
        h, w = height // stride, width // stride
        pool = helper.make_node(
            "AveragePool",
            ["input"],
            [f"p{stride}"],
            kernel_shape=[stride] * 2,
            strides=[stride] * 2,
        )
        gain = 1 / 255 / 3 if stride == 32 else 0.0
        kernel = constant(f"k{stride}", np.full((1, 3, 1, 1), gain, np.float32))
        conv = helper.make_node("Conv", [f"p{stride}", kernel], [f"c{stride}"])
        shape = constant(f"s{stride}", np.array([1, h * w, 1], np.int64))
        nodes += [pool, conv, helper.make_node("Reshape", [f"c{stride}", shape], [f"cls_{stride}"])]
        nodes.append(helper.make_node("Identity", [f"cls_{stride}"], [f"obj_{stride}"]))
        places = {"bbox": [0, 0, np.log(2), np.log(3)]}
        places["kps"] = [-0.5, -0.5, 0.5, -0.5, 0.1, 0.2, -0.4, 0.8, 0.4, 0.8]
        for kind, place in places.items():
            row = constant(f"{kind}row{stride}", np.array(place, np.float32))
            zero = constant(f"{kind}zero{stride}", np.zeros(1, np.float32))
            nodes.append(helper.make_node("Mul", [f"cls_{stride}", zero], [f"{kind}0{stride}"]))
            nodes.append(helper.make_node("Add", [f"{kind}0{stride}", row], [f"{kind}_{stride}"]))
    outputs = [
        helper.make_tensor_value_info(
            f"{kind}_{s}", TensorProto.FLOAT, [1, (height // s) * (width // s), columns]
        )
        for kind, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for s in (8, 16, 32)
    ]
    photo = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, "yunet", [photo], outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


class TestYuNet:
    def test_faces_with_all_their_points(self, tmp_path: Path) -> None:
        weights = yunet_file(tmp_path / "yunet.onnx", (640, 512))
        detector = YuNet(weights)
        assert isinstance(detector, FaceDetector)
        rgb = np.zeros((512, 640, 3), np.float32)
        rgb[96:128, 160:192] = 1
        (face,) = detector.detect(photo_of(rgb))
        # The cell (5, 3) of 32 pixels: its corner is at (160, 96).
        assert face.left_eye == pytest.approx((144, 80))
        assert face.right_eye == pytest.approx((176, 80))
        assert face.nose == pytest.approx((163.2, 102.4))
        assert face.mouth == pytest.approx((160, 121.6))
        assert face.score == pytest.approx(1, abs=1e-3)
        assert detector.detect(photo_of(np.zeros((512, 640, 3)))) == ()

    def test_a_large_photo_is_seen_small(self, tmp_path: Path) -> None:
        weights = yunet_file(tmp_path / "yunet.onnx", (640, 512))
        rgb = np.zeros((1024, 1280, 3), np.float32)
        rgb[192:256, 320:384] = 1
        (face,) = YuNet(weights).detect(photo_of(rgb))
        assert face.left_eye == pytest.approx((288, 160))

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        bad = tmp_path / "face_detection_yunet_2023mar.onnx"
        black = photo_of(np.zeros((64, 64, 3)))
        with pytest.raises(InputError, match=r"yunet_2023mar.onnx is missing, or is no YuNet"):
            YuNet(bad).detect(black)
        bad.write_bytes(b"not a network")
        with pytest.raises(InputError, match=r"is no YuNet: pull it again"):
            YuNet(bad).detect(black)


def u2net_file(path: Path, *, gain: float = 4.0, side: int = SIDE_PX) -> Path:
    """A network with U2-Net's inputs and outputs that takes green for people."""
    kernel = numpy_helper.from_array(np.array([[[[0]], [[gain]], [[0]]]], np.float32), "k")
    nodes = [
        helper.make_node("Conv", ["input.1", "k"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["1959"]),
    ]
    photo = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, side, side])
    found = helper.make_tensor_value_info("1959", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "u2net", [photo], [found], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


class TestU2Net:
    def test_people_at_the_photos_size(self, tmp_path: Path) -> None:
        matter = U2NetHuman(u2net_file(tmp_path / "u2net.onnx"))
        assert isinstance(matter, MatteEstimator)
        rgb = np.zeros((200, 500, 3), np.float32)
        rgb[50:150, 100:200, 1] = 0.4  # the brightest there is
        matte = matter.matte(photo_of(rgb))
        assert matte.shape == (200, 500)
        assert matte.dtype == np.float32
        assert matte[60:140, 110:190].min() > 0.99
        assert matte[:, 220:].max() < 0.01

    def test_nothing_to_see(self, tmp_path: Path) -> None:
        matte = U2NetHuman(u2net_file(tmp_path / "u2net.onnx")).matte(
            photo_of(np.zeros((40, 50, 3)))
        )
        assert not matte.any()

    def test_another_network(self, tmp_path: Path) -> None:
        black = photo_of(np.zeros((40, 50, 3)))
        with pytest.raises(InputError, match="is not there"):
            U2NetHuman(tmp_path / "none.onnx").matte(black)
        with pytest.raises(InputError, match="is not U2-Net: its inputs are"):
            U2NetHuman(u2net_file(tmp_path / "small.onnx", side=64)).matte(black)
        with pytest.raises(InputError, match="damaged, or not U2-Net"):
            U2NetHuman(u2net_file(tmp_path / "nan.onnx", gain=np.nan)).matte(black)
        (tmp_path / "bad.onnx").write_bytes(b"no")
        with pytest.raises(InputError, match="cannot run"):
            U2NetHuman(tmp_path / "bad.onnx").matte(black)


def test_the_embedded_matte_is_the_estimators(astronaut: Photo) -> None:
    matter = registry.load("matte", "embedded")
    assert isinstance(matter, MatteEstimator)
    estimate = registry.load("depth", "embedded").estimate(astronaut)
    np.testing.assert_array_equal(matter.matte(astronaut), estimate.matte)
