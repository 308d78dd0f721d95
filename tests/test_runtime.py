"""Work on bands, in order, whatever the number of threads; networks where they can run."""

import os
import sys
import threading
import types
import weakref
from pathlib import Path

import pytest

from diorama import runtime
from diorama.errors import InputError
from diorama.models.embedded import WEIGHTS
from diorama.runtime import (
    CPU,
    PROVIDERS,
    Device,
    device_of,
    devices,
    kept,
    num_threads,
    open_network,
    open_session,
    precision_of,
    release_networks,
    run_bands,
    run_tasks,
    silence,
)


def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "3")
    assert num_threads() == 3
    monkeypatch.setenv("DIORAMA_THREADS", "many")
    assert num_threads() >= 1


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_bands_cover_every_row_once_and_do_not_depend_on_threads(
    monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", threads)
    bands = run_bands(lambda begin, end, offset: (begin + offset, end + offset), 130, 1000)
    assert bands == [(1000, 1064), (1064, 1128), (1128, 1130)]
    assert run_bands(lambda begin, end: 1, 0) == []
    assert run_bands(lambda begin, end: end - begin, 10, band_rows=4) == [4, 4, 2]


def test_tasks_run_at_the_same_time_and_return_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "2")
    barrier = threading.Barrier(2, timeout=10)

    def task(name: str) -> str:
        barrier.wait()
        return name

    assert run_tasks([lambda: task("a"), lambda: task("b")]) == ["a", "b"]


def test_a_failing_task_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        run_tasks([lambda: 1, lambda: 1 / 0])


def test_tasks_may_run_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "2")

    def nested(first: int) -> list[int]:
        return run_tasks([lambda k=k: first + k for k in range(3)])

    assert run_tasks([lambda f=f: nested(f) for f in range(4)]) == [
        [f, f + 1, f + 2] for f in range(4)
    ]


def test_bytes_are_summed_slowly_only_where_the_processor_would_overflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def options() -> str:
        session = open_session(WEIGHTS)
        return session.get_session_options().get_session_config_entry("session.x64quantprecision")

    monkeypatch.setattr(runtime, "_sums_bytes", lambda: False)
    assert options() == "1"
    monkeypatch.setattr(runtime, "_sums_bytes", lambda: True)
    with pytest.raises(RuntimeError):  # not set
        options()


class TestDevices:
    """What ONNX Runtime says it has, and what of it works here."""

    @pytest.fixture(autouse=True)
    def nothing_failed_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime, "_useless", set())

    def says_it_has(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        import onnxruntime

        has = [PROVIDERS[name] for name in names]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: has)

    def test_the_cpu_is_always_there(self) -> None:
        assert "cpu" in devices()
        session = open_network(WEIGHTS, "cpu")
        assert (device_of(session), precision_of(session)) == ("cpu", "int8")

    def test_they_are_named_as_ours_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says_it_has(monkeypatch, "tensorrt", "cpu", "openvino", "cuda")
        assert devices() == ["cuda", "openvino", "cpu", "tensorrt"]

    @pytest.mark.parametrize(
        ("present", "tried"),
        [
            (["cpu"], []),
            (["tensorrt", "cuda", "cpu"], ["cuda"]),
            (["directml", "cpu"], ["directml"]),
            (["openvino", "cpu"], ["openvino"]),
            (["coreml", "cpu"], []),
        ],
    )
    def test_auto_takes_what_a_wheel_is_installed_for(
        self, monkeypatch: pytest.MonkeyPatch, present: list[str], tried: list[str]
    ) -> None:
        self.says_it_has(monkeypatch, *present)
        asked: list[str] = []

        def refuse(model: Path, *, provider: str = CPU) -> object:
            asked.append(provider)
            if provider != CPU:
                raise InputError("not here")
            return open_session(model)

        monkeypatch.setattr(runtime, "open_session", refuse)
        open_network(WEIGHTS)
        assert asked == [*(PROVIDERS[name] for name in tried), CPU]

    @pytest.mark.filterwarnings("ignore:Specified provider")  # by ONNX Runtime, which lacks it
    @pytest.mark.skipif("cuda" in devices(), reason="CUDA might work")
    def test_one_that_does_not_start_is_passed_over_and_said_so_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.says_it_has(monkeypatch, "cuda", "cpu")
        for _ in range(2):
            assert device_of(open_network(WEIGHTS)) == "cpu"
        assert [record.getMessage() for record in caplog.records] == [
            "ONNX Runtime cannot use CUDAExecutionProvider here, so embedded.onnx runs on cpu"
        ]
        with pytest.raises(InputError, match=r"cannot use CUDA\w+ here; pass --device auto, or"):
            open_network(WEIGHTS, "cuda")

    def test_a_damaged_file_is_one_error_wherever_it_is_tried(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "bad.onnx"
        path.write_bytes(WEIGHTS.read_bytes()[:5000])
        self.says_it_has(monkeypatch, "cuda", "cpu")
        with pytest.raises(InputError, match=r"ONNX Runtime cannot run bad\.onnx: ") as caught:
            open_network(path)
        assert "\n" not in str(caught.value)
        assert caplog.records == []
        assert runtime._useless == set()

    @pytest.mark.parametrize("device", ["cuda", "directml", "openvino", "coreml", "tensorrt"])
    def test_one_that_is_asked_for_and_absent_names_its_wheel(
        self, monkeypatch: pytest.MonkeyPatch, device: Device
    ) -> None:
        self.says_it_has(monkeypatch, "cpu")
        with pytest.raises(
            InputError,
            match=rf"embedded\.onnx cannot run on {device}: this ONNX Runtime has cpu; pass auto, "
            rf"or install {runtime.WHEELS[device]} in its place",
        ):
            open_network(WEIGHTS, device)

    def test_each_device_that_works_says_the_same(self) -> None:
        import numpy as np

        x = {"photo": np.random.default_rng(0).random((1, 3, 96, 128), np.float32)}
        (expected,) = open_network(WEIGHTS, "cpu").run(None, x)
        for device in devices():
            if device == "tensorrt":
                continue
            try:
                session = open_network(WEIGHTS, device)
            except InputError:
                continue
            (found,) = session.run(None, x)
            error = np.sqrt(np.square(np.asarray(found) - np.asarray(expected)).mean())
            assert error < 0.05 * np.std(np.asarray(expected)), device

    def test_a_wheel_that_was_half_removed_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
        with pytest.raises(InputError, match=r"ONNX Runtime is damaged, .*: run `diorama doctor`"):
            open_network(WEIGHTS)


class TestOpenedNetworks:
    class Network:
        """Something large."""

    def test_the_last_ones_stay(self) -> None:
        @kept(2)
        def opened(name: str) -> object:
            return self.Network()

        first = opened("a")
        assert opened("a") is first
        opened("b"), opened("c")
        assert opened("a") is not first

    def test_until_all_are_released(self) -> None:
        @kept(2)
        def opened(name: str) -> object:
            return self.Network()

        gone, held = weakref.ref(opened("a")), opened("b")
        release_networks()
        assert gone() is None
        assert isinstance(held, self.Network)
        assert opened("b") is not held


def test_what_libraries_write_to_stderr_is_heard_and_not_seen(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with silence() as said:
        os.write(2, b"libpng warning: odd\n")
    assert said() == "libpng warning: odd\n"
    assert capfd.readouterr() == ("", "")
