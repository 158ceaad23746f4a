"""Muon: steps along the orthogonal matrix nearest to the momentum, for weights that are matrices.

Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024),
kellerjordan.github.io/posts/muon.
For the gradient G of a weight W of r rows and c columns, momentum m and rate lr:

    B <- m B + (1 - m) G,    U = m B + (1 - m) G  (Nesterov),    O = orthogonalize(U),
    W <- (1 - lr * decay) W - lr * 0.2 sqrt(max(r, c)) O

The factor 0.2 sqrt(max(r, c)) gives a step the root mean square of a step of AdamW, so both take the same learning rate
and weight decay ("Muon is scalable for LLM training", arXiv 2502.16982, equation 4). A convolution counts as a matrix
(out, in * kernel).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

MIN_SIZE = 64  # fewest rows and columns of a weight that Muon trains
STEP_RMS = 0.2  # root mean square of a step divided by the learning rate
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # x -> a x + b x^3 + c x^5, chosen by Jordan to be steep at 0
ITERATIONS = 5


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon trains a weight: flattened after its first axis, it has at least 64 rows and 64 columns."""
    return parameter.ndim >= 2 and len(parameter) >= MIN_SIZE and parameter[0].numel() >= MIN_SIZE


@torch.no_grad()
def orthogonalize(matrix: Tensor, *, half: bool = False) -> Tensor:  # (r, c) -> (r, c) float32
    """Approximately U V^T of a matrix U S V^T, by five Newton-Schulz iterations.

    The singular values of the result are 0.7 to 1.2; those that were below about 1e-3 of the Frobenius norm are
    smaller, and zeros stay zeros. half: computed in bfloat16.
    """
    x = matrix.to(torch.float32)
    x = (x / x.norm().clamp(min=1e-7)).to(torch.bfloat16 if half else torch.float32)
    wide = x.shape[0] <= x.shape[1]
    if not wide:
        x = x.T
    x = x.contiguous()
    # bfloat16 cannot hold the Gram matrix well enough: the small singular values would be lost.
    iterate = _iterate_gram if x.shape[1] >= 2 * x.shape[0] and not half else _iterate
    x = iterate(x)
    return (x if wide else x.T).to(torch.float32)


def _iterate(x: Tensor) -> Tensor:  # (r, c) -> (r, c)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterate_gram(x: Tensor) -> Tensor:  # (r, c) -> (r, c)
    """The same with products of (r, r) alone between the first and the last, for matrices much longer than wide.

    An iteration multiplies x by q = a + b g + c g g, where g = x x^T. So g becomes q g q, and the result is x times the
    product of all q. All these matrices are polynomials of the first g, so they commute.
    """
    a, b, c = COEFFICIENTS
    gram = x @ x.T
    product = None
    for i in range(ITERATIONS):
        q = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        q.diagonal().add_(a)
        product = q if product is None else product @ q
        if i + 1 < ITERATIONS:
            gram = q @ gram @ q
    assert product is not None
    return product @ x


class Muon:
    """Muon for the groups whose "muon" is true, AdamW for the others; with the interface of torch's optimizers.

    groups: dicts with "params", "lr", "weight_decay" and "muon". A schedule sets "lr" in `param_groups`.
    state: for each parameter a dict of tensors: "momentum", or the state of AdamW.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, momentum: float, betas: tuple[float, float], half: bool
    ) -> None:
        self._momentum, self._half = momentum, half
        self._matrices = [group for group in groups if group["muon"]]
        others = [group for group in groups if not group["muon"]]
        self._adamw = torch.optim.AdamW(others, betas=betas, fused=True) if others else None
        self.param_groups = self._matrices + (self._adamw.param_groups if self._adamw else [])
        self.state: Any = self._adamw.state if self._adamw else {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        if self._adamw is not None:
            self._adamw.step()
        for group in self._matrices:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["weight_decay"])

    def _update(self, parameter: nn.Parameter, grad: Tensor, lr: float, weight_decay: float) -> None:
        if parameter not in self.state:
            self.state[parameter] = {"momentum": torch.zeros_like(parameter)}
        momentum = self.state[parameter]["momentum"].lerp_(grad, 1 - self._momentum)
        nesterov = grad.lerp(momentum, self._momentum).flatten(1)
        step = orthogonalize(nesterov, half=self._half).view_as(parameter)
        parameter.mul_(1 - lr * weight_decay).add_(step, alpha=-lr * STEP_RMS * math.sqrt(max(nesterov.shape)))
