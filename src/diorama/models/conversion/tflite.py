"""TensorFlow Lite files to ONNX.

The flatbuffer is read with the schema that LiteRT brings, and each operation becomes one ONNX
operation or a few. TFLite has channels last: convolutions, pools and resizing are wrapped in
transpositions, which ONNX Runtime cancels where they meet. Quantised tensors become floats again
(`integer` quantises by measured error), so that the result says what the file says up to its own
rounding. LiteRT's interpreter is what the result is held to.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diorama.arrays import Array
from diorama.errors import InputError, MissingExtraError
from diorama.extras import import_extra

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 18, 10

_NUMBERS: dict[int, Any] = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    9: np.int8,
    10: np.float64,
}
"""NumPy's names of TFLite's types."""

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Interpreter:
    """LiteRT itself, as the truth for what was converted."""

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter as Runtime
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"converting {path.name}", "convert") from error
        if not path.is_file():
            raise InputError(f"{path} is not there: pass a .tflite file")
        try:
            self._runtime = Runtime(model_path=str(path), num_threads=1)
            self._runtime.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path} is damaged or no TFLite file: {_line(error)}") from error

    def run(self, tensor: Array) -> list[Array]:
        """All outputs for one input, floats both."""
        wanted = self._runtime.get_input_details()[0]
        self._runtime.set_tensor(wanted["index"], _quantised(tensor, wanted))
        self._runtime.invoke()
        details = self._runtime.get_output_details()
        return [_dequantised(self._runtime.get_tensor(d["index"]), d) for d in details]


def read_tflite(path: Path) -> "ModelProto":
    """Read a TFLite file as an ONNX model with the same tensors, all in float32.

    Raises:
        InputError: if it is no TFLite file, is cut short, or has operations unknown here, which the
            message names.
        MissingExtraError: if onnx or LiteRT is not installed.
    """
    import_extra("convert", f"converting {path.name}")
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"converting {path.name}", "convert") from error
    Interpreter(path)  # checks the file from end to end
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return _Graph(model, schema, path.name).model()


class _Graph:
    """The ONNX graph while it grows: nodes and constants."""

    def __init__(self, model: Any, schema: Any, name: str) -> None:
        if len(model.subgraphs) != 1:
            raise InputError(f"{name} has {len(model.subgraphs)} graphs; only one can be converted")
        self.tflite, self.graph, self.schema = model, model.subgraphs[0], schema
        for item in (self.graph, *self.graph.operators):
            item.inputs, item.outputs = (
                [int(i) for i in part] for part in (item.inputs, item.outputs)
            )
        self.title = name
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.kinds = {
            value: key for key, value in vars(schema.BuiltinOperator).items() if key.isupper()
        }

    def model(self) -> "ModelProto":
        """Convert everything."""
        from onnx import TensorProto, helper, numpy_helper

        kinds = [self.kind(operator) for operator in self.graph.operators]
        if unknown := sorted(set(kinds) - set(_OPERATIONS)):
            raise InputError(f"{self.title} has operations unknown here: {', '.join(unknown)}")
        for index in range(len(self.graph.tensors)):
            constant = self.constant(index)
            if constant is not None:
                self.constants[self.name(index)] = constant
        for kind, operator in zip(kinds, self.graph.operators, strict=True):
            _OPERATIONS[kind](self, operator)
        used = {name for node in self.nodes for name in node.input}

        def values(indices: Sequence[int]) -> list[Any]:
            return [
                helper.make_tensor_value_info(self.name(i), TensorProto.FLOAT, self.shape(i))
                for i in indices
            ]

        graph = helper.make_graph(
            self.nodes,
            "tflite",
            values(self.graph.inputs),
            values(self.graph.outputs),
            [numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in used],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def kind(self, operator: Any) -> str:
        code = self.tflite.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = code.customCode.decode() if code.customCode else None
        return custom or self.kinds.get(number, f"operation {number}")

    def name(self, index: int) -> str:
        return f"t{index}"

    def shape(self, index: int) -> list[int]:
        shape = self.graph.tensors[index].shape
        return [] if shape is None else [int(side) for side in shape]

    def constant(self, index: int) -> Array | None:
        """The tensor's values if they are in the file, as floats if they are quantised."""
        tensor = self.graph.tensors[index]
        data = self.tflite.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        kind = _NUMBERS.get(tensor.type)
        if kind is None:
            raise InputError(f"{self.title} has constants of a type unknown here: {tensor.type}")
        values = np.frombuffer(bytes(bytearray(data)), kind).reshape(self.shape(index))
        scale = tensor.quantization and tensor.quantization.scale
        if scale is None or not len(scale):
            return values.astype(np.float32) if values.dtype.kind == "f" else values
        zero = tensor.quantization.zeroPoint
        zero = np.zeros(1) if zero is None or not len(zero) else zero
        sides = [1] * values.ndim
        if len(scale) > 1:
            sides[tensor.quantization.quantizedDimension] = len(scale)
        scale, zero = (np.asarray(v, np.float32).reshape(sides) for v in (scale, zero))
        return (values.astype(np.float32) - zero) * scale

    def integers(self, index: int) -> list[int]:
        """A constant of integers, such as axes or sizes."""
        values = self.constant(index)
        if values is None:
            raise InputError(f"{self.title} computes sizes or axes; only fixed ones are converted")
        return [int(value) for value in np.ravel(values)]

    def add(
        self, kind: str, inputs: Sequence[str], output: str | None = None, **options: Any
    ) -> str:
        """Append a node and return the name of its output."""
        from onnx import helper

        output = output or f"n{len(self.nodes)}"
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **options))
        return output

    def keep(self, values: Any, kind: Any = np.int64) -> str:
        """A constant of our own."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, kind)
        return name

    def transposed(self, name: str, order: Sequence[int], output: str | None = None) -> str:
        return self.add("Transpose", [name], output, perm=list(order))

    def finish(self, name: str, operator: Any, *, activation: int = 0) -> None:
        """Give a result its fused activation and the name of the operator's output."""
        output = self.name(operator.outputs[0])
        kinds = self.schema.ActivationFunctionType
        if activation == kinds.NONE:
            self.add("Identity", [name], output)
        elif activation == kinds.RELU:
            self.add("Relu", [name], output)
        elif activation == kinds.TANH:
            self.add("Tanh", [name], output)
        elif activation in (kinds.RELU6, kinds.RELU_N1_TO_1):
            low, high = (0, 6) if activation == kinds.RELU6 else (-1, 1)
            limits = [self.keep(limit, np.float32) for limit in (low, high)]
            self.add("Clip", [name, *limits], output)
        else:
            raise InputError(f"{self.title} has a fused activation unknown here: {activation}")


