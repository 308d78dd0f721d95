"""TFLite files for the tests, written with LiteRT's own schema; its interpreter runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

KINDS = {
    np.dtype("f4"): schema.TensorType.FLOAT32,
    np.dtype("f2"): schema.TensorType.FLOAT16,
    np.dtype("i4"): schema.TensorType.INT32,
    np.dtype("i1"): schema.TensorType.INT8,
}


class TfliteFile:
    """Tensors and operations, one after the other."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.operatorCodes = []
        self.model.buffers = [schema.BufferT()]
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs = [], [], [0]
        self.model.subgraphs = [graph]
        self.graph = graph
        self.input = self.tensor(shape)

    def tensor(
        self, shape: Sequence[int], kind: Any = np.float32, values: Any = None, **quantised: Any
    ) -> int:
        """A tensor, constant if it has values; `scale`, `zero` and `axis` if it is quantised."""
        tensor = schema.TensorT()
        tensor.shape = np.asarray(shape, np.int32)
        tensor.type = KINDS[np.dtype(kind)]
        tensor.name = f"tensor{len(self.graph.tensors)}".encode()
        tensor.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, kind).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        if quantised:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(quantised["scale"], np.float32)
            tensor.quantization.zeroPoint = np.asarray(quantised["zero"], np.int64)
            tensor.quantization.quantizedDimension = quantised.get("axis", 0)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: Any, kind: Any = np.float32, **quantised: Any) -> int:
        values = np.asarray(values, kind)
        return self.tensor(values.shape, kind, values, **quantised)

    def add(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: str | None = None,
        output: int | None = None,
        **values: Any,
    ) -> int:
        """An operation, the shape of its result, and the name and fields of its options."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 3 if kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR") else 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = np.asarray(inputs, np.int32)
        made = self.tensor(shape) if output is None else output
        operator.outputs = np.asarray([made], np.int32)
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for name, value in values.items():
                setattr(operator.builtinOptions, name, value)
        self.graph.operators.append(operator)
        return made

    def write(self, path: Path, output: int) -> Path:
        self.graph.outputs = np.asarray([output], np.int32)
        self.graph.inputs = np.asarray([self.input], np.int32)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path
