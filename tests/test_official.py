"""Networks opened from files: checkpoints, ONNX, and all that is neither."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from official_weights import official_weights

from diorama.errors import InputError
from diorama.models.conversion import convert
from diorama.models.lama import NETWORK
from diorama.models.nets import lama
from diorama.models.official import Network, Precision, Room, run_in_parts


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return official_weights(lama.build(ngf=8, n_blocks=1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, state: dict) -> Path:
    """As a training run leaves one: with what is not the generator's."""
    path = tmp_path_factory.mktemp("weights") / "best.ckpt"
    others = {"discriminator.model0.0.weight": torch.zeros(3), "val_evaluator.x": torch.ones(1)}
    torch.save({"epoch": 4, "state_dict": state | others}, path)
    return path


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Path) -> Path:
    path = checkpoint.with_suffix(".onnx")
    convert("lama", "onnx", path, weights=checkpoint)
    return path


def pictures(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 4, height, width), np.float32)


def test_a_checkpoint_says_what_its_network_does(checkpoint: Path, state: dict) -> None:
    x = pictures(2, 64, 72)
    network = lama.load_official(lama.build(ngf=8, n_blocks=1), state)
    with torch.inference_mode():
        expected = network(torch.from_numpy(x)).numpy()

    found = NETWORK.open(checkpoint, precision="fp32")(x)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_fewer_bits_change_little(checkpoint: Path, precision: Precision) -> None:
    x = pictures(1, 64, 64)
    opened = NETWORK.open(checkpoint, precision=precision)
    assert opened.runs_as == f"{'cuda' if torch.cuda.is_available() else 'cpu'} {precision}"
    exact, reduced = NETWORK.open(checkpoint, precision="fp32")(x), opened(x)
    assert reduced.dtype == np.float32
    assert 0 < np.sqrt(np.square(exact - reduced).mean()) < 10 ** (-45 / 20)


def test_a_checkpoint_is_found_in_its_zip(tmp_path: Path, checkpoint: Path) -> None:
    path, x = tmp_path / "big-lama.zip", pictures(1, 64, 64)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("big-lama/config.yaml", "generator: {kind: ffc_resnet}")
        archive.write(checkpoint, "big-lama/models/best.ckpt")
    zipped, plain = (NETWORK.open(p, precision="fp32")(x) for p in (path, checkpoint))
    np.testing.assert_array_equal(zipped, plain)


