"""What every test shares: checked array types, and the optional folder of photos and truth.

The import hook must be installed before anything imports the package, which is why it stands here
and not in a fixture. Under it every annotated function and dataclass checks the dtypes, shapes and
agreeing sizes of its arrays. Kernels stay outside: the wrapper would hide them from numba's cache.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "diorama"

UNCHECKED = {"__init__", "__main__", "kernels"}

CHECKED = sorted(
    f"diorama.{path.stem}"
    for path in PACKAGE.iterdir()
    if path.stem not in UNCHECKED and (path.suffix == ".py" or (path / "__init__.py").exists())
)

# An integer may stand for a float (PEP 484's numeric tower), as every type checker has it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

jaxtyping.install_import_hook(CHECKED, CHECKER)

# Triton decides at its first import whether it interprets, and torch brings it in here and there.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

# Started in the background, by nohup or a script, a process ignores Ctrl-C, and so do its children;
# the tests are about those who do not.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photos and ground truth beside the repository; skips where it is absent."""
    folder = Path(os.environ.get("DIORAMA_SHARED", ROOT.parent / "shared" / "data"))
    if not (folder / "index.json").is_file():
        pytest.skip(f"shared data absent: no index.json in {folder}")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks in torch only wait for more."""
    import torch

    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIORAMA_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demo_photo() -> Path:
    """The photo the package ships."""
    return PACKAGE / "data" / "demo.jpg"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, demo_photo: Path) -> Path:
    """A small file of the same, for commands to read."""
    path = tmp_path_factory.mktemp("photos") / "cat.jpg"
    with Image.open(demo_photo) as image:
        image.resize((160, 120)).save(path, quality=95)
    return path