_Operation = Callable[[_Graph, Any], None]


def _simple(kind: str) -> _Operation:
    """The same operation under ONNX's name, with a fused activation if it has one."""

    def convert(g: _Graph, op: Any) -> None:
        made = g.add(kind, [g.name(i) for i in op.inputs])
        fused = getattr(op.builtinOptions, "fusedActivationFunction", 0)
        g.finish(made, op, activation=fused)

    return convert


def _convolution(depthwise: bool) -> _Operation:
    def convert(g: _Graph, op: Any) -> None:
        options = op.builtinOptions
        weights = _weights(g, op.inputs[1])
        group = 1
        if depthwise:  # (1, h, w, channels), channels = group * multiplier
            weights = weights.transpose(3, 0, 1, 2)
            group = g.shape(op.inputs[0])[3]
        else:  # (out, h, w, in)
            weights = weights.transpose(0, 3, 1, 2)
            group = g.shape(op.inputs[0])[3] // weights.shape[1]
        inputs = [g.transposed(g.name(op.inputs[0]), _TO_NCHW), g.keep(weights, np.float32)]
        inputs += _optional(g, op, 2)
        made = g.add(
            "Conv",
            inputs,
            group=group,
            kernel_shape=list(weights.shape[2:]),
            strides=[options.strideH, options.strideW],
            dilations=[options.dilationHFactor, options.dilationWFactor],
            auto_pad=_padding(g, options),
        )
        g.finish(g.transposed(made, _TO_NHWC), op, activation=options.fusedActivationFunction)

    return convert


def _optional(g: _Graph, op: Any, which: int) -> list[str]:
    """The name of an input, such as a bias, that may be left out."""
    there = len(op.inputs) > which and op.inputs[which] >= 0
    return [g.name(op.inputs[which])] if there else []


