"""TFLite to ONNX: LiteRT's interpreter, which shares no code with ours, is the truth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_files import TfliteFile, schema

from diorama.errors import InputError
from diorama.models.conversion import convert, tflite
from diorama.models.conversion.sessions import run_photos
from diorama.runtime import open_session

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
NEAREST, BILINEAR = "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"

Build = Callable[[TfliteFile], int]


def drawn(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def compare(path: Path, tolerance: float = 1e-5) -> None:
    model = tflite.read_tflite(path)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    tensor = np.random.default_rng(1).random(shape, np.float32)
    expected = tflite.Interpreter(path).run(tensor)
    [found] = run_photos(open_session(model), [tensor])
    assert [f.shape for f in found] == [e.shape for e in expected]
    for f, e in zip(found, expected, strict=True):
        assert e.std() > 0
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance)


def convolution(padding: int, stride: int, activation: int, size: int) -> Build:
    def build(file: TfliteFile) -> int:
        weights = file.constant(drawn(5, size, size, 3))
        bias = file.constant(drawn(5))
        lost = 0 if padding == SAME else size - 1
        sides = [-(-(side - lost) // stride) for side in (12, 9)]
        return file.add(
            *("CONV_2D", [file.input, weights, bias], [1, *sides, 5], "Conv2DOptions"),
            padding=padding,
            strideH=stride,
            strideW=stride,
            fusedActivationFunction=activation,
        )

    return build


def depthwise(file: TfliteFile) -> int:
    weights = file.constant(drawn(1, 3, 3, 6))
    return file.add(
        *("DEPTHWISE_CONV_2D", [file.input, weights, file.constant(drawn(6))], [1, 6, 5, 6]),
        "DepthwiseConv2DOptions",
        padding=SAME,
        strideH=2,
        strideW=2,
        depthMultiplier=2,
        fusedActivationFunction=RELU6,
    )


def transposed(file: TfliteFile) -> int:
    shape = file.constant([1, 24, 18, 4], np.int32)
    weights = file.constant(drawn(4, 3, 3, 3))
    return file.add(
        *("TRANSPOSE_CONV", [shape, weights, file.input], [1, 24, 18, 4], "TransposeConvOptions"),
        padding=SAME,
        strideH=2,
        strideW=2,
    )


def pool(kind: str) -> Build:
    def build(file: TfliteFile) -> int:
        fields = {"filterHeight": 3, "filterWidth": 3, "strideH": 2, "strideW": 2, "padding": SAME}
        return file.add(kind, [file.input], [1, 6, 5, 3], "Pool2DOptions", **fields)

    return build


def resize(kind: str, **options: bool) -> Build:
    def build(file: TfliteFile) -> int:
        size = file.constant([20, 18], np.int32)
        name = "ResizeBilinearOptions" if kind == BILINEAR else "ResizeNearestNeighborOptions"
        return file.add(kind, [file.input, size], [1, 20, 18, 3], name, **options)

    return build


def head(file: TfliteFile) -> int:
    axes = file.constant([1, 2], np.int32)
    mean = file.add("MEAN", [file.input, axes], [1, 3], "ReducerOptions", keepDims=False)
    weights = file.constant(drawn(4, 3))
    inputs = [mean, weights, file.constant(drawn(4))]
    dense = file.add("FULLY_CONNECTED", inputs, [1, 4], "FullyConnectedOptions")
    return file.add("SOFTMAX", [dense], [1, 4], "SoftmaxOptions", beta=2.0)


def shapes(file: TfliteFile) -> int:
    pads = file.constant([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32)
    padded = file.add("PAD", [file.input, pads], [1, 15, 12, 3], "PadOptions")
    begin, end = (file.constant(v, np.int32) for v in ([0, 1, 0, 1], [1, 15, 12, 3]))
    step = file.constant([1, 2, 3, 1], np.int32)
    inputs = [padded, begin, end, step]
    cut = file.add("STRIDED_SLICE", inputs, [1, 7, 4, 2], "StridedSliceOptions", beginMask=4)
    order = file.constant([0, 2, 1, 3], np.int32)
    turned = file.add("TRANSPOSE", [cut, order], [1, 4, 7, 2], "TransposeOptions")
    both = [turned, turned]
    joined = file.add("CONCATENATION", both, [1, 4, 7, 4], "ConcatenationOptions", axis=3)
    wide = file.add("DEPTH_TO_SPACE", [joined], [1, 8, 14, 1], "DepthToSpaceOptions", blockSize=2)
    flat = file.constant([1, 112], np.int32)
    return file.add("RESHAPE", [wide, flat], [1, 112], "ReshapeOptions")


def arithmetic(file: TfliteFile) -> int:
    shape = [1, 12, 9, 3]
    added = file.add("ADD", [file.input, file.constant(drawn(3))], shape, "AddOptions")
    fields = {"fusedActivationFunction": RELU}
    product = file.add("MUL", [added, file.input], shape, "MulOptions", **fields)
    less = file.add("SUB", [product, file.input], shape, "SubOptions")
    sloped = file.add("PRELU", [less, file.constant([[[0.1, 0.2, 0.3]]])], shape)
    wave = file.add("HARD_SWISH", [sloped], shape)
    return file.add("LOGISTIC", [wave], shape)


@pytest.mark.parametrize(
    "build",
    [
        convolution(SAME, 1, RELU, 3),
        convolution(SAME, 2, RELU6, 3),
        convolution(SAME, 2, 0, 5),
        convolution(VALID, 2, 0, 3),
        depthwise,
        transposed,
        pool("AVERAGE_POOL_2D"),
        pool("MAX_POOL_2D"),
        resize(BILINEAR),
        resize(BILINEAR, alignCorners=True),
        resize(BILINEAR, halfPixelCenters=True),
        resize(NEAREST),
        resize(NEAREST, halfPixelCenters=True),
        head,
        shapes,
        arithmetic,
    ],
)
def test_operations_give_what_litert_gives(build: Build, tmp_path: Path):
    file = TfliteFile([1, 12, 9, 3])
    compare(file.write(tmp_path / "net.tflite", build(file)))


def test_weights_in_half_precision_pass_through_a_dequantisation(tmp_path: Path):
    file = TfliteFile([1, 12, 9, 3])
    half = file.constant(drawn(5, 3, 3, 3), np.float16)
    weights = file.add("DEQUANTIZE", [half], [5, 3, 3, 3])
    inputs = [file.input, weights, file.constant(drawn(5))]
    fields = {"padding": SAME, "strideH": 1, "strideW": 1}
    made = file.add("CONV_2D", inputs, [1, 12, 9, 5], "Conv2DOptions", **fields)
    compare(file.write(tmp_path / "half.tflite", made))


def test_an_integer_network_becomes_floats_up_to_its_own_rounding(tmp_path: Path):
    file = TfliteFile([1, 12, 9, 3])
    quantised = file.tensor([1, 12, 9, 3], np.int8, scale=[1 / 255], zero=[-128])
    file.add("QUANTIZE", [file.input], [], output=quantised)
    steps = np.random.default_rng(2).integers(-127, 128, (5, 3, 3, 3))
    scales = np.linspace(0.002, 0.01, 5)
    weights = file.constant(steps, np.int8, scale=scales, zero=[0] * 5, axis=0)
    bias = file.constant([300, -200, 0, 50, 90], np.int32, scale=scales / 255, zero=[0] * 5)
    inside = file.tensor([1, 12, 9, 5], np.int8, scale=[0.05], zero=[3])
    fields = {"padding": SAME, "strideH": 1, "strideW": 1}
    file.add("CONV_2D", [quantised, weights, bias], [], "Conv2DOptions", output=inside, **fields)
    made = file.add("DEQUANTIZE", [inside], [1, 12, 9, 5])
    compare(file.write(tmp_path / "integer.tflite", made), tolerance=0.05)


def test_convert_writes_a_checked_onnx_file(tmp_path: Path):
    file = TfliteFile([1, 12, 9, 3])
    path = file.write(tmp_path / "net.tflite", convolution(SAME, 1, RELU, 3)(file))
    made = convert(str(path), "onnx", tmp_path / "net.onnx")
    assert made.error < 1e-5
    session = open_session(made.path)
    assert session.get_inputs()[0].shape == [1, 12, 9, 3]


def test_unknown_operations_are_named(tmp_path: Path):
    file = TfliteFile([1, 12, 9, 3])
    path = file.write(tmp_path / "net.tflite", file.add("COS", [file.input], [1, 12, 9, 3]))
    with pytest.raises(InputError, match="operations unknown here: COS"):
        tflite.read_tflite(path)


def test_damaged_files_are_one_line(tmp_path: Path):
    file = TfliteFile([1, 12, 9, 3])
    path = file.write(tmp_path / "net.tflite", depthwise(file))
    data = path.read_bytes()
    for length in (0, 6, 40, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="damaged or no TFLite file") as caught:
            tflite.read_tflite(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"no such thing at all")
    with pytest.raises(InputError, match="damaged or no TFLite file"):
        tflite.read_tflite(path)
    with pytest.raises(InputError, match="is not there"):
        tflite.read_tflite(tmp_path / "absent.tflite")
