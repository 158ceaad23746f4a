"""CLIP's ViT-B/16 (Radford et al., arXiv 2103.00020) through OpenCLIP, with the features of every patch.

CLIP is trained to compare the class token of an image with a text. PointCLIPv2 and others take every patch token
through the last LayerNorm and the projection as well, and compare it with texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pa3d.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "ViT-B-16"


class Clip:
    """model: of OpenCLIP, with a vision transformer. tokenize: texts to token ids. name: for reports."""

    def __init__(self, model: Any, tokenize: Any, name: str) -> None:
        self.model, self.tokenize, self.name = model.eval(), tokenize, name

    def tokens(self, images: Tensor) -> Tensor:  # (V, 3, H, W) -> (V, g, g, D)
        """Unit vectors of all patches, in the space of texts. The images are used as they are."""
        import torch

        visual = self.model.visual
        with torch.inference_mode():
            x = visual.transformer(visual._embeds(images))
            x = visual.ln_post(x)[:, 1:] @ visual.proj
            side = round(x.shape[1] ** 0.5)
            return torch.nn.functional.normalize(x, dim=-1).unflatten(1, (side, side))

    def text(self, texts: Sequence[str]) -> Tensor:  # (n, D)
        """Unit vectors of texts, each encoded by itself, so that it does not depend on the others."""
        import torch

        with torch.inference_mode():
            rows = [self.model.encode_text(self.tokenize([text])) for text in texts]
            return torch.nn.functional.normalize(torch.cat(rows).float(), dim=-1)


def load_clip(weights: str | Path | Clip | None) -> Clip:
    """CLIP ViT-B/16 from a file, one that is loaded already, or "random".

    Raises InputError when there are no weights, they cannot be read, or OpenCLIP is not installed.
    """
    if weights is None:
        raise InputError(
            "no weights of CLIP; fetch ViT-B-16 of OpenAI once with open_clip and give the file: --weights clip=FILE"
        )
    if not isinstance(weights, str | Path):
        return weights
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise InputError(f"CLIP needs OpenCLIP; pip install 'pa3d[methods]' ({error})") from error
    tokenize = open_clip.get_tokenizer(MODEL)
    if str(weights) == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(MODEL, force_quick_gelu=True)
        return Clip(model, tokenize, f"{MODEL}, random weights")
    if not Path(weights).is_file():
        raise InputError(f"weights of CLIP: {weights}: no such file")
    try:
        # OpenAI's model has the quick form of GELU, which its checkpoint does not say.
        model = open_clip.create_model(MODEL, pretrained=str(weights), force_quick_gelu=True, weights_only=True)
    except Exception as error:  # readers of many formats, each with errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{weights}: not a checkpoint of OpenCLIP's {MODEL} ({reason})") from error
    return Clip(model, tokenize, f"{MODEL}, {file_digest(weights)}")


def file_digest(path: str | Path) -> str:
    """The first 16 digits of a file's SHA-256, which name weights in reports."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
