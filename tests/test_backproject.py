"""backproject: hand-worked sums, the reference at every level and odd sizes, one thread against several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from levels import LEVELS

from pa3d import _C
from pa3d.ops.backproject import backproject, backproject_reference

MODES = ("bicubic", "bilinear", "nearest")

# V, gh, gw, C, H, W, P: one of everything, channels around vectors and blocks of them, grids finer than the image.
SIZES = [
    (1, 1, 1, 1, 1, 1, 1),
    (2, 1, 3, 15, 4, 5, 3),
    (1, 5, 7, 16, 23, 31, 9),
    (2, 4, 4, 17, 16, 16, 300),
    (3, 9, 4, 63, 6, 8, 20),
    (1, 3, 2, 100, 40, 7, 2),
    (1, 6, 6, 257, 20, 20, 11),
    (2, 2, 2, 600, 9, 9, 5),
]


def case(size: tuple[int, ...], seed: int = 0, none: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    v, gh, gw, c, h, w, p = size
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, p, (v, h, w)).astype(np.int32)
    ids[rng.random(ids.shape) < none] = -1
    return torch.from_numpy(rng.standard_normal((v, gh, gw, c)).astype(np.float32)), torch.from_numpy(ids)


def test_hand_worked_bilinear() -> None:
    # Two tokens over four pixels: source coordinates -1/4, 1/4, 3/4, 5/4, so values 0, 2, 6, 8.
    tokens = np.array([0, 8], np.float32).reshape(1, 1, 2, 1)
    total, count = backproject(tokens, np.array([[[0, 1, 0, -1]]]), 3, mode="bilinear")
    assert total.tolist() == [[6.0], [2.0], [0.0]] and count.tolist() == [2, 1, 0]


def test_hand_worked_bicubic() -> None:
    # Between two tokens, t = 1/2: weights (A/8, 1/2 - A/8, 1/2 - A/8, A/8) with A = -3/4.
    tokens = np.array([1, 2, 4, 8], np.float32).reshape(1, 1, 4, 1)
    ids = np.full((1, 1, 2), -1)
    ids[0, 0, 0] = 0  # two pixels over four tokens: source coordinates 1/2 and 5/2
    total, _ = backproject(tokens, ids, 1)
    # The taps -1, 0, 1, 2; the first is clamped to token 0.
    assert total[0, 0] == -3 / 32 * 1 + 19 / 32 * 1 + 19 / 32 * 2 - 3 / 32 * 4


def test_hand_worked_nearest() -> None:
    tokens = np.array([1, 10, 100], np.float32).reshape(1, 3, 1, 1)
    total, count = backproject(tokens, np.zeros((1, 6, 1), np.int32), 1, mode="nearest")
    assert total.tolist() == [[222.0]] and count.tolist() == [6]


def test_per_view_counts_views() -> None:
    tokens = np.array([1, 5, 9], np.float32).reshape(3, 1, 1, 1)
    ids = np.array([[[0, 0, 0]], [[0, 1, -1]], [[-1, -1, -1]]])
    total, count = backproject(tokens, ids, 2)
    assert total[:, 0].tolist() == [8.0, 5.0] and count.tolist() == [4, 1]
    total, count = backproject(tokens, ids, 2, per_view=True)
    assert total[:, 0].tolist() == [6.0, 5.0] and count.tolist() == [2, 1]


@pytest.mark.parametrize("per_view", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_the_reference(isa: str, size: tuple[int, ...], mode: str, per_view: bool) -> None:
    tokens, ids = case(size)
    for given in (tokens, tokens.bfloat16()):
        total, count = backproject(given, ids, size[-1], mode=mode, per_view=per_view)
        truth, expected = backproject_reference(given.double(), ids, size[-1], mode=mode, per_view=per_view)
        plain, _ = backproject_reference(given.float(), ids, size[-1], mode=mode, per_view=per_view)
        assert torch.equal(count, expected) and total.dtype == torch.float32
        error, plain_error = (total - truth).abs().max(), (plain - truth).abs().max()
        # Weights are rounded to float32 once, and so is every sum over tokens.
        assert error <= max(2 * plain_error, 4e-6 * truth.abs().max())


@pytest.mark.parametrize("mode", MODES)
def test_every_source_coordinate(mode: str) -> None:
    """Sizes whose ratios round: a nearest token is a jump, which has no tolerance."""
    for tokens_across, pixels in ((37, 518), (3, 10), (41, 123), (7, 49), (16, 224), (100, 33)):
        tokens = torch.arange(tokens_across, dtype=torch.float32).reshape(1, 1, -1, 1)
        ids = torch.arange(pixels, dtype=torch.int32).reshape(1, 1, -1)
        total, _ = backproject(tokens, ids, pixels, mode=mode)
        expected, _ = backproject_reference(tokens, ids, pixels, mode=mode)
        # torch's source coordinate is rounded to float32: half an ulp of up to 100, times a slope of at most 2.
        assert (total - expected).abs().max() <= (0 if mode == "nearest" else 2e-4)


@pytest.mark.parametrize(
    "size", [(2, 9, 11, 300, 70, 90, 700), (2, 9, 60, 300, 140, 90, 700)], ids=["few bands", "scattered"]
)
def test_threads_and_isa_change_nothing(size: tuple[int, ...]) -> None:
    tokens, ids = (x.numpy() for x in case(size))
    before = _C.isa()
    try:
        first = None
        for level in LEVELS:
            if not _C.set_isa(level):
                continue
            for threads in (1, 2, 5):
                for mode in MODES:
                    got = _C.backproject(tokens, ids, 700, mode, False, threads)
                    key = mode, got[0].tobytes(), got[1].tobytes()
                    first = (first or {}) | {mode: key} if mode not in (first or {}) else first
                    assert first[mode] == key
    finally:
        _C.set_isa(before)


def test_kinds_and_index_types_agree() -> None:
    tokens, ids = case((2, 3, 4, 20, 11, 12, 30))
    total, count = backproject(tokens, ids, 30)
    assert isinstance(total, torch.Tensor) and count.dtype == torch.int64
    for index in (ids, ids.long()):
        for again in (backproject(tokens, index, 30), backproject(tokens.numpy(), index.numpy(), 30)):
            np.testing.assert_array_equal(np.asarray(again[0]), total)
            np.testing.assert_array_equal(np.asarray(again[1]), count)
    assert isinstance(backproject(tokens.numpy(), ids.numpy(), 30)[0], np.ndarray)


def test_the_reference_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, ids = case((1, 3, 4, 5, 11, 12, 30))
    total, count = backproject(tokens, ids, 30)
    monkeypatch.setenv("PA3D_BACKEND", "reference")
    for again in (backproject(tokens, ids, 30), backproject(tokens.numpy(), ids.numpy(), 30)):
        np.testing.assert_allclose(np.asarray(again[0]), total, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(again[1]), count)


def test_one_point_everywhere_and_scattered_pixels() -> None:
    """A weight of the whole grid, and a point whose pixels lie in opposite corners."""
    tokens, _ = case((1, 12, 10, 8, 1, 1, 1))
    ids = torch.zeros(1, 120, 100, dtype=torch.int32)
    total, count = backproject(tokens, ids, 1)
    truth, _ = backproject_reference(tokens.double(), ids, 1)
    assert count.tolist() == [12000]
    np.testing.assert_allclose(total / 12000, truth / 12000, atol=2e-6)
    ids.fill_(-1)
    ids[0, 0, 0] = ids[0, -1, -1] = 0
    total, _ = backproject(tokens, ids, 1)
    np.testing.assert_allclose(total, backproject_reference(tokens.double(), ids, 1)[0], atol=2e-6)


# Every band of rows shows nearly every point: V, gh, gw, C, H, W, P.
SCATTERED = [
    (1, 5, 60, 35, 140, 30, 50),
    (2, 40, 150, 17, 60, 40, 300),
    (1, 100, 200, 16, 40, 60, 30),
    (2, 30, 50, 64, 90, 70, 90),  # whole lines of the result, written once and added to
]


@pytest.mark.parametrize("per_view", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SCATTERED, ids=str)
def test_scattered_points(isa: str, size: tuple[int, ...], mode: str, per_view: bool) -> None:
    tokens, ids = case(size)
    for given in (tokens, tokens.bfloat16()):
        total, count = backproject(given, ids, size[-1], mode=mode, per_view=per_view)
        truth, expected = backproject_reference(given.double(), ids, size[-1], mode=mode, per_view=per_view)
        plain, _ = backproject_reference(given.float(), ids, size[-1], mode=mode, per_view=per_view)
        assert torch.equal(count, expected)
        error, plain_error = (total - truth).abs().max(), (plain - truth).abs().max()
        assert error <= max(2 * plain_error, 4e-6 * truth.abs().max())


def test_scattered_points_in_several_lists() -> None:
    """More pixels than one list of runs holds, and channels that fill no block."""
    tokens, ids = case((1, 6, 5, 3, 1100, 600, 200), none=0.02)
    ids[:, 100:130, 10:300] = 7  # runs too long to keep in one piece
    total, count = backproject(tokens, ids, 200)
    truth, expected = backproject_reference(tokens.double(), ids, 200)
    plain, _ = backproject_reference(tokens, ids, 200)
    assert torch.equal(count, expected)
    error, plain_error = (total - truth).abs().max(), (plain - truth).abs().max()
    assert error <= max(2 * plain_error, 4e-6 * truth.abs().max())


@pytest.mark.parametrize("points", [16384, 16385, 60000])
def test_more_points_than_slots_below_few(points: int) -> None:
    """What the first rows show does not tell how many points there are."""
    rng = np.random.default_rng(0)
    few, many = rng.integers(0, 300, (1, 200, 90)), rng.integers(0, points, (1, 900, 90))
    ids = torch.from_numpy(np.concatenate([few, many], 1))
    tokens = torch.from_numpy(rng.standard_normal((1, 30, 20, 40)).astype(np.float32))
    total, count = backproject(tokens, ids, points)
    truth, expected = backproject_reference(tokens.double(), ids, points)
    plain, _ = backproject_reference(tokens, ids, points)
    assert torch.equal(count, expected)
    error, plain_error = (total - truth).abs().max(), (plain - truth).abs().max()
    assert error <= max(2 * plain_error, 4e-6 * truth.abs().max())


def test_nothing_seen() -> None:
    tokens, ids = case((2, 3, 3, 4, 5, 5, 1), none=2.0)
    total, count = backproject(tokens, ids, 7)
    assert total.shape == (7, 4) and not total.any() and not count.any()


def test_nan_stays_with_its_pixels() -> None:
    tokens = torch.ones(1, 8, 8, 3)
    tokens[0, 0, 0] = torch.nan
    ids = torch.arange(64, dtype=torch.int32).reshape(1, 8, 8)
    total, _ = backproject(tokens, ids, 64, mode="bilinear")
    assert total[0].isnan().all() and (total[1:] == 1).all()


def test_errors() -> None:
    tokens, ids = case((2, 3, 3, 4, 5, 5, 6))
    with pytest.raises(TypeError, match=r"tokens: expected float32 or bfloat16, got float64; convert it first"):
        backproject(tokens.double(), ids, 6)
    with pytest.raises(TypeError, match=r"point_of_pixel: expected int32 or int64, got int16"):
        backproject(tokens, ids.short(), 6)
    with pytest.raises(TypeError, match="tokens: expected a numpy array or a torch tensor, got list"):
        backproject([1.0], ids, 6)
    with pytest.raises(ValueError, match=r"tokens: expected shape \(V, gh, gw, C\), got \(3, 3"):
        backproject(tokens[0], ids, 6)
    with pytest.raises(ValueError, match=r"point_of_pixel: expected no empty axis, got shape \(2, 0, 5\)"):
        backproject(tokens, ids[:, :0].contiguous(), 6)
    with pytest.raises(ValueError, match=r"point_of_pixel: expected 2 views as tokens have, got shape \(1, 5, 5\)"):
        backproject(tokens, ids[:1], 6)
    with pytest.raises(ValueError, match="tokens: expected a contiguous tensor"):
        backproject(tokens.transpose(1, 2), ids, 6)
    with pytest.raises(ValueError, match="point_of_pixel: expected -1 or indices from 0 to 3, got"):
        backproject(tokens, ids, 4)
    with pytest.raises(ValueError, match="point_of_pixel: expected -1 or indices from 0 to 5, got -7"):
        backproject(tokens, torch.where(ids < 0, -7, ids), 6)
    with pytest.raises(ValueError, match=r"n_points: expected 1..2147483647, got 0"):
        backproject(tokens, ids, 0)
    with pytest.raises(ValueError, match="mode: expected bicubic, bilinear or nearest, got 'area'"):
        backproject(tokens, ids, 6, mode="area")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected all arrays of one kind"):
        backproject(tokens, ids.numpy(), 6)
    with pytest.raises(ValueError, match=r"tokens: expected a contiguous array \(V, gh, gw, C\)"):
        _C.backproject(tokens.double().numpy(), ids.numpy(), 6, "bicubic")
