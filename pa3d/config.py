"""The sizes of an encoder. The shapes of its weights and the number and size of its patches follow from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pa3d.errors import InputError

# How a point takes the logits of patches; pa3d.ops.label_points explains the three rules.
ASSIGN = ("nearest", "membership", "smooth")
MAX_PASS_POINTS = 2**20  # what the C interface takes, too


@dataclass(frozen=True)
class EncoderConfig:
    """The defaults are PatchAlign3D's (arXiv 2601.02457): 21.86 M parameters and 0.49 M in the projection.

    patches, patch_size: number of patches, and points per patch.
    dim, depth, heads, mlp_hidden: width, blocks, attention heads and hidden width of the transformer.
    embed: the four widths of the mini-PointNet: two layers before the first maximum, two after it.
    pos_hidden: hidden width of the network that turns a patch centre into a position embedding.
    text_dim: width of the text space that `proj` maps tokens to.
    drop_path: largest probability of stochastic depth in training; it rises linearly over the blocks.
    min_sq_norm: points whose squared distance from the origin is at most this are never patch centres.
    pass_points: 0: all points are cut into patches at once. More than 0: a shape is encoded in passes of about so many
        points, each with half of the patches (pa3d.passes); only for use, training draws its points by itself.
    """

    patches: int = 128
    patch_size: int = 32
    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_hidden: int = 1536
    embed: tuple[int, int, int, int] = (128, 256, 512, 256)
    pos_hidden: int = 128
    text_dim: int = 1280
    drop_path: float = 0.1
    min_sq_norm: float = 1e-3
    pass_points: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "embed", tuple(self.embed))
        sizes = ("patches", "patch_size", "dim", "depth", "heads", "mlp_hidden", "pos_hidden", "text_dim")
        for name in sizes:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"EncoderConfig.{name} is {value!r}; expected an integer of at least 1")
        if len(self.embed) != 4 or not all(isinstance(w, int) and w >= 1 for w in self.embed):
            raise InputError(f"EncoderConfig.embed is {self.embed!r}; expected four widths of at least 1")
        if self.dim % self.heads:
            raise InputError(f"EncoderConfig.dim {self.dim} is not a multiple of heads {self.heads}")
        if not 0 <= self.drop_path < 1:
            raise InputError(f"EncoderConfig.drop_path is {self.drop_path}; expected 0 <= drop_path < 1")
        if not self.min_sq_norm >= 0:
            raise InputError(f"EncoderConfig.min_sq_norm is {self.min_sq_norm}; expected a number >= 0")
        if type(self.pass_points) is not int or not 0 <= self.pass_points <= MAX_PASS_POINTS:
            raise InputError(
                f"EncoderConfig.pass_points is {self.pass_points!r}; expected an integer from 0 to {MAX_PASS_POINTS}"
            )
        if self.pass_points and self.patches % 2:
            raise InputError(
                f"patches is {self.patches}; expected an even number, because the model encodes a shape in two passes"
            )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "embed": list(self.embed)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderConfig:
        """Raises InputError for a key that is not a field."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise InputError(f"encoder configuration has unknown fields {', '.join(unknown)}; written by a newer pa3d?")
        return cls(**values)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, encoder and projection, in the layout of the published checkpoints."""
        c, (w0, w1, w2, w3) = self.dim, self.embed
        shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, c), "cls_pos": (1, 1, c)}

        def affine(name: str, n: int) -> None:
            shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (n,)

        def linear(name: str, out: int, *inputs: int, bias: bool = True) -> None:
            shapes[f"{name}.weight"] = (out, *inputs)
            if bias:
                shapes[f"{name}.bias"] = (out,)

        for layer, inputs, hidden, out in (("first", 3, w0, w1), ("second", 2 * w1, w2, w3)):
            linear(f"encoder.{layer}_conv.0", hidden, inputs, 1)
            affine(f"encoder.{layer}_conv.1", hidden)
            shapes[f"encoder.{layer}_conv.1.running_mean"] = (hidden,)
            shapes[f"encoder.{layer}_conv.1.running_var"] = (hidden,)
            linear(f"encoder.{layer}_conv.3", out, hidden, 1)
        linear("reduce_dim", c, w3)
        linear("pos_embed.0", self.pos_hidden, 3)
        linear("pos_embed.2", c, self.pos_hidden)
        for i in range(self.depth):
            block = f"blocks.blocks.{i}"
            affine(f"{block}.norm1", c)
            affine(f"{block}.norm2", c)
            linear(f"{block}.attn.qkv", 3 * c, c, bias=False)
            linear(f"{block}.attn.proj", c, c)
            linear(f"{block}.mlp.fc1", self.mlp_hidden, c)
            linear(f"{block}.mlp.fc2", c, self.mlp_hidden)
        affine("norm", c)
        linear("proj", self.text_dim, c)
        return shapes
