"""Conversions: real networks, exported, halved and quantised, held to what they were made from."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from diorama import cli
from diorama.errors import InputError, MissingExtraError, OutputError, UnknownNameError
from diorama.models import conversion
from diorama.models.conversion import calibration, convert, integer, torch_network
from diorama.models.conversion.half import to_half
from diorama.models.conversion.sessions import (
    in_order,
    load_model,
    photo_input,
    relative_errors,
    run_photos,
)
from diorama.models.nets.embedded import Embedded, EmbeddedConfig, build
from diorama.runtime import open_session

TINY = EmbeddedConfig((8, 8, 8, 8, 8), (0, 1, 1, 1, 1), 2, (8, 8, 8, 8))


@pytest.fixture(scope="module")
def network() -> Embedded:
    torch.manual_seed(0)
    return Embedded(TINY).eval()


@pytest.fixture(scope="module")
def exported(network: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    onnx.save(torch_network.to_onnx(network), path)
    return path


def photos(*shapes: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(0)
    shapes = shapes or ((64, 96), (96, 64), (64, 64), (64, 128), (96, 96), (64, 96))
    return [rng.random((1, 3, *shape), np.float32) for shape in shapes]


def small_network(
    *, sides: tuple[Any, Any] = ("h", "w"), large: float = 1.0, inputs: int = 1
) -> onnx.ModelProto:
    """Two convolutions, a softmax over the whole picture that shifts channels, and an output."""
    rng = np.random.default_rng(1)

    def layer(outs: int, ins: int, size: int) -> Any:
        return (rng.normal(size=(outs, ins, size, size)) / (size * ins**0.5)).astype(np.float32)

    constants = {
        "w1": layer(8, 3, 3) * 3,
        "w2": layer(8, 8, 3),
        "w3": layer(1, 8, 1) * 4,
        "w4": layer(2, 8, 3) * np.float32(large),
        "flat": np.array([0, 0, -1]),
        "one": np.array([2]),
        "side": np.array([3]),
    }
    nodes = [
        helper.make_node("Conv", ["photo", "w1"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "second", pads=[1] * 4),
        helper.make_node("Conv", ["c", "w3"], ["d"], "where"),
        helper.make_node("Reshape", ["d", "flat"], ["e"], "flatten"),
        helper.make_node("Softmax", ["e"], ["share"], "softmax", axis=-1),
        helper.make_node("Reshape", ["c", "flat"], ["f"], "flatten2"),
        helper.make_node("Mul", ["f", "share"], ["g"], "gather"),
        helper.make_node("ReduceSum", ["g", "one"], ["h"], "sum"),
        helper.make_node("Unsqueeze", ["h", "side"], ["i"], "unsqueeze"),
        helper.make_node("Add", ["c", "i"], ["j"], "shift"),
        helper.make_node("Conv", ["j", "w4"], ["outputs"], "last", pads=[1] * 4),
    ]
    floats = TensorProto.FLOAT
    wanted = [
        helper.make_tensor_value_info(name, floats, ["b", 3, *sides])
        for name in ("photo", "second_photo")[:inputs]
    ]
    made = helper.make_tensor_value_info("outputs", floats, ["b", 2, *sides])
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", wanted, [made], weights)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    onnx.save(small_network(sides=(48, 64)), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.mark.slow
class TestExport:
    def test_it_says_what_the_network_says_at_any_size_and_batch(
        self, network: Embedded, exported: Path
    ):
        session = open_session(exported)
        for shape in ((1, 3, 64, 64), (3, 3, 96, 160), (1, 3, 32, 224)):
            tensor = np.random.default_rng(0).random(shape, np.float32)
            expected = torch_network.run(network, tensor)
            assert relative_errors([expected], run_photos(session, [tensor])).max() < 1e-4

    def test_names_are_those_the_pipeline_asks_for(self, exported: Path):
        session = open_session(exported)
        assert [i.name for i in session.get_inputs()] == ["photo"]
        assert [o.name for o in session.get_outputs()] == ["outputs"]

    def test_nothing_tells_where_it_was_made(self, exported: Path):
        data = exported.read_bytes()
        assert b"site-packages" not in data
        assert b".py" not in data
        assert str(Path(__file__).parent.parent).encode() not in data

    def test_weights_that_are_not_the_networks_are_one_line(self, tmp_path: Path):
        with pytest.raises(InputError, match="is not there: pass a checkpoint"):
            torch_network.load_network("embedded", tmp_path / "absent.pt")
        path = tmp_path / "weights.pt"
        for content in ({"net": {"other": torch.zeros(2)}}, [1, 2]):
            torch.save(content, path)
            with pytest.raises(InputError, match="holds no weights of embedded") as caught:
                torch_network.load_network("embedded", path)
            assert "\n" not in str(caught.value)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match="holds no weights of embedded"):
            torch_network.load_network("embedded", path)

    def test_weights_come_back_as_they_were_saved(self, tmp_path: Path):
        network = build()
        torch.save({"net": network.state_dict(), "step": 3}, tmp_path / "best.pt")
        loaded = torch_network.load_network("embedded", tmp_path / "best.pt")
        assert not loaded.training
        for name, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)


class TestHalf:
    @pytest.mark.slow
    def test_half_the_size_and_nearly_the_same_answers(self, exported: Path):
        model = load_model(exported)
        half = to_half(load_model(exported))
        onnx.checker.check_model(in_order(half), full_check=True)
        session = open_session(half)
        assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float)"
        answers = run_photos(open_session(model), photos())
        assert relative_errors(answers, run_photos(session, photos())).max() < 0.01
        floats = [t for t in half.graph.initializer if t.data_type == TensorProto.FLOAT]
        assert sum(len(t.raw_data) for t in floats) < 100  # scales of Resize, nothing else

    def test_what_leaves_the_range_is_refused_and_not_written(self, tmp_path: Path):
        path = tmp_path / "large.onnx"
        onnx.save(small_network(sides=(48, 64), large=1e6), path)
        with pytest.raises(InputError, match="onnx-fp16 failed: its outputs are"):
            convert(str(path), "onnx-fp16", tmp_path / "half.onnx")
        assert not (tmp_path / "half.onnx").exists()


class TestRanges:
    def histogram(self, values: Any) -> calibration.Histogram:
        low, high = min(0.0, values.min()), max(0.0, values.max())
        counts = np.histogram(values, calibration.BINS, (low, high))[0]
        return calibration.Histogram(float(low), float(high), counts)

    def test_percentile_leaves_out_that_share_at_both_ends(self):
        histogram = self.histogram(np.linspace(-1, 3, 400_001))
        low, high = calibration.percentile(histogram, 90)
        assert low == pytest.approx(-0.8, abs=0.01)
        assert high == pytest.approx(2.8, abs=0.01)

    def test_zero_stays_in_every_range(self):
        histogram = self.histogram(np.linspace(2, 3, 1000))
        assert calibration.minmax(histogram) == (0, 3)
        assert calibration.percentile(histogram, 99)[0] == 0
        assert calibration.entropy(histogram)[0] == 0

    def test_entropy_gives_up_an_outlier_for_finer_steps(self):
        values = np.abs(np.random.default_rng(0).normal(size=200_000))
        low, high = calibration.entropy(self.histogram(np.append(values, 60)))
        assert low == 0
        assert 2.5 < high < 15

    def test_entropy_keeps_what_is_evenly_spread(self):
        low, high = calibration.entropy(self.histogram(np.linspace(-1, 1, 100_001)))
        assert (low, high) == pytest.approx((-1, 1), abs=0.13)

    def test_values_are_counted_over_photos_of_any_size(self):
        tensors = photos((32, 32), (64, 32))
        found = calibration.collect(small_network(), tensors)
        assert {"photo", "a", "b", "share", "outputs"} <= set(found)
        photo = found["photo"]
        assert photo.counts.sum() == sum(t.size for t in tensors)
        assert photo.high == max(t.max() for t in tensors)
        assert found["b"].low == 0


class TestInteger:
    def test_activations_are_unsigned_weights_signed_by_channel_and_the_output_floats(self):
        made = integer.to_integer(small_network(), photos(), rules=conversion.ALL_RULES)
        assert made.error < 0.05
        assert made.error == min(made.tried.values())
        assert made.rule in made.tried
        assert {"minmax", "entropy"} < set(made.tried)
        graph = made.model.graph
        constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        makers = {o: n for n in graph.node for o in n.output}
        assert {
            constants[n.input[2]].dtype for n in graph.node if n.op_type == "QuantizeLinear"
        } == {np.dtype("u1")}
        weights = [constants[n.input[0]] for n in graph.node if n.input and n.input[0] in constants]
        assert sum(w.dtype == np.int8 and w.ndim == 4 for w in weights) == 3
        second = next(node for node in graph.node if node.name == "second")
        weights_of_second = makers[second.input[1]]
        assert weights_of_second.op_type == "DequantizeLinear"
        assert constants[weights_of_second.input[1]].shape == (8,)
        assert makers["outputs"].op_type == "Conv"
        assert makers["outputs"].input[1] == "w4"

    def test_shares_of_a_softmax_stay_floats(self):
        """A share of 6,144 pixels is far below one step of 8 bits: quantised, it would be zero."""
        made = integer.to_integer(small_network(), photos(), rules=("minmax",))
        assert "Softmax" in made.floats
        gather = next(n for n in made.model.graph.node if n.name == "gather")
        assert "share" in gather.input

    def test_what_is_added_to_whole_channels_stays_floats_with_the_step_after_it(self):
        model = small_network()
        last = model.graph.node.pop()
        model.graph.node.append(helper.make_node("Mul", ["j", "j"], ["k"], "square"))
        model.graph.node.append(last)
        last.input[0] = "k"
        prepared = integer._prepared(model)
        assert integer._broadcasts(prepared) == {"shift", "square"}
        made = integer.to_integer(model, photos(), rules=("minmax",)).model
        nodes = {node.name: node for node in made.graph.node}
        assert nodes["square"].input[0] == nodes["shift"].output[0]  # nothing in between

    def test_places_are_right_in_photos_wider_than_the_calibrations(self):
        """A ramp that counts columns must go on where calibration ended."""
        model = small_network()
        nodes = [
            helper.make_node("Shape", ["photo"], ["columns"], "shape", start=3, end=4),
            helper.make_node("Squeeze", ["columns"], ["count"], "count"),
            helper.make_node("Cast", ["count"], ["limit"], "limit", to=TensorProto.FLOAT),
            helper.make_node("Range", ["zero", "limit", "unit"], ["steps"], "range"),
            helper.make_node("Mul", ["steps", "step"], ["ramp"], "ramp"),
            helper.make_node("Add", ["photo", "ramp"], ["placed"], "place"),
        ]
        before = list(model.graph.node)
        before[0].input[0] = "placed"
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *before])
        for name, value in (("zero", 0), ("unit", 1), ("step", 0.001)):
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(value, np.float32), name)
            )
        prepared = integer._prepared(model)
        places = integer._places(prepared)
        assert {"ramp", "range"} <= places
        assert not {"place", "first", "second", "last"} & places

    @pytest.mark.slow
    def test_our_network_survives_it(self, exported: Path, tmp_path: Path):
        made = integer.to_integer(
            load_model(exported), photos((64, 64), (64, 96), (96, 64)), rules=("minmax",)
        )
        assert made.error < 0.15
        assert made.tried == {"minmax": made.error}

    def test_the_same_bytes_twice(self, small: Path, tmp_path: Path):
        for name in ("a.onnx", "b.onnx"):
            convert(str(small), "onnx-int8", tmp_path / name, rules=("minmax",))
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()

    def test_a_model_in_8_bits_is_not_quantised_again(self, small: Path, tmp_path: Path):
        convert(str(small), "onnx-int8", tmp_path / "q.onnx", rules=("minmax",))
        with pytest.raises(InputError, match="in 8 bits already"):
            convert(str(tmp_path / "q.onnx"), "onnx-int8", tmp_path / "r.onnx")

    def test_one_photo_is_too_few(self):
        with pytest.raises(InputError, match="needs at least 2 photos, got 1"):
            integer.to_integer(small_network(), photos((32, 32)), rules=("minmax",))


class TestErrors:
    def test_relative_errors_are_by_channel_and_pooled_over_photos(self):
        reference = [[np.array([[[0.0, 2.0]], [[1.0, 1.0]]])[None]], [np.zeros((1, 2, 1, 2))]]
        other = [[reference[0][0] + [[[0.1]], [[0.0]]]], [reference[1][0]]]
        found = relative_errors(reference, other)
        assert found == pytest.approx([np.sqrt(2 * 0.01 / 4 / 0.75), 0])

    def test_models_that_take_no_photos_are_told_what_they_take(self, tmp_path: Path):
        with pytest.raises(InputError, match=r"must have one input of photos.*second_photo"):
            photo_input(open_session(small_network(inputs=2)), "two.onnx")

    def test_damaged_files_are_one_line(self, small: Path, tmp_path: Path):
        data = small.read_bytes()
        for length in (0, 50, len(data) // 2, len(data) - 5):
            small.write_bytes(data[:length])
            with pytest.raises(InputError, match="damaged or no ONNX model") as caught:
                convert(str(small), "onnx-fp16", tmp_path / "half.onnx")
            assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="is not there"):
            convert(str(tmp_path / "absent.onnx"), "onnx-fp16")

    def test_names_that_are_not_known(self, tmp_path: Path):
        with pytest.raises(UnknownNameError, match="did you mean 'embedded'"):
            convert("embeded", "onnx")
        with pytest.raises(InputError, match="pass the checkpoint of embedded with --weights"):
            convert("embedded", "onnx")

    def test_onnx_to_onnx_is_nothing_to_do(self, small: Path):
        with pytest.raises(InputError, match="is ONNX already"):
            convert(str(small), "onnx")

    def test_without_the_extra_its_name_is_said(self, small: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("diorama.extras.has_extra", lambda extra: False)
        with pytest.raises(MissingExtraError, match=r"diorama\[convert\]"):
            convert(str(small), "onnx-fp16")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_folder_that_cannot_be_written(self, small: Path, tmp_path: Path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot write"):
            convert(str(small), "onnx-fp16", tmp_path / "file" / "half.onnx")


class TestCommand:
    def test_it_prints_the_file_and_how_far_it_is(
        self, small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(small.parent)
        arguments = ["models", "convert", "small.onnx", "--to", "onnx-int8", "--ranges", "minmax"]
        assert cli.main(arguments) == 0
        said = capsys.readouterr()
        assert said.out == "small-int8.onnx\n"
        assert re.search(r"ranges by minmax: \d\.\d\d%, taken", said.err)
        assert small.with_name("small-int8.onnx").exists()

    def test_json_and_photos_of_ones_own(self, small: Path, capsys: pytest.CaptureFixture[str]):
        folder = small.parent / "photos"
        folder.mkdir()
        for k, tensor in enumerate(photos((80, 100), (100, 80), (90, 90))):
            pixels = (tensor[0].transpose(1, 2, 0) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{k}.png")
        arguments = ["models", "convert", str(small), "--to", "onnx-fp16", "--json"]
        out = small.parent / "half.onnx"
        assert cli.main([*arguments, "--photos", str(folder), "-o", str(out)]) == 0
        made = json.loads(capsys.readouterr().out)
        assert made["path"] == str(out)
        assert 0 < made["error"] < 0.01

    def test_a_folder_without_photos_is_an_error(
        self, small: Path, capsys: pytest.CaptureFixture[str]
    ):
        (small.parent / "empty").mkdir()
        empty = str(small.parent / "empty")
        arguments = ["models", "convert", str(small), "--to", "onnx-fp16", "--photos", empty]
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err.startswith("error: ")

    def test_a_disk_that_fills_up_leaves_nothing(self, small: Path):
        out = small.parent / "half.onnx"
        command = [sys.executable, "-m", "diorama.cli", "models", "convert", str(small)]
        limit = 1000  # bytes, less than the file
        done = subprocess.run(
            [*command, "--to", "onnx-fp16", "-o", str(out)],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 2
        assert "cannot write" in done.stderr
        assert sorted(p.name for p in small.parent.iterdir()) == ["small.onnx"]
