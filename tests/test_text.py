"""Prompts, part vectors, their cache on disk, and OpenCLIP on a tiny random model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.text import check_names, clean_name, embed_parts, part_prompts, text_encoder
from pa3d.text.cache import VectorCache, cache_folder
from pa3d.text.openclip import OpenClip

Array = NDArray[np.float32]


class Hashed:
    """A deterministic stand-in: a text's vector is drawn from its characters. Keeps what it was given."""

    space, dim = "test/hashed", 8

    def __init__(self, revision: str = "1") -> None:
        self.revision = revision
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> Array:
        self.encoded += texts
        rows = [np.random.default_rng(list(text.encode())).normal(size=self.dim) for text in texts]
        vectors = np.array(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PA3D_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


# Prompts


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("seat", "seat"),
        ("Left_Arm", "left arm"),
        ("  lamp\tshade \n", "lamp shade"),
        ("T-shirt (front)", "tshirt front"),
        ("driver's__door.001", "drivers door001"),
        ("“crown”…", "crown"),
        ("Köpfchen", "köpfchen"),
        ("手_柄", "手 柄"),
    ],
)
def test_clean(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


@pytest.mark.parametrize("name", ["", "   ", "___", "-!?"])
def test_clean_refuses_what_leaves_nothing(name: str) -> None:
    with pytest.raises(InputError, match="is empty without its punctuation; give a word") as error:
        clean_name(name)
    assert repr(name) in str(error.value)


def test_templates() -> None:
    part = ["chair leg", "a chair leg", "chair leg part"]
    category = [
        "a chair leg of a chair",
        "the chair leg of a chair",
        "chair leg of chair",
        "a chair leg part of a chair",
    ]
    assert part_prompts("Chair_Leg", mode="part") == part
    assert part_prompts("Chair_Leg", "Chair", "part") == part
    assert part_prompts("Chair_Leg", "Chair", "category") == category
    assert part_prompts("Chair_Leg", "Chair", "ensemble") == part + category
    assert part_prompts("Chair_Leg") == part
    assert part_prompts("Chair_Leg", "Chair") == part + category


def test_prompts_refuse() -> None:
    for mode in ("category", "ensemble"):
        with pytest.raises(InputError, match=f"prompt mode '{mode}' needs the object's category"):
            part_prompts("leg", mode=mode)
    with pytest.raises(InputError, match="prompt mode 'both' is unknown; expected one of auto, part, cat"):
        part_prompts("leg", mode="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"category '\.' is empty"):
        part_prompts("leg", ".")
    with pytest.raises(InputError, match="part name 3 is not text"):
        part_prompts(3)  # type: ignore[arg-type]


# Part vectors


def test_a_part_is_the_normalised_mean_of_its_prompts() -> None:
    encoder = Hashed()
    vectors = embed_parts(encoder, ["seat", "Back"], "chair", "category", cache=False)
    for vector, name in zip(vectors, ["seat", "back"], strict=True):
        texts = [
            f"a {name} of a chair",
            f"the {name} of a chair",
            f"{name} of chair",
            f"a {name} part of a chair",
        ]
        mean = encoder.encode(texts).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert vectors.dtype == np.float32 and vectors.shape == (2, 8)


def test_prompts_of_an_unnormalised_encoder_count_equally() -> None:
    class Long(Hashed):
        def encode(self, texts: Sequence[str]) -> Array:
            lengths = np.arange(1, len(texts) + 1, dtype=np.float32)
            return super().encode(texts) * lengths[:, None]

    np.testing.assert_allclose(embed_parts(Long(), ["seat"]), embed_parts(Hashed("2"), ["seat"]), atol=1e-6)


def test_embed_parts_refuses() -> None:
    encoder = Hashed()
    with pytest.raises(InputError, match="no part names; give at least one"):
        embed_parts(encoder, [])
    with pytest.raises(InputError, match="part names are a string, 'seat, back'; give a list"):
        embed_parts(encoder, "seat, back")
    with pytest.raises(InputError, match="part name 'seat' is given twice; give every name once"):
        embed_parts(encoder, ["seat", "back", "seat"])
    with pytest.raises(InputError, match=r"is given twice \('Left_Arm' and 'left arm' are equal after normalisation\)"):
        embed_parts(encoder, ["Left_Arm", "left arm"])
    with pytest.raises(InputError, match=r"part name '\?' is empty"):
        embed_parts(encoder, ["seat", "?"])
    assert encoder.encoded == []


def test_text_encoder_names() -> None:
    embedded = text_encoder("all-MiniLM-L6-v2")
    assert (embedded.space, embedded.dim) == ("all-MiniLM-L6-v2", 384)
    assert text_encoder("open_clip/ViT-B-32/openai").space == "open_clip/ViT-B-32/openai"
    assert text_encoder("open_clip/ViT-B-32//some/file.pt").space == "open_clip/ViT-B-32//some/file.pt"
    for space in ("", "minilm", "open_clip", "open_clip/RN50", "open_clip/RN50/", "openclip/RN50/openai"):
        with pytest.raises(InputError, match=r"unknown; expected all-MiniLM-L6-v2 .* or open_clip/NAME/PRETRAINED"):
            text_encoder(space)
    with pytest.raises(InputError, match="are embedded; leave `weights` out"):
        text_encoder("all-MiniLM-L6-v2", weights="file.pt")


def test_related_names_are_nearer() -> None:
    names = ["wheel", "tire", "left wheel", "beak", "pillow"]
    vectors = embed_parts(text_encoder("all-MiniLM-L6-v2"), names, cache=False)
    cosine = vectors @ vectors[0]
    assert cosine[1:3].min() > cosine[3:].max()


def test_importing_costs_neither_torch_nor_tokenizers() -> None:
    code = (
        "import sys, pa3d.text; pa3d.text.text_encoder('all-MiniLM-L6-v2'); "
        "pa3d.text.text_encoder('open_clip/ViT-B-32/openai'); "
        "print(sorted({'torch', 'open_clip', 'tokenizers', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


# Cache


def test_cache_gives_the_same_bits_and_saves_the_work(cache: Path) -> None:
    parts = ["seat", "back", "leg"]
    plain = embed_parts(Hashed(), parts, cache=False)
    assert files(cache) == []
    first, second = Hashed(), Hashed()
    np.testing.assert_array_equal(embed_parts(first, parts), plain)
    assert len(files(cache)) == 3 and all(path.suffix == ".vec" for path in files(cache))
    np.testing.assert_array_equal(embed_parts(second, ["leg", "SEAT", "arm"])[:2], plain[[2, 0]])
    assert second.encoded == ["arm", "a arm", "arm part"]


def test_cache_is_kept_by_space_weights_and_prompts(cache: Path) -> None:
    class Elsewhere(Hashed):
        space = "test:hashed"  # the same folder name

    for encoder in (Hashed("1"), Hashed("2"), Elsewhere("1")):
        embed_parts(encoder, ["seat"])
        embed_parts(encoder, ["seat"], "chair")
        embed_parts(encoder, ["seat"], "bench")
        embed_parts(encoder, ["seat"], "chair", "category")
        assert len(encoder.encoded) == 3 + 7 + 7 + 4
    assert len(files(cache)) == 12


def test_no_revision_no_cache(cache: Path) -> None:
    class Anonymous:
        space, dim = "test/anonymous", 8
        encode = Hashed("").encode

    embed_parts(Hashed(""), ["seat"])
    embed_parts(Anonymous(), ["seat"])
    assert files(cache) == []


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 31, b"\0" * 32, b"\0" * 64])
def test_damaged_file_is_written_anew(cache: Path, damage: bytes) -> None:
    plain = embed_parts(Hashed(), ["seat"])
    (path,) = files(cache)
    good = path.read_bytes()
    for bad in (damage, good[:-4], good + b"\0" * 4, good[:40] + b"\xff" + good[41:]):
        path.write_bytes(bad)
        again = Hashed()
        np.testing.assert_array_equal(embed_parts(again, ["seat"]), plain)
        assert len(again.encoded) == 3 and path.read_bytes() == good


def test_unwritable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PA3D_CACHE", str(tmp_path / "file"))
    encoder, parts = Hashed(), ["seat", "back"]
    for _ in range(2):
        np.testing.assert_array_equal(embed_parts(encoder, parts), embed_parts(encoder, parts, cache=False))
    assert len(encoder.encoded) == 4 * 6


def test_failed_write_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("os.replace", refuse)
    embed_parts(Hashed(), ["seat", "back"])
    assert files(cache) == []


def test_writers_at_once(cache: Path) -> None:
    parts = [f"part {i}" for i in range(20)]
    plain = embed_parts(Hashed(), parts, cache=False)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: embed_parts(Hashed(), parts), range(16)):
            np.testing.assert_array_equal(vectors, plain)
    assert len(files(cache)) == 20


