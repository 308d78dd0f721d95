"""Our own versions of published networks, held to what the official ones compute."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from official_weights import official_weights

from diorama.errors import InputError
from diorama.models.nets import lama, midas_small
from diorama.models.nets.official import load_official

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"

NETS = {"lama": lama, "midas_small": midas_small}
MIDAS_REDUCED = {"width": 0.5, "depth": 1.0, "features": 16}

LAMA_PARTS = {
    "init_conv_l": ("model.1", 0),
    "down2_l": ("model.3", 0),
    "down3_l": ("model.4", 0),
    "down3_g": ("model.4", 1),
    "block0_conv1_fourier_unit": ("model.5.conv1.ffc.convg2g.fu", None),
    "block0_conv1_spectral": ("model.5.conv1.ffc.convg2g", None),
    "block0_conv1_l": ("model.5.conv1", 0),
    "block0_conv1_g": ("model.5.conv1", 1),
    "block0_l": ("model.5", 0),
    "block0_g": ("model.5", 1),
}
"""Where the official network's intermediates are to be seen: module, and which of its outputs."""

MIDAS_PARTS = {
    "stem_conv": "pretrained.layer1.0",
    **{f"layer{k}": f"pretrained.layer{k}" for k in (1, 2, 3, 4)},
    **{f"refinenet{k}": f"scratch.refinenet{k}" for k in (1, 2, 3, 4)},
    "refinenet3_rcu1": "scratch.refinenet3.resConfUnit1",
    "output_pre_relu": "scratch.output_conv.4",
}


