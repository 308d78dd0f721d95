"""The shape of the package: imports run one way, importing is light, names are complete."""

import ast
import importlib
import operator
import subprocess
import sys
from pathlib import Path

import pytest

import diorama
from diorama import registry
from diorama.export import FORMATS

PACKAGE = Path(diorama.__file__).parent

LEVELS = (
    {
        "errors",
        "extras",
        "arrays",
        "runtime",
        "files",
        "registry",
        "weights",
        "downloads",
        "hub",
        "licences",
        "interrupts",
        "xmp",
        "heif",
        "tiles",
    },
    {"kernels"},
    {
        *{
            "camera",
            "exr",
            "pictures",
            "photo",
            "depth",
            "depth_files",
            "phone_depth",
            "masks",
            "mask_edges",
            "pieces",
            "harmonise",
            "layers",
            "matting",
            "inpaint",
            "head",
            "portrait",
        },
        *{"textures", "mesh", "mpi", "splats", "png"},
        *{"scene", "scene_fields", "scene_file"},
        *{"render", "framing", "stereo", "paths", "config"},
    },
    {"models", "viewer", "export", "testing"},
    {"pipeline", "doctor", "serve", "report", "inputs", "workers", "batch"},
    {"commands", "cli"},
)
"""A module imports from its own level and those before it; a new one must find its place here."""

LAZY_UPWARD = {("scene", "export"), ("splats", "export")}
"""Methods that users expect on the object, whose module is imported when they are called."""

HEAVY = {
    *{"av", "cv2", "llvmlite", "numba", "onnxruntime", "PIL", "rich", "scipy", "torch", "triton"},
    *{"skimage", "transformers", "tyro"},
}

SHAPELESS = {"utils", "util", "common", "core", "helpers", "helper", "manager", "service", "misc"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The top-level module or folder of the package that a file belongs to; "" for the package."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Absolute names a file imports, each with whether that happens inside a function."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, lazy) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.extend((f"{node.module}.{alias.name}", lazy) for alias in node.names)
        lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, lazy)

    visit(ast.parse(path.read_text()), False)
    return found


def level_of(part: str) -> int:
    levels = [level for level, parts in enumerate(LEVELS) if part in parts]
    assert levels, f"give {part} a place in LEVELS"
    return levels[0]


def modules_after(statement: str) -> set[str]:
    """Names in `sys.modules` of a fresh interpreter that ran `statement`."""
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path):
    part = part_of(path)
    if not part:
        return  # the package imports whatever public name is asked for
    for name, lazy in imports_of(path):
        top, _, rest = name.partition(".")
        if top != "diorama" or not rest or rest == "__version__":
            continue
        imported = rest.partition(".")[0]
        if lazy and (part, imported) in LAZY_UPWARD:
            continue
        assert level_of(imported) <= level_of(part), f"{part} must not import {name}"
        assert imported != "testing" or part == "testing", f"{part} must not import {name}"


def test_modules_do_not_import_each_other_in_circles():
    graph = {
        part_of(path): {
            name.split(".")[1]
            for name, lazy in imports_of(path)
            if name.startswith("diorama.") and not lazy
        }
        for path in MODULES
        if path.parent == PACKAGE and path.stem != "__init__"
    }
    done: set[str] = set()

    def visit(part: str, above: tuple[str, ...]) -> None:
        assert part not in above, " -> ".join((*above, part))
        if part not in done:
            for imported in sorted(graph.get(part, ())):
                visit(imported, (*above, part))
            done.add(part)

    for part in graph:
        visit(part, ())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_numba_is_reached_lazily_through_kernels(path: Path):
    compiled = path.parent == PACKAGE / "kernels" / "_numba"
    for name, lazy in imports_of(path):
        if name.partition(".")[0] == "numba":
            assert compiled, "only kernels/_numba imports numba"
        if name.startswith("diorama.kernels._numba"):
            assert compiled or part_of(path) == "kernels", "call the kernel's public function"
            assert compiled or lazy, "compiled twins are imported when they are called"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_is_reached_lazily(path: Path):
    twin = path.parent == PACKAGE / "kernels" / "_triton"
    net = path.parent == PACKAGE / "models" / "nets"
    for name, lazy in imports_of(path):
        if name.partition(".")[0] in {"torch", "triton"}:
            assert twin or net or lazy, f"{name} is imported when it is called for"
        if name.startswith("diorama.kernels._triton"):
            assert twin or part_of(path) == "kernels", "call the kernel's public function"
            assert twin or lazy, "compiled twins are imported when they are called"


def test_import_is_light():
    assert not modules_after("import diorama") & (HEAVY | {"numpy", "jaxtyping"})


def test_stages_import_without_compilers_and_codecs():
    stages = {part for level in LEVELS[:4] for part in level}
    present = [name_of(path) for path in MODULES if part_of(path) in stages]
    inner = {"_numba", "_triton", "nets"}
    public = [name for name in present if not inner & set(name.split("."))]
    heavy = {"av", "llvmlite", "numba", "onnxruntime", "rich", "torch", "triton", "tyro"}
    assert not modules_after(f"import {', '.join(public)}") & heavy


def test_import_takes_no_time():
    code = "import time; t = time.perf_counter(); import diorama; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.3


def test_public_names_are_sorted_complete_and_documented():
    listed = diorama.__all__
    assert listed == sorted(listed)
    homes = {
        f"diorama.{module}.{name}" for module, names in diorama._HOMES.items() for name in names
    }
    assert {name.rpartition(".")[2] for name in homes} == set(listed)
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen_by_checkers = {
        f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen_by_checkers == homes
    for name in listed:
        written = getattr(diorama, name).__doc__
        assert written, f"{name} has no docstring"
        assert not written.startswith(f"{name}("), f"{name} has only a generated docstring"
    assert set(listed) <= set(dir(diorama))


def test_every_error_is_public():
    errors = importlib.import_module("diorama.errors")
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, diorama.DioramaError)
    }
    assert classes <= set(diorama.__all__)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diorama.nothing


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_say_what_they_are(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    assert path.stem not in SHAPELESS, f"{path.stem} names no noun of this package"


@pytest.mark.parametrize(
    "entry",
    [e for e in registry.entries() if e.extra is None and e.weights is None],
    ids=lambda e: f"{e.task}-{e.name}",
)
def test_registered_models_exist(entry: registry.ModelEntry):
    methods = {"depth": "estimate", "segmenter": "segment", "inpainter": "inpaint"}
    method = {**methods, "matte": "matte", "faces": "detect"}[entry.task]
    assert callable(getattr(registry.load(entry.task, entry.name), method))
    assert entry.summary.endswith(".")


@pytest.mark.parametrize("entry", FORMATS.values(), ids=lambda e: e.name)
def test_export_formats_have_writers(entry):
    module, _, names = entry.writer.partition(":")
    assert callable(operator.attrgetter(names)(importlib.import_module(module)))
    assert entry.summary.endswith(".")
