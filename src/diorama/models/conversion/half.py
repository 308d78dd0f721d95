"""Half precision: weights and arithmetic in 16 bits, inputs and outputs in 32 as before."""

from typing import TYPE_CHECKING

from diorama.extras import import_extra

if TYPE_CHECKING:
    from onnx import ModelProto


def to_half(model: "ModelProto") -> "ModelProto":
    """The model in half precision: half the size, and faster where the hardware has it.

    CPUs without half-precision arithmetic convert back and forth and are slower than with float32.
    """
    import_extra("convert", "converting to half precision")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # What is written beside an initializer contradicts its new type; it is inferred again.
    del model.graph.value_info[:]
    half = convert_float_to_float16(model, keep_io_types=True)
    # Two nodes that need the same tensor in 32 bits each get a cast of the same name.
    unique = {tuple(node.output): node for node in half.graph.node}
    del half.graph.node[:]
    half.graph.node.extend(unique.values())
    return half