def test_cache_of_the_embedded_encoder(cache: Path) -> None:
    encoder = text_encoder("all-MiniLM-L6-v2")
    plain = embed_parts(encoder, ["seat", "lamp shade"], "chair", cache=False)
    np.testing.assert_array_equal(embed_parts(encoder, ["seat"], "chair"), plain[:1])
    np.testing.assert_array_equal(embed_parts(encoder, ["lamp shade", "seat"], "chair"), plain[::-1])
    assert len(files(cache)) == 2


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("PA3D_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/pa3d")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    for platform, folder in {
        "linux": "/home/somebody/.cache/pa3d",
        "darwin": "/home/somebody/Library/Caches/pa3d",
        "win32": "/home/somebody/AppData/Local/pa3d/cache",
    }.items():
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.delenv("LOCALAPPDATA", raising=False)
        assert cache_folder() == Path(folder)


def test_no_home_folder_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("could not determine home directory")

    for variable in ("PA3D_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    store = VectorCache("test/hashed", "1")
    store.put(["seat"], np.ones(3, np.float32))
    assert store.get(["seat"]) is None


# OpenCLIP


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of a tiny random model that OpenCLIP knows as pa3d-tiny."""
    open_clip = pytest.importorskip("open_clip")
    import torch

    folder = tmp_path_factory.mktemp("openclip")
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (folder / "pa3d-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model = open_clip.create_model("pa3d-tiny")
    with torch.no_grad():  # as it starts, all texts get nearly one vector
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    torch.save(model.state_dict(), folder / "tiny.pt")
    yield folder / "tiny.pt"
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    open_clip.factory._rescan_model_configs()


def test_openclip_matches_open_clip(tiny: Path) -> None:
    import open_clip
    import torch

    texts = ["seat", "a seat of a chair", "lamp shade part"]
    model = open_clip.create_model("pa3d-tiny", pretrained=str(tiny)).eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("pa3d-tiny")(texts), normalize=True).numpy()
    encoder = text_encoder(f"open_clip/pa3d-tiny/{tiny}")
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors.dtype == np.float32 and encoder.dim == 24
    assert not encoder._loaded[0].training  # type: ignore[attr-defined]
    assert np.abs(vectors @ vectors.T)[~np.eye(3, dtype=bool)].max() < 0.99
    assert encoder.encode([]).shape == (0, 24)


def test_openclip_batches_and_dtypes(tiny: Path) -> None:
    texts = [f"part {i}" for i in range(5)]
    one = OpenClip("pa3d-tiny", str(tiny)).encode(texts)
    np.testing.assert_array_equal(OpenClip("pa3d-tiny", str(tiny)).encode(texts[3:]), one[3:])
    for size in (2, 5, 64):
        batched = OpenClip("pa3d-tiny", str(tiny), batch_size=size).encode(texts)
        np.testing.assert_allclose(batched, one, atol=1e-5)
    half = OpenClip("pa3d-tiny", str(tiny), dtype="bfloat16").encode(texts)
    # bfloat16 keeps 8 bits; a few layers of it leave the direction within some per cent.
    assert (half * one).sum(axis=1).min() > 0.99 and half.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)


def test_openclip_weights_in_place_of_a_tag(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_path = OpenClip("pa3d-tiny", str(tiny)).encode(["seat"])
    tagged = text_encoder("open_clip/pa3d-tiny/some_tag", weights=str(tiny))
    np.testing.assert_array_equal(tagged.encode(["seat"]), by_path)
    assert tagged.space == "open_clip/pa3d-tiny/some_tag"
    monkeypatch.setenv("PA3D_OPENCLIP_WEIGHTS", str(tiny))
    np.testing.assert_array_equal(text_encoder("open_clip/pa3d-tiny/some_tag").encode(["seat"]), by_path)


def test_openclip_is_cached_until_its_file_changes(tiny: Path, tmp_path: Path) -> None:
    import torch

    own = tmp_path / "own.pt"
    own.write_bytes(tiny.read_bytes())
    space = f"open_clip/pa3d-tiny/{own}"
    vectors = embed_parts(text_encoder(space), ["seat", "back"])
    cached = text_encoder(space)
    np.testing.assert_array_equal(embed_parts(cached, ["back", "seat"]), vectors[::-1])
    assert "_loaded" not in vars(cached)
    state = torch.load(own, weights_only=True)
    state["text_projection"] = torch.randn_like(state["text_projection"])
    torch.save(state, own)
    assert np.abs(embed_parts(text_encoder(space), ["seat", "back"]) - vectors).max() > 0.01


def test_openclip_refuses(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"OpenCLIP has no model 'ViT-Z'; it has .*ViT-bigG-14"):
        text_encoder("open_clip/ViT-Z/openai").encode(["seat"])
    with pytest.raises(InputError, match=r"'nothing' is neither a file nor a tag .* its tags are laion2b"):
        text_encoder("open_clip/ViT-bigG-14/nothing").encode(["seat"])
    with pytest.raises(InputError, match="no such file; give the path of a checkpoint"):
        text_encoder("open_clip/pa3d-tiny/tag", weights=str(tmp_path / "absent.pt"))
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"bad\.pt: not a checkpoint of OpenCLIP's pa3d-tiny"):
        OpenClip("pa3d-tiny", str(tmp_path / "bad.pt")).encode(["seat"])
    with pytest.raises(InputError, match=r"tiny\.pt: not a checkpoint of OpenCLIP's RN50"):
        OpenClip("RN50", str(tiny)).encode(["seat"])
    with pytest.raises(InputError, match="cannot run on device 'toaster'"):
        OpenClip("pa3d-tiny", str(tiny), device="toaster").encode(["seat"])
    with pytest.raises(InputError, match="dtype 'int4' is unknown; expected one of float32"):
        OpenClip("pa3d-tiny", str(tiny), dtype="int4")
    with pytest.raises(InputError, match="batch_size is 0"):
        OpenClip("pa3d-tiny", str(tiny), batch_size=0)


def test_openclip_failed_download(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("network is unreachable")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    with pytest.raises(InputError, match=r"could not be downloaded.*unreachable.*PA3D_OPENCLIP_WEIGHTS=FILE or"):
        text_encoder("open_clip/ViT-B-32/laion2b_s34b_b79k").encode(["seat"])


@pytest.mark.parametrize("module", ["open_clip", "torch"])
def test_openclip_without_the_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    encoder = text_encoder("open_clip/ViT-bigG-14/laion2b_s39b_b160k")
    with pytest.raises(InputError, match=r"pip install 'pa3d\[torch\]'"):
        encoder.encode(["seat"])
    with pytest.raises(InputError, match=r"pip install 'pa3d\[torch\]'"):
        _ = encoder.dim


def test_messages_stay_short_whatever_the_name() -> None:
    with pytest.raises(InputError, match=r"^part name 'x{59}\.\.\.' is given twice") as error:
        check_names(["x" * 5000, "X" * 5000])
    assert len(str(error.value)) < 300