@pytest.fixture(scope="module")
def reference() -> Path:
    """The folder of full-size goldens beside the repository; skips where it is absent."""
    folder = Path(os.environ.get("DIORAMA_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not (folder / "lama" / "manifest.json").is_file():
        pytest.skip(f"shared reference absent: no lama/manifest.json in {folder}")
    return folder


@contextmanager
def watched(net: torch.nn.Module, parts: dict[str, tuple[str, int | None]]) -> Iterator[dict]:
    """What these modules give while the network runs."""
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, which: int | None):
        def hook(_module, _inputs, output) -> None:
            output = output if which is None else output[which]
            seen[name] = output.numpy().copy()

        return hook

    hooks = [
        net.get_submodule(module).register_forward_hook(keep(name, which))
        for name, (module, which) in parts.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def psnr(value: np.ndarray, expected: np.ndarray, peak: float) -> float:
    error = np.square(value.astype(np.float64) - expected).mean()
    return 10 * np.log10(peak**2 / error)


def lama_of(golden) -> lama.Lama:
    config = json.loads(str(golden["config" if "config" in golden else "config_json"]))
    net = lama.build(**config)
    return load_official(net, official_weights(net, config["gain"]))


def lama_input(image: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    hole = (mask > 0)[None].astype(np.float32)
    rgb = image.transpose(2, 0, 1).astype(np.float32) / 255
    return torch.from_numpy(np.concatenate([rgb * (1 - hole), hole])[None])


def midas_of(golden, **config: float) -> midas_small.MidasSmall:
    net = midas_small.build(**config)
    return load_official(net, official_weights(net, float(golden["gain"])))


def midas_input(image: np.ndarray) -> torch.Tensor:
    rgb = (image / 255 - midas_small.MEAN) / midas_small.DEVIATION
    return torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))


def check_lama(golden, net: lama.Lama, tolerance: float) -> None:
    """Hold a golden's every array to the tolerances it was published with."""
    blocks = net.generator.joined - 5
    parts = {
        **LAMA_PARTS,
        "last_block_l": (f"model.{4 + blocks}", 0),
        "last_block_g": (f"model.{4 + blocks}", 1),
        "up0_transposed_conv": (f"model.{6 + blocks}", None),
        "up0_bn": (f"model.{7 + blocks}", None),
        "up2_before_relu": (f"model.{13 + blocks}", None),
        "logits": (f"model.{16 + blocks}", None),
    }
    with torch.inference_mode(), watched(net.generator, parts) as seen:
        if "network_input" in golden:
            x = torch.from_numpy(golden["network_input"])
        else:
            x = lama_input(golden["image_u8"], golden["mask_u8"])
        prediction = net(x).numpy()
    np.testing.assert_allclose(prediction, golden["prediction"], atol=tolerance, rtol=0)
    checked = 0
    for key in golden:
        name = key.removeprefix("mid_").partition("__")[0]
        if name in seen:
            expected = golden[key]
            ours = seen[name][0, : len(expected)]
            atol = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(ours, expected, atol=atol, rtol=0, err_msg=key)
            checked += 1
    assert checked >= 10
    height, width = golden["image_u8"].shape[:2]
    colors = prediction[0, :, :height, :width].transpose(1, 2, 0)
    hole = golden["mask_u8"][..., None] > 0
    rgb = np.where(hole, (colors * 255).clip(0, 255).astype(np.uint8), golden["image_u8"])
    off = np.abs(rgb.astype(int) - golden["output_u8"])
    assert off.max() <= 1
    assert (off > 0).mean() <= 0.01


def check_midas(golden, net: midas_small.MidasSmall) -> None:
    parts = {name: (module, None) for name, module in MIDAS_PARTS.items()}
    with torch.inference_mode(), watched(net, parts) as seen:
        seen["depth"] = net(midas_input(golden["image"])).numpy()
    names = seen.keys() & set(golden)
    assert len(names) >= 10
    for name in names:
        atol = 1e-4 * np.abs(golden[name]).max() + 1e-5
        np.testing.assert_allclose(seen[name], golden[name], atol=atol, rtol=0, err_msg=name)


class TestOfficialWeights:
    def test_names_and_shapes_are_the_official_ones(self) -> None:
        golden = np.load(GOLDEN / "lama.npz")
        expected = {name: tuple(shape) for name, shape, _ in json.loads(str(golden["names"]))}

        state = lama.build(**json.loads(str(golden["config"]))).state_dict()

        assert {name: tuple(t.shape) for name, t in state.items()} == expected

    @pytest.mark.shared
    @pytest.mark.parametrize("name", NETS)
    def test_those_of_the_full_size_are_too(self, name: str, reference: Path) -> None:
        listed = json.loads((reference / name / "manifest.json").read_text())
        listed = listed["big-lama"] if name == "lama" else listed

        with torch.device("meta"):
            state = NETS[name].build().state_dict()

        found = {n: (list(t.shape), str(t.dtype)) for n, t in state.items()}
        assert found == {n: (shape, f"torch.{dtype}") for n, shape, dtype in listed}

    @pytest.mark.parametrize("net", NETS.values(), ids=NETS)
    def test_any_other_entry_is_refused_by_name(self, net) -> None:
        small = {"lama": {"ngf": 8, "n_blocks": 1}, "midas_small": MIDAS_REDUCED}
        network = net.build(**small[net.__name__.rpartition(".")[2]])
        state = official_weights(network)
        first, second, *_ = state
        other = {n: t for n, t in state.items() if n != first} | {"more.weight": torch.zeros(1)}
        other[second] = torch.zeros(7)

        with pytest.raises(InputError) as refused:
            net.load_official(network, other)

        message = str(refused.value)
        assert f"missing: {first};" in message
        assert "unexpected: more.weight;" in message
        assert f"of another shape: {second} (7,) instead of" in message
        assert "\n" not in message

    def test_many_wrong_entries_are_counted(self) -> None:
        network = lama.build(ngf=8, n_blocks=1)

        with pytest.raises(InputError, match=r"missing: generator\.model\.1\..* and 102 more$"):
            load_official(network, {})

    def test_what_no_official_configuration_has_is_refused(self) -> None:
        with pytest.raises(InputError, match="resnet_conv_kwargs must be"):
            lama.build(resnet_conv_kwargs={"ratio_gin": 0.5, "ratio_gout": 0.5})


class TestLama:
    def test_it_computes_what_the_official_one_does(self) -> None:
        golden = np.load(GOLDEN / "lama.npz")
        check_lama(golden, lama_of(golden), 5e-6)

    @pytest.mark.shared
    @pytest.mark.parametrize(("name", "atol"), [("small", 5e-6), ("padded", 5e-6)])
    def test_so_it_does_on_other_goldens(self, reference: Path, name: str, atol: float) -> None:
        golden = np.load(reference / "lama" / f"golden_{name}.npz")
        check_lama(golden, lama_of(golden), atol)

    @pytest.mark.shared
    @pytest.mark.slow
    def test_so_it_does_at_full_size(self, reference: Path) -> None:
        golden = np.load(reference / "lama" / "golden_fullsize.npz")
        net = lama_of(golden)
        check_lama(golden, net, 1e-5)
        x = torch.from_numpy(golden["network_input"])
        with torch.inference_mode():
            half = lama.prepare(net, torch.bfloat16)(x).numpy()
        assert psnr(half, golden["prediction"], 1.0) > 55

    @pytest.mark.parametrize("shape", [(8, 9), (7, 6), (1, 1), (2, 3)])
    def test_its_transforms_are_fourier_s(self, shape: tuple[int, int]) -> None:
        x = torch.randn((2, 3, *shape), generator=torch.Generator().manual_seed(0))
        matrices = lama.dft(*shape, x)
        half = shape[1] // 2 + 1

        parts = (x @ matrices.columns).unflatten(-1, (2, half)).transpose(2, 3).flatten(2, 3)
        spectrum = (matrices.rows @ parts).unflatten(2, (2, -1))  # (B, C, 2, H, w)

        expected = torch.view_as_real(torch.fft.rfft2(x, norm="ortho")).movedim(-1, 2)
        torch.testing.assert_close(spectrum, expected, atol=2e-6, rtol=0)
        back = matrices.rows.T @ spectrum.flatten(2, 3)
        back = back.unflatten(2, (2, -1)).transpose(2, 3).flatten(3) @ matrices.columns_back
        torch.testing.assert_close(back, x, atol=2e-6, rtol=0)

    def test_transforms_of_long_sides_are_as_exact(self) -> None:
        cos = lama.dft(1024, 8, torch.zeros(1)).rows[:1024, :1024]
        turns = np.outer(np.arange(1024), np.arange(1024)) / 1024
        expected = np.cos(2 * np.pi * turns) / 32
        np.testing.assert_allclose(cos.numpy(), expected, atol=1e-7)

    def test_prepared_it_says_the_same(self) -> None:
        golden = np.load(GOLDEN / "lama.npz")
        x = lama_input(golden["image_u8"], golden["mask_u8"])
        with torch.inference_mode():
            ours = lama.prepare(lama_of(golden))(x).numpy()
            half = lama.prepare(lama_of(golden), torch.bfloat16)(x)
        np.testing.assert_allclose(ours, golden["prediction"], atol=5e-6, rtol=0)
        assert half.dtype == torch.float32
        assert psnr(half.numpy(), golden["prediction"], 1.0) > 55


class TestMidasSmall:
    def test_it_computes_what_the_official_one_does(self) -> None:
        golden = np.load(GOLDEN / "midas_small.npz")
        check_midas(golden, midas_of(golden, **MIDAS_REDUCED))

    @pytest.mark.shared
    @pytest.mark.parametrize(("name", "config"), [("reduced", MIDAS_REDUCED), ("full", {})])
    def test_so_it_does_on_the_whole_goldens(
        self, reference: Path, name: str, config: dict[str, float]
    ) -> None:
        golden = np.load(reference / "midas_small" / f"golden_{name}.npz")
        check_midas(golden, midas_of(golden, **config))

    def test_prepared_it_says_the_same_of_a_photo(self) -> None:
        golden = np.load(GOLDEN / "midas_small.npz")
        photo = torch.from_numpy(golden["image"].transpose(2, 0, 1)[None] / np.float32(255))
        expected = golden["depth"]
        peak = float(expected.max())
        with torch.inference_mode():
            ours = midas_small.prepare(midas_of(golden, **MIDAS_REDUCED))(photo).numpy()
        np.testing.assert_allclose(ours[:, 0], expected, atol=1e-4 * peak + 1e-5, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_fewer_bits_change_it_by_less_than_45_db(self, dtype: torch.dtype) -> None:
        golden = np.load(GOLDEN / "midas_small.npz")
        photo = torch.from_numpy(golden["image"].transpose(2, 0, 1)[None] / np.float32(255))
        with torch.inference_mode():
            half = midas_small.prepare(midas_of(golden, **MIDAS_REDUCED), dtype)(photo)
        assert half.dtype == torch.float32
        assert psnr(half[:, 0].numpy(), golden["depth"], float(golden["depth"].max())) > 48