def _transposed_convolution(g: _Graph, op: Any) -> None:
    options = op.builtinOptions
    weights = _weights(g, op.inputs[1]).transpose(3, 0, 1, 2)  # (out, h, w, in) to (in, out, h, w)
    strides = [options.strideH, options.strideW]
    sides = zip(g.shape(op.inputs[2])[1:3], g.shape(op.outputs[0])[1:3], strict=True)
    pads: list[tuple[int, int]] = []
    for (inside, outside), step, size in zip(sides, strides, weights.shape[2:], strict=True):
        extra = max((inside - 1) * step + size - outside, 0)
        pads.append((extra // 2, extra - extra // 2))
    inputs = [g.transposed(g.name(op.inputs[2]), _TO_NCHW), g.keep(weights, np.float32)]
    inputs += _optional(g, op, 3)
    (top, bottom), (left, right) = pads
    made = g.add("ConvTranspose", inputs, strides=strides, pads=[top, left, bottom, right])
    fused = getattr(options, "fusedActivationFunction", 0)
    g.finish(g.transposed(made, _TO_NHWC), op, activation=fused)


def _pool(kind: str) -> _Operation:
    def convert(g: _Graph, op: Any) -> None:
        options = op.builtinOptions
        made = g.add(
            kind,
            [g.transposed(g.name(op.inputs[0]), _TO_NCHW)],
            kernel_shape=[options.filterHeight, options.filterWidth],
            strides=[options.strideH, options.strideW],
            auto_pad=_padding(g, options),
        )
        g.finish(g.transposed(made, _TO_NHWC), op, activation=options.fusedActivationFunction)

    return convert


def _fully_connected(g: _Graph, op: Any) -> None:
    weights = _weights(g, op.inputs[1])
    flat = g.add("Reshape", [g.name(op.inputs[0]), g.keep([-1, weights.shape[1]])])
    inputs = [flat, g.keep(weights, np.float32)]
    inputs += _optional(g, op, 2)
    made = g.add("Gemm", inputs, transB=1)
    shaped = g.add("Reshape", [made, g.keep(g.shape(op.outputs[0]))])
    g.finish(shaped, op, activation=op.builtinOptions.fusedActivationFunction)


def _resize(mode: str) -> _Operation:
    def convert(g: _Graph, op: Any) -> None:
        options = op.builtinOptions
        place = "half_pixel" if options.halfPixelCenters else "asymmetric"
        place = "align_corners" if options.alignCorners else place
        nearest = "floor" if place == "asymmetric" else "round_prefer_ceil"
        batch, height, width, channels = g.shape(op.outputs[0])
        made = g.add(
            "Resize",
            [
                g.transposed(g.name(op.inputs[0]), _TO_NCHW),
                *("", ""),
                g.keep([batch, channels, height, width]),
            ],
            mode=mode,
            coordinate_transformation_mode=place,
            nearest_mode=nearest,
        )
        g.finish(g.transposed(made, _TO_NHWC), op)

    return convert


def _reduction(kind: str) -> _Operation:
    def convert(g: _Graph, op: Any) -> None:
        axes = g.keep(g.integers(op.inputs[1]))
        keep = int(op.builtinOptions.keepDims)
        g.finish(g.add(kind, [g.name(op.inputs[0]), axes], keepdims=keep), op)

    return convert


def _reshape(g: _Graph, op: Any) -> None:
    """Of any kind that only changes the shape, which the output has."""
    g.finish(g.add("Reshape", [g.name(op.inputs[0]), g.keep(g.shape(op.outputs[0]))]), op)


def _transpose(g: _Graph, op: Any) -> None:
    g.finish(g.transposed(g.name(op.inputs[0]), g.integers(op.inputs[1])), op)


def _pad(g: _Graph, op: Any) -> None:
    before_after = np.reshape(g.integers(op.inputs[1]), (-1, 2))
    inputs = [g.name(op.inputs[0]), g.keep(before_after.T.ravel())]
    mode = "constant"
    if g.kind(op) == "MIRROR_PAD":
        mode = "edge" if op.builtinOptions.mode == g.schema.MirrorPadMode.SYMMETRIC else "reflect"
        if mode == "edge" and before_after.max() > 1:
            raise InputError(f"{g.title} pads symmetrically by more than 1, which ONNX cannot")
    elif len(op.inputs) > 2:
        inputs.append(g.name(op.inputs[2]))
    g.finish(g.add("Pad", inputs, mode=mode), op)


def _concatenation(g: _Graph, op: Any) -> None:
    options = op.builtinOptions
    made = g.add("Concat", [g.name(i) for i in op.inputs], axis=options.axis)
    g.finish(made, op, activation=options.fusedActivationFunction)


def _softmax(g: _Graph, op: Any) -> None:
    beta = g.keep(op.builtinOptions.beta, np.float32)
    scaled = g.add("Mul", [g.name(op.inputs[0]), beta])
    g.finish(g.add("Softmax", [scaled], axis=-1), op)


def _slice(g: _Graph, op: Any) -> None:
    starts, sizes = g.integers(op.inputs[1]), g.integers(op.inputs[2])
    ends = [
        side if size < 0 else start + size
        for start, size, side in zip(starts, sizes, g.shape(op.inputs[0]), strict=True)
    ]
    g.finish(g.add("Slice", [g.name(op.inputs[0]), g.keep(starts), g.keep(ends)]), op)


def _strided_slice(g: _Graph, op: Any) -> None:
    options = op.builtinOptions
    if options.ellipsisMask or options.newAxisMask:
        raise InputError(f"{g.title} slices with an ellipsis or a new axis, which is unknown here")
    starts, ends, steps = (g.integers(i) for i in op.inputs[1:4])
    largest = np.iinfo(np.int64).max
    for axis, step in enumerate(steps):
        if options.beginMask >> axis & 1:
            starts[axis] = 0 if step > 0 else largest
        if options.endMask >> axis & 1:
            ends[axis] = largest if step > 0 else -largest
        if options.shrinkAxisMask >> axis & 1:
            ends[axis] = starts[axis] + 1 if starts[axis] != -1 else largest
    axes = g.keep(range(len(steps)))
    rest = [g.keep(starts), g.keep(ends), axes, g.keep(steps)]
    made = g.add("Slice", [g.name(op.inputs[0]), *rest])
    g.finish(g.add("Reshape", [made, g.keep(g.shape(op.outputs[0]))]), op)


def _leaky_relu(g: _Graph, op: Any) -> None:
    g.finish(g.add("LeakyRelu", [g.name(op.inputs[0])], alpha=op.builtinOptions.alpha), op)


def _relu6(g: _Graph, op: Any) -> None:
    g.finish(g.name(op.inputs[0]), op, activation=g.schema.ActivationFunctionType.RELU6)


def _depth_to_space(g: _Graph, op: Any) -> None:
    moved = g.transposed(g.name(op.inputs[0]), _TO_NCHW)
    made = g.add("DepthToSpace", [moved], blocksize=op.builtinOptions.blockSize, mode="DCR")
    g.finish(g.transposed(made, _TO_NHWC), op)


_OPERATIONS: dict[str, _Operation] = {
    "ADD": _simple("Add"),
    "SUB": _simple("Sub"),
    "MUL": _simple("Mul"),
    "DIV": _simple("Div"),
    "MAXIMUM": _simple("Max"),
    "MINIMUM": _simple("Min"),
    "POW": _simple("Pow"),
    "RELU": _simple("Relu"),
    "LOGISTIC": _simple("Sigmoid"),
    "TANH": _simple("Tanh"),
    "ELU": _simple("Elu"),
    "PRELU": _simple("PRelu"),
    "HARD_SWISH": _simple("HardSwish"),
    "EXP": _simple("Exp"),
    "SQRT": _simple("Sqrt"),
    "ABS": _simple("Abs"),
    "NEG": _simple("Neg"),
    "BATCH_MATMUL": _simple("MatMul"),
    "QUANTIZE": _simple("Identity"),
    "DEQUANTIZE": _simple("Identity"),
    "RELU6": _relu6,
    "LEAKY_RELU": _leaky_relu,
    "SOFTMAX": _softmax,
    "CONV_2D": _convolution(False),
    "DEPTHWISE_CONV_2D": _convolution(True),
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "MEAN": _reduction("ReduceMean"),
    "SUM": _reduction("ReduceSum"),
    "REDUCE_MAX": _reduction("ReduceMax"),
    "REDUCE_MIN": _reduction("ReduceMin"),
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _pad,
    "CONCATENATION": _concatenation,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "DEPTH_TO_SPACE": _depth_to_space,
}
"""How each of TFLite's operations is written in ONNX."""


def _weights(g: _Graph, index: int) -> Array:
    values = g.constant(index)
    if values is None:  # in half precision, weights pass through a DEQUANTIZE
        makers = [op for op in g.graph.operators if index in list(op.outputs)]
        values = g.constant(makers[0].inputs[0]) if makers else None
    if values is None:
        raise InputError(
            f"{g.title} computes the weights of a layer; only fixed ones are converted"
        )
    return values


def _padding(g: _Graph, options: Any) -> str:
    return "SAME_UPPER" if options.padding == g.schema.Padding.SAME else "VALID"


def _quantised(tensor: Array, details: Any) -> Array:
    scale, zero = details["quantization"]
    if not scale:
        return tensor.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(tensor / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def _dequantised(tensor: Array, details: Any) -> Array:
    scale, zero = details["quantization"]
    return ((tensor.astype(np.float32) - zero) * scale if scale else tensor).astype(np.float32)


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
