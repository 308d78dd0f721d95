"""What a page hands to its viewer: one JSON block, as dataclasses.

The viewer's TypeScript types are generated from these (`npm run types` in `web/`), so that the two
sides cannot drift apart.
"""

import ast
import inspect
import sys
from dataclasses import dataclass
from typing import Literal

FORMAT = 1
"""Version of the block; the viewer refuses others."""


@dataclass(frozen=True)
class LayerData:
    """One layer: triangles in photo pixels and disparity, and the texture they wear."""

    low: tuple[float, float, float]
    """What step 0 of a vertex means: x and y in photo pixels, disparity in 1 / scene unit."""
    high: tuple[float, float, float]
    """What step 65535 means."""
    vertices: str
    """Base64 of little-endian uint16 (n, 3): steps between `low` and `high`."""
    indices: str
    """Base64 of little-endian unsigned integers (m, 3), clockwise on screen."""
    index_bytes: Literal[2, 4]
    """Bytes an index takes."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom of the texture in photo pixels."""
    texture: str
    """The texture as a data URL; alpha is straight."""
    opaque: bool
    """True if no texel is transparent."""


@dataclass(frozen=True)
class SceneData:
    """A scene as the viewer shows it."""

    format: int
    """Version of this block."""
    name: str
    """The photo's name."""
    width: int
    """Of the photo at processing size, in pixels."""
    height: int
    """Of the photo at processing size, in pixels."""
    lens: tuple[float, float, float, float]
    """fx, fy, cx, cy of the photo's camera in pixels, pixel centres at +0.5."""
    view_box: tuple[float, float, float]
    """Half sizes of where the eye may go: right, down, forward, in scene units."""
    frame: tuple[str, str, str, str]
    """Base64 of little-endian float32: disparity along the photo's top, bottom, left and right,
    evenly spaced from corner to corner; the viewer continues the photo from it."""
    layers: tuple[LayerData, ...]
    """Back to front."""
    cut_out: bool
    """True if the photo is transparent somewhere: nothing is put behind it or around it."""


def typescript() -> str:
    """The dataclasses of this module as TypeScript interfaces."""
    head = "// Generated from src/diorama/viewer/messages.py by `npm run types`: change it there.\n"
    return head + "".join(_interface(kind) for kind in (LayerData, SceneData))


def _interface(kind: type) -> str:
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    lines = [f"\n/** {ast.get_docstring(body)} */\nexport interface {kind.__name__} {{\n"]
    for field, doc in zip(body.body[1::2], body.body[2::2], strict=True):
        assert isinstance(field, ast.AnnAssign)
        assert isinstance(field.target, ast.Name)
        assert isinstance(doc, ast.Expr)
        text = " ".join(str(ast.literal_eval(doc.value)).split())
        kind_of = _type(field.annotation)
        lines.append(f"  /** {text} */\n  readonly {field.target.id}: {kind_of};\n")
    return "".join(lines) + "}\n"


def _type(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        plain = {"int": "number", "float": "number", "str": "string", "bool": "boolean"}
        return plain.get(node.id, node.id)
    assert isinstance(node, ast.Subscript)
    assert isinstance(node.value, ast.Name)
    assert isinstance(node.slice, ast.Tuple)
    items = node.slice.elts
    if node.value.id == "Literal":
        return " | ".join(ast.unparse(item) for item in items)
    if isinstance(items[-1], ast.Constant) and items[-1].value is ...:
        return f"readonly {_type(items[0])}[]"
    return "readonly [" + ", ".join(_type(item) for item in items) + "]"


if __name__ == "__main__":
    sys.stdout.write(typescript())
