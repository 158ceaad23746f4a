"""Losses of both stages (PatchAlign3D, arXiv 2601.02457), on batches padded to a common number of parts.

Stage 1 compares patch i with t_n(i), the 2D feature whose center is nearest to the patch's center:

    feature distillation     mean_i 1 - cos(f_i, t_n(i))

Stage 2 compares patch i with the text of part j. Its target y_ij is the fraction of the patch's points that lie in part
j. The K parts of a shape are compared with that shape alone; names of other shapes are not negatives. With s_ij the
cosine:

    released   mean_ij BCE(scale * s_ij, y_ij), positives weighted by max(1, K - 1), scale learned, at most 100
    paper      sum_ij softplus(-z_ij * (s_ij / 0.1 - 10)), z_ij = 2 y_ij - 1: the sigmoid loss of SigLIP

Beyond the paper, the class token of a shape is compared with the names of all categories:

    category   cross entropy of s_c / 0.05 over the categories c; those that mean nearly the same are left out

and a patch with the names that compete for it when a user asks for them together, of which one may lie in another (ear
and head): the targets of the losses above are 1 for both on an ear, so that chance decides between them. With l_ij the
fraction of points of which j is the finest name (pa3d.train.batches.disjoint_masks) and n_j = sum_i l_ij:

    partition  mean_ij of -log softmax_j(scale * s_ij), weighted by l_ij / sqrt(n_j)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AlignmentLoss = Literal["released", "paper"]

SIGLIP_TEMPERATURE = 0.1
SIGLIP_BIAS = -10.0
CATEGORY_TEMPERATURE = 0.05
CATEGORY_MAX_COSINE = 0.7


def feature_distillation_loss(
    features: Tensor,  # (B, G, D) of any length
    targets: Tensor,  # (B, G, D) of any length
) -> Tensor:  # ()
    """1 - cosine, averaged over patches and shapes."""
    return (1 - F.cosine_similarity(features, targets, dim=-1)).mean()


def category_loss(
    features: Tensor,  # (B, D) unit
    text: Tensor,  # (V, D) unit, the names of all categories
    category_ids: Tensor,  # (B,) int64 index into text; -1 for a shape without a category
) -> Tensor:  # ()
    """Averaged over all B shapes; shapes without a category count as 0.

    Categories whose vector has a cosine of at least CATEGORY_MAX_COSINE with that of the shape are no negatives.
    """
    own = category_ids.clamp(min=0)
    related = text[own] @ text.T >= CATEGORY_MAX_COSINE
    related.scatter_(1, own[:, None], False)
    logits = (features @ text.T / CATEGORY_TEMPERATURE).masked_fill(related, -torch.inf)
    return (F.cross_entropy(logits, own, reduction="none") * (category_ids >= 0)).mean()


def partition_loss(
    features: Tensor,  # (B, G, D) unit
    text: Tensor,  # (B, K, D) unit
    labels: Tensor,  # (B, G, K) fractions in [0, 1]; names without a label do not compete
    scale: Tensor | float,
) -> Tensor:  # ()
    """The weighted mean of each shape, averaged over shapes; a shape of one name, or of none, counts as 0."""
    sizes = labels.sum(dim=1)  # (B, K)
    logits = scale * (features @ text.transpose(1, 2))
    log_probs = logits.masked_fill((sizes == 0)[:, None], -1e4).log_softmax(dim=-1)
    weights = labels * sizes.clamp(min=1e-6).rsqrt()[:, None]
    total = weights.sum(dim=(1, 2)).clamp(min=1e-6)
    return (-(weights * log_probs).sum(dim=(1, 2)) / total).mean()


def alignment_loss(
    features: Tensor,  # (B, G, D) unit
    text: Tensor,  # (B, K, D) unit; rows beyond a shape's parts are ignored
    targets: Tensor,  # (B, G, K) fractions in [0, 1]
    valid: Tensor,  # (B, K) bool: False for rows beyond a shape's parts
    scale: Tensor | float,
    kind: AlignmentLoss = "released",
) -> Tensor:  # ()
    """The loss of each shape by its own formula, averaged over shapes. scale: used by `released` only."""
    cosine = features @ text.transpose(1, 2)
    num_parts = valid.sum(dim=1).clamp(min=1)  # (B,)
    mask = valid[:, None, :].to(cosine.dtype)
    if kind == "released":
        pos_weight = (num_parts - 1).clamp(min=1).to(cosine.dtype)[:, None, None]
        loss = F.binary_cross_entropy_with_logits(scale * cosine, targets, pos_weight=pos_weight, reduction="none")
        return ((loss * mask).sum(dim=(1, 2)) / (num_parts * cosine.shape[1])).mean()
    if kind == "paper":
        logits = cosine / SIGLIP_TEMPERATURE + SIGLIP_BIAS
        return (F.softplus(-(2 * targets - 1) * logits) * mask).sum(dim=(1, 2)).mean()
    raise ValueError(f"kind: expected released or paper, got {kind!r}")