def test_threads_are_as_many_as_are_asked_for(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("DIORAMA_THREADS", "1")
    try:
        NETWORK.open(shutil.copy(checkpoint, tmp_path / "copy.ckpt"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_weights_of_half_precision_are_taken(tmp_path: Path, state: dict) -> None:
    path = tmp_path / "half.pt"
    torch.save({n: t.half() if t.is_floating_point() else t for n, t in state.items()}, path)
    assert NETWORK.open(path, precision="fp32")(pictures(1, 64, 64)).dtype == np.float32


def test_a_file_that_changed_is_read_again(tmp_path: Path, state: dict) -> None:
    path, x = tmp_path / "own.pt", pictures(1, 64, 64)
    torch.save(state, path)
    before = NETWORK.open(path, precision="fp32")(x)
    torch.save(official_weights(lama.build(ngf=8, n_blocks=1), 0.5), path)
    assert np.abs(NETWORK.open(path, precision="fp32")(x) - before).max() > 1e-3


class TestMemory:
    """Networks that have room for so many pictures at a time, and no more."""

    @pytest.fixture
    def room(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path) -> "Cramped":
        found = Cramped(shutil.copy(checkpoint, tmp_path / "best.ckpt"))
        prepare = lama.prepare

        def cramped(net: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
            module = prepare(net, dtype)
            module.register_forward_pre_hook(found.check)
            return module

        monkeypatch.setattr(lama, "prepare", cramped)
        return found

    def test_what_does_not_fit_runs_in_parts(
        self, room: "Cramped", caplog: pytest.LogCaptureFixture
    ) -> None:
        x, run = pictures(5, 64, 64), NETWORK.open(room.weights, precision="fp32")
        expected = run(x)
        assert caplog.records == []
        room.most = 2
        np.testing.assert_allclose(run(x), expected, atol=1e-5)
        place = "cuda" if torch.cuda.is_available() else "cpu"
        assert [record.getMessage() for record in caplog.records] == [
            f"LaMa: out of memory on {place}, so 2 at a time instead of 5"
        ]
        assert room.seen == [5, 5, 3, 2, 2, 1]
        run(x)  # it is known by now
        assert room.seen[6:] == [2, 2, 1]
        assert len(caplog.records) == 1
        run(pictures(2, 64, 128))  # twice as large each
        assert room.seen[9:] == [1, 1]

    def test_what_does_not_fit_at_all_is_one_line(self, room: "Cramped") -> None:
        room.most = 0
        with pytest.raises(InputError, match=r"LaMa does not fit into the memory of .*smaller"):
            NETWORK.open(room.weights)(pictures(2, 64, 64))

    def test_a_gpu_that_is_too_small_has_a_cpu_beside_it(self) -> None:
        def run(part: np.ndarray) -> tuple[np.ndarray, ...]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        with pytest.raises(InputError, match="memory of cuda: pass --device cpu, or choose"):
            run_in_parts(run, pictures(2, 8, 8), Room(), title="LaMa", device="cuda")

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"),
            Exception("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer"),
        ],
    )
    def test_other_libraries_say_it_in_other_words(self, error: Exception) -> None:
        failures = [error]

        def run(part: np.ndarray) -> tuple[np.ndarray, ...]:
            if failures:
                raise failures.pop()
            return (part, part[:, 0])

        x = pictures(3, 8, 8)
        whole, first = run_in_parts(run, x, Room(), title="LaMa", device="cpu")
        np.testing.assert_array_equal(whole, x)
        np.testing.assert_array_equal(first, x[:, 0])

    def test_other_errors_stay_what_they_are(self) -> None:
        def run(part: np.ndarray) -> tuple[np.ndarray, ...]:
            raise RuntimeError("shapes differ")

        with pytest.raises(RuntimeError, match="shapes differ"):
            run_in_parts(run, pictures(2, 8, 8), Room(), title="LaMa", device="cpu")


class Cramped:
    """For so many pictures at a time, in a network's first step."""

    def __init__(self, weights: str | Path) -> None:
        self.weights = Path(weights)
        self.most = 100
        self.seen: list[int] = []

    def check(self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.seen.append(len(args[0]))
        if len(args[0]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.slow  # exporting is
class TestOnnx:
    @pytest.mark.parametrize("size", [(64, 64), (32, 96), (160, 64)])
    def test_it_says_what_the_checkpoint_does_at_any_size(
        self, checkpoint: Path, onnx_file: Path, size: tuple[int, int]
    ) -> None:
        x = pictures(3, *size)
        expected = NETWORK.open(checkpoint, precision="fp32")(x)
        np.testing.assert_allclose(NETWORK.open(onnx_file)(x), expected, atol=2e-5, rtol=0)

    def test_it_needs_no_torch(self, onnx_file: Path) -> None:
        code = (
            "import sys; sys.modules['torch'] = None; from pathlib import Path; import numpy as np;"
            "from diorama.models.lama import NETWORK;"
            f"run = NETWORK.open(Path({str(onnx_file)!r}));"
            "print(run(np.zeros((1, 4, 64, 64), np.float32)).shape)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "(1, 3, 64, 64)", done.stderr

    def test_its_precision_and_place_are_its_own(self, onnx_file: Path) -> None:
        assert NETWORK.open(onnx_file).runs_as == "cpu fp32"
        with pytest.raises(InputError, match=r"best\.onnx is in fp32: pass that or auto"):
            NETWORK.open(onnx_file, precision="bf16")
        with pytest.raises(
            InputError, match=r"cannot run on cuda: this ONNX Runtime has cpu; pass"
        ):
            NETWORK.open(onnx_file, device="cuda")

    def test_another_network_s_is_refused(self, onnx_file: Path) -> None:
        other = Network("MiDaS", "diorama.models.nets.midas_small", channels=3)
        with pytest.raises(InputError, match=r"best\.onnx is not MiDaS: its input is"):
            other.open(onnx_file)


class TestWrongFiles:
    def test_one_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.pt is not there: pass a file of weights"):
            NETWORK.open(tmp_path / "none.pt")

    def test_one_of_another_network(self, tmp_path: Path) -> None:
        path = tmp_path / "other.pt"
        torch.save({"encoder.weight": torch.zeros(2)}, path)
        with pytest.raises(InputError, match=r"other\.pt is not LaMa: .*unexpected: encoder"):
            NETWORK.open(path)

    @pytest.mark.parametrize("suffix", [".pt", ".onnx", ".safetensors"])
    def test_one_that_is_cut_short(self, tmp_path: Path, checkpoint: Path, suffix: str) -> None:
        path = tmp_path / f"short{suffix}"
        path.write_bytes(checkpoint.read_bytes()[:5000])
        with pytest.raises(InputError, match="short") as refused:
            NETWORK.open(path)
        assert "\n" not in str(refused.value)

    def test_a_device_that_is_for_other_files(self, checkpoint: Path) -> None:
        with pytest.raises(InputError, match=r"LaMa cannot run on openvino from a checkpoint, but"):
            NETWORK.open(checkpoint, device="openvino")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_device_that_is_not_there(self, checkpoint: Path) -> None:
        with pytest.raises(InputError, match="torch finds no GPU; pass cpu"):
            NETWORK.open(checkpoint, device="cuda")
