"""Measuring models: real files on ONNX Runtime, each in a process of its own."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from test_conversion import small_network

from diorama import cli
from diorama.errors import InputError
from diorama.models.bench import Row, Truth, accuracy, bench, find_files, read_truths, table
from diorama.models.conversion import convert


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    onnx.save(small_network(sides=(48, 64)), folder / "small.onnx")
    made = convert(str(folder / "small.onnx"), "onnx-int8", folder / "small-int8.onnx")
    return [folder / "small.onnx", made.path]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_precision_is_measured_on_the_cpu(files: list[Path]):
    truth = Truth(picture(60, 80), np.linspace(1, 1.2, 30 * 40).reshape(30, 40))
    rows = list(bench(files, [picture(60, 80), picture(80, 60)], [truth], threads=1))
    cpu = [row for row in rows if row.provider == "CPUExecutionProvider"]
    assert [row.precision for row in cpu] == ["fp32", "int8"]
    assert cpu[0].error == 0
    assert 0 < (cpu[1].error or 0) < 0.1
    for row in cpu:
        assert row.problem is None
        assert row.ms is not None
        assert row.ms > 0
        assert row.peak_mb is None or 20 < row.peak_mb < 500
        assert row.abs_rel is not None
        assert row.delta1 == 1


def test_peak_memory_is_the_models_and_not_ours(files: list[Path]):
    ballast = np.ones(600_000_000 // 8)
    row = next(iter(bench(files[:1], [picture(60, 80)], threads=1)))
    assert row.peak_mb is None or row.peak_mb < 400
    assert ballast[-1] == 1


def test_files_of_a_model_are_found_by_any_of_them(files: list[Path], tmp_path: Path):
    folder = files[0].parent
    for name in ("small", "small.onnx", "small-int8.onnx"):
        assert find_files(str(folder / name)) == files
    assert [file.name for file in find_files("embedded")] == ["embedded.onnx"]
    with pytest.raises(InputError, match=r"no .*absent\*.onnx is there"):
        find_files(str(tmp_path / "absent"))


def test_accuracy_is_that_of_depth_after_alignment():
    truth = np.linspace(0.5, 2, 64).reshape(8, 8)
    assert accuracy(3 * truth - 7, truth) == pytest.approx((0, 1))
    truth = np.array([[1.0, 1.0, 2.0, 2.0, np.nan]])
    disparity = np.array([[0.0, 0.0, 0.0, 0.0, 9.0]])  # says nothing: aligned, it is 1.5 everywhere
    abs_rel, delta1 = accuracy(disparity, truth)
    assert abs_rel == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert delta1 == 0


def test_truth_is_read_as_inverse_depth(tmp_path: Path):
    Image.fromarray(picture(20, 30)).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", depth=np.array([[2.0, 0.0], [np.nan, 4.0]], np.float32))
    item = {"files": {"image": "a.png", "gt": "a.npz"}, "gt": {"key": "depth"}}
    unlabelled = {"files": {"image": "a.png"}}
    outlines = {"files": {"image": "a.png", "gt": "b.npz"}, "gt": {"key": "boundaries"}}
    clip = {"files": {"gt": "a.npz"}, "gt": {"key": "depth"}}
    items = [unlabelled, outlines, clip, item]
    (tmp_path / "index.json").write_text(json.dumps({"items": items}))
    [truth] = read_truths(tmp_path)
    np.testing.assert_array_equal(truth.inverse_depth, [[0.5, np.nan], [np.nan, 0.25]])
    assert np.array_equal(truth.rgb, picture(20, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "holds no photos"), ("[", "holds no photos"), ('{"items": []}', "no item with truth")],
)
def test_folders_without_truth(tmp_path: Path, text: str | None, message: str):
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_truths(tmp_path))


def test_the_table_says_what_could_not_run():
    rows = [
        Row("a.onnx", "fp32", "CPUExecutionProvider", 1.5, 2.0, 0.5, 90.0, 0.0, 0.1, 0.9),
        Row("a.onnx", "fp32", "CUDAExecutionProvider", 1.5, problem="no such device"),
    ]
    lines = table(rows).splitlines()
    assert lines[2] == "| fp32 | CPU | 1.5 | 2.0 ± 0.2 | 90 | 0.00% | 0.1000 | 0.9000 |"
    assert "| CUDA | 1.5 | no such device |" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_a_damaged_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    assert cli.main(["models", "bench", str(tmp_path / "bad.onnx")]) == 2
    assert "ONNX Runtime cannot run bad.onnx" in capsys.readouterr().err


def test_the_command_prints_json(files: list[Path], capsys: pytest.CaptureFixture[str]):
    assert cli.main(["models", "bench", str(files[0]), "--threads", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["precision"] for row in rows} == {"fp32", "int8"}
    assert all(row["ms"] > 0 for row in rows if row["problem"] is None)
