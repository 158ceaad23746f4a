"""Outliers, the lexicon, levels of names and presence in a Segmenter, and the script that adds them to a checkpoint."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from test_segment import torus
from tiny import TINY, calibrated_checkpoint, head_with, random_checkpoint, random_kinds, random_lexicon

from pa3d import _C
from pa3d.categories import categories
from pa3d.checkpoint import Checkpoint, PresenceFit, load, save
from pa3d.data.creatures import synthesize_creature
from pa3d.data.paraphrases import HELD_OUT_PHRASES
from pa3d.data.procedural import synthesize
from pa3d.errors import InputError
from pa3d.ops import label_points, label_points_reference
from pa3d.segment import Segmenter
from pa3d.shape import Shape

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

PARTS = ["seat", "back", "leg"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(calibrated_checkpoint())


def sheet(n: int) -> np.ndarray:  # (n, 3)
    """A curved sheet: evenly random, so that no point of it is far from the others."""
    u, v = np.random.default_rng(0).random((2, n))
    return np.stack([u, v * (1 - v) + 0.2 * u, v], axis=1).astype(np.float32)


# ---- outliers ----


def test_stray_points_change_no_label(segmenter: Segmenter) -> None:
    clean = sheet(1500)
    strays = np.float32([[40, 0, 0], [0, -1e6, 0], [7, 7, 7]])
    dirty = np.concatenate([clean[:700], strays, clean[700:]])
    a, b = segmenter.segment(clean, PARTS), segmenter.segment(dirty, PARTS)
    own = np.r_[0:700, 703:1503]
    assert np.array_equal(a.labels, b.labels[own]) and np.array_equal(a.scores, b.scores[own])
    assert np.array_equal(a.presence, b.presence)
    assert (a.settings["outliers"], b.settings["outliers"]) == (0, 3)
    assert (b.labels >= 0).all() and np.allclose(b.scores.sum(axis=1), 1, atol=1e-6)  # stray points have labels, too
    nearest = np.abs(clean[:, None] - strays[None, 2:]).sum(axis=2).argmin()
    assert b.labels[702] == a.labels[nearest]


def test_encode_leaves_them_out(segmenter: Segmenter) -> None:
    clean = sheet(1500)
    dirty = np.concatenate([clean, np.float32([[40, 0, 0]])])
    alone, dirty_alone = segmenter.encode(clean), segmenter.encode(dirty)
    for name in ("centers", "members", "tokens", "features", "points"):
        assert getattr(alone, name).tobytes() == getattr(dirty_alone, name).tobytes()
    assert len(segmenter.encode(dirty, normalize=False).points) == 1501
    both = segmenter.encode([dirty, clean])
    assert all(f.features.tobytes() == alone.features.tobytes() for f in both)
    features, center, radius = segmenter.encode_shape(Shape(dirty), sample=None)
    assert features.features.tobytes() == alone.features.tobytes()
    assert np.allclose(center, clean.mean(axis=0), atol=1e-6) and radius < 2


def test_the_up_direction_does_not_depend_on_them(segmenter: Segmenter) -> None:
    clean = sheet(600)
    dirty = np.concatenate([clean, np.float32([[40, 0, 0]])])
    a, b = (segmenter.segment(points, PARTS, up="auto") for points in (clean, dirty))
    assert a.settings["up_found"] == b.settings["up_found"]
    assert np.array_equal(a.labels, b.labels[:600])


def test_a_stray_point_is_no_keypoint(segmenter: Segmenter) -> None:
    clean = sheet(1500)
    dirty = np.concatenate([clean, np.float32([[40, 0, 0]])])
    for names in (["seat"], ["tip of the leg"], ["top of the leg"]):
        a, b = (segmenter.keypoints(points, names, sample=None).found[0] for points in (clean, dirty))
        assert np.array_equal(a.position, b.position)


def test_without_the_field_all_points_are_used() -> None:
    dirty = np.concatenate([sheet(1500), np.float32([[40, 0, 0]])])
    plain = Segmenter(random_checkpoint(TINY))
    result = plain.segment(dirty, PARTS)
    assert len(plain.encode(dirty).points) == 1501 and "outliers" not in result.settings
    assert result.presence is None and result.found is None


# ---- levels ----


@pytest.mark.parametrize(("r", "k", "d"), [(1, 1, 1), (19, 2, 15), (20, 3, 17), (300, 5, 384)])
def test_levels_against_plain_code(r: int, k: int, d: int) -> None:
    rng = np.random.default_rng(r)
    bank = rng.integers(-127, 128, (r, d)).astype(np.int8)
    bank[:, 0] = 127
    vectors = _C.unit_rows(rng.standard_normal((k, d)).astype(np.float32))
    exact = bank.astype(np.float64)
    cosines = np.sort(exact @ vectors.T / np.linalg.norm(exact, axis=1, keepdims=True), axis=0)
    expected = 1 + 10 * np.maximum(cosines[(r - 1) * 95 // 100], 0)
    np.testing.assert_allclose(_C.name_levels(bank, vectors), expected, atol=1e-5)
    assert _C.name_levels(bank, vectors, 3).tobytes() == _C.name_levels(bank, vectors, 1).tobytes()
    alone = [_C.name_levels(bank, vectors[i : i + 1])[0] for i in range(k)]
    assert alone == _C.name_levels(bank, vectors).tolist()


# ---- lexicon ----


@pytest.mark.parametrize(("r", "k", "d"), [(1, 1, 2), (8, 2, 15), (33, 3, 17), (300, 5, 384)])
def test_the_lexicon_against_plain_code(r: int, k: int, d: int) -> None:
    lexicon = random_lexicon(r, d)
    vectors = np.random.default_rng(r).standard_normal((k, d)).astype(np.float32)
    vectors[-1] = lexicon.rows[r // 2] + 8 * vectors[-1]  # known
    vectors = _C.unit_rows(vectors)
    unit = lexicon.rows.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = []
    for vector in vectors.astype(np.float64):
        cosine = unit @ vector
        nearest = np.argsort(-cosine, kind="stable")[:32]
        weight = np.exp((cosine[nearest] - cosine[nearest[0]]) / (0.01 if cosine[nearest[0]] >= 0.92 else 0.05))
        name = weight @ unit[lexicon.meaning[nearest]]
        mixed = 0.2 * vector + 0.8 * name / np.linalg.norm(name)
        expected.append(mixed / np.linalg.norm(mixed))
    read = _C.read_through_lexicon(*lexicon, vectors)[0]
    np.testing.assert_allclose(read, expected, atol=1e-5)
    again, nearest = _C.read_through_lexicon(*lexicon, vectors, 3)
    assert again.tobytes() == read.tobytes()
    np.testing.assert_allclose(nearest, (vectors @ unit.T).max(axis=1), atol=1e-5)
    alone = np.concatenate([_C.read_through_lexicon(*lexicon, vectors[i : i + 1], 1)[0] for i in range(k)])
    assert alone.tobytes() == read.tobytes()


def test_a_callers_vectors_may_change_after_a_query() -> None:
    """What a Segmenter keeps of a set of names is its own."""
    checkpoint = replace(calibrated_checkpoint(), lexicon=None)
    segmenter, other = Segmenter(checkpoint), Segmenter(checkpoint)
    features, vectors = segmenter.encode(sheet(500)), segmenter.embed_text(PARTS)
    again = vectors.copy()
    segmenter.patch_logits(features, vectors)
    vectors *= -1
    np.testing.assert_array_equal(segmenter.patch_logits(features, again), other.patch_logits(features, again))


def test_opposite_texts_leave_a_vector_as_it_is() -> None:
    rows = np.array([[100, 50], [-100, -50]], np.int8)
    read = _C.read_through_lexicon(rows, np.arange(2, dtype=np.int32), np.float32([[-0.4472136, 0.8944272]]))[0]
    np.testing.assert_allclose(read, [[-0.4472136, 0.8944272]], atol=1e-6)


def test_a_lexicon_with_wrong_rows_is_refused() -> None:
    rows, meaning = random_lexicon(8, 5)
    vectors = np.eye(5, dtype=np.float32)
    for wrong in (meaning + 5, meaning - 1, meaning[:-1]):
        with pytest.raises(ValueError, match="meaning: "):
            _C.read_through_lexicon(rows, wrong, vectors)
    with pytest.raises(ValueError, match="width differs"):
        _C.read_through_lexicon(rows, meaning, vectors[:, :4].copy())


def test_the_embedded_model_understands_words_it_was_not_trained_with() -> None:
    """The held-out wordings are in no row of the lexicon, and are read as the names that they mean."""
    checkpoint = load()
    assert checkpoint.lexicon is not None
    segmenter = Segmenter(checkpoint)
    names = ["leg", "arm", "head", "backrest", "seat"]
    unknown = ["lower limb", "limb that ends in a hand", "skull", "place to lean on", "place to sit"]
    own, other = segmenter.embed_text(names), segmenter.embed_text(unknown)
    read = _C.read_through_lexicon(*checkpoint.lexicon, np.concatenate([own, other]))[0]
    before, after = own @ other.T, read[:5] @ read[5:].T
    np.testing.assert_array_equal(after.argmax(axis=0), np.arange(5))
    assert (np.diag(after) > np.diag(before)).all()
    assert (own * read[:5]).sum(axis=1).min() > 0.8  # known names hardly move
    for phrase in HELD_OUT_PHRASES:
        vector = segmenter.embed_words([phrase])[0]
        rows = checkpoint.lexicon.rows.astype(np.float32)
        assert (rows @ vector / np.linalg.norm(rows, axis=1)).max() < 0.999


def test_logits_are_divided_by_the_levels() -> None:
    segmenter = Segmenter(replace(calibrated_checkpoint(), kinds=None))  # without kinds a shape does not say what it is
    features = segmenter.encode(sheet(1500))
    assert segmenter.checkpoint.lexicon is not None
    text = _C.read_through_lexicon(*segmenter.checkpoint.lexicon, segmenter.embed_text(PARTS))[0]
    levels = _C.name_levels(segmenter.checkpoint.bank, text)
    assert levels.max() > 1.1 * levels.min() and levels.min() > 1
    logits = features.features.astype(np.float64) @ text.T / 0.07 / levels
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(segmenter.query(features, PARTS), e / e.sum(axis=1, keepdims=True), atol=1e-5)


def test_levels_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            kernel = getattr(_C, name)
            if name != "name_levels":
                return kernel
            return lambda *arguments: calls.append(name) or kernel(*arguments)

    monkeypatch.setattr("pa3d.known_names._C", Counted())
    monkeypatch.setattr("pa3d.known_names.MAX_NAMES", 2)
    fresh = Segmenter(replace(calibrated_checkpoint(), kinds=None))
    for parts in (PARTS, PARTS, ["seat"], PARTS, PARTS[::-1], PARTS[::-1]):
        fresh.segment(sheet(300), parts)
    assert len(calls) == 3


# ---- words on a shape ----


def plain_reading(
    checkpoint: Checkpoint, vectors: np.ndarray, shape: np.ndarray, features: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """csrc/cpu/words.h, step by step."""

    def unit(a: Any) -> np.ndarray:
        a = np.asarray(a, np.float64)
        return a / np.linalg.norm(a, axis=-1, keepdims=True)

    def softmax(a: np.ndarray) -> np.ndarray:
        e = np.exp(a - a.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    lexicon, kinds = checkpoint.lexicon, checkpoint.kinds
    assert lexicon is not None and kinds is not None
    texts, parts = unit(lexicon.rows), unit(kinds.parts)
    rows, name_of = np.unique(lexicon.meaning, return_inverse=True)
    names = texts[rows]
    read = _C.read_through_lexicon(*lexicon, vectors)[0].astype(np.float64)

    def fits(of: np.ndarray) -> np.ndarray:
        found = np.zeros((len(kinds.rows), len(of)))
        for kind, part in kinds.has:
            found[kind] = np.maximum(found[kind], np.clip(of @ parts[part], 0, 1) ** 8)
        return found

    cosine = vectors @ texts.T
    nearest = cosine.max(axis=1)
    known = nearest >= 0.92
    support = 0.5 * np.log(0.03 + fits(read)[:, known]).sum(axis=1)
    prior = np.log(0.03 + softmax(unit(kinds.rows) @ shape / 0.05 + support) @ fits(names))
    likely = np.argsort(-prior, kind="stable")[:64]
    seen = softmax(features @ names[likely].T / checkpoint.temperature + prior[likely])
    logits = features @ read[known].T / checkpoint.temperature / levels[known]
    seen *= softmax(np.concatenate([logits, np.zeros((len(features), 1))], axis=1))[:, -1:]
    share = np.zeros(len(names))
    share[likely] = seen.mean(axis=0)
    prior += np.log(0.001 + share)

    weights = np.zeros((len(vectors), len(names)))
    for i, row in enumerate(cosine):
        near = np.zeros(len(names))
        np.add.at(near, name_of, np.maximum(np.exp((row - nearest[i]) / (0.01 if known[i] else 0.05)), 1e-38))
        trust = 0 if known[i] else np.clip((nearest[i] - 0.5) / 0.15, 0, 1)
        value = np.log(near) + trust * prior
        kept = np.argsort(-value, kind="stable")[:32]
        weights[i, kept] = softmax(value[kept])
    alike = np.clip(names @ names.T, 0, 1) ** 4
    for _ in range(3):
        claims = weights @ alike
        changed = weights * claims / np.maximum(claims.sum(axis=0), 1e-300)
        weights[~known] = (changed / changed.sum(axis=1, keepdims=True))[~known]
    result = unit(0.2 * unit(vectors) + 0.8 * unit(weights @ names))
    return np.where(known[:, None], read, result)


@pytest.mark.parametrize(("rows", "width", "g"), [(8, 12, 1), (70, 24, 5), (400, 48, 40)])
def test_words_on_a_shape_against_plain_code(rows: int, width: int, g: int) -> None:
    rng = np.random.default_rng(rows)

    def unit(*shape: int) -> np.ndarray:
        return _C.unit_rows(rng.standard_normal(shape).astype(np.float32))

    lexicon, kinds = random_lexicon(rows, width), random_kinds(9, 14, width)
    checkpoint = replace(random_checkpoint(TINY), lexicon=lexicon, kinds=kinds, temperature=0.5)
    near = lexicon.rows[[1, 6]].astype(np.float32)
    noise = 60 * rng.standard_normal((3, width)).astype(np.float32)
    mixed = (near[0], near[1] + noise[0], near[0] + noise[1], lexicon.rows[3] + noise[2], 0.1 * noise[0])
    vectors = _C.unit_rows(np.stack(mixed).astype(np.float32))  # known, between, stranger
    shape, features, levels = unit(1, width)[0], unit(g, width), rng.uniform(1, 3, 5).astype(np.float32)
    read, nearest = _C.read_through_lexicon(*lexicon, vectors)
    assert nearest[0] >= 0.92 and not _C.all_known(nearest) and _C.all_known(nearest[:1])
    name_of, names, name_fits = _C.lexicon_names(*lexicon, *kinds)
    closeness = _C.closeness_to_names(lexicon.rows, name_of, len(names), vectors)
    fits = _C.kind_fits(*kinds, read)
    given = (names, name_fits, kinds.rows, vectors, read, levels, fits, nearest, closeness, shape, features, 0.5)
    result = _C.read_on_shape(*given)
    np.testing.assert_allclose(result, plain_reading(checkpoint, vectors, shape, features, levels), atol=2e-4)
    assert _C.read_on_shape(*given, 3).tobytes() == result.tobytes()
    np.testing.assert_array_equal(result[0], read[0])
    assert np.abs(result[1:4] - read[1:4]).max() > (0.01 if rows > 8 else 1e-4)
    with pytest.raises(ValueError, match=r"closeness: expected shape \(K, N\)"):
        _C.read_on_shape(*given[:8], closeness[:, 1:].copy(), *given[9:])


def test_a_word_means_what_such_a_shape_has() -> None:
    """A trunk is a torso on a person. Unknown words then label the shape as the names do that they mean."""
    segmenter = Segmenter.from_pretrained()
    checkpoint = segmenter.checkpoint
    alone = Segmenter(replace(checkpoint, kinds=None))
    names, words = ["head", "torso", "arm", "leg"], ["skull", "trunk", "upper limb", "lower limb"]
    agree = []
    for seed in range(4):
        person = synthesize_creature("human", seed, 2048).points
        wanted = segmenter.segment(person, names).labels
        agree.append([np.mean(s.segment(person, words).labels == wanted) for s in (segmenter, alone)])
    together, by_words_alone = np.mean(agree, axis=0)
    assert together > 0.85 and together > by_words_alone + 0.1
    encoded = segmenter.encode(person)
    trunk = segmenter._names._on_shape(encoded, segmenter._names._read(segmenter.embed_text(words))).vectors[1]
    torso, lid = segmenter.embed_text(["torso", "trunk lid"])
    assert trunk @ torso > trunk @ lid + 0.1


def test_known_words_and_nonsense_stay_as_they_are() -> None:
    """What the lexicon has is not read anew, whatever stands beside it, and nonsense takes no part's place."""
    segmenter = Segmenter.from_pretrained()
    alone = Segmenter(replace(segmenter.checkpoint, kinds=None))
    chair = synthesize("chair", 5)
    features, names = segmenter.encode(chair), ["seat", "back", "leg", "arm"]
    for words in (names, [*names, "xyzzy", "stamen", "bookmark"]):
        vectors = segmenter.embed_text(words)
        logits = [s.patch_logits(features, vectors)[:, :4] for s in (segmenter, alone)]
        np.testing.assert_array_equal(*logits)
    labels = [segmenter.segment(chair, words).face_labels for words in (names, words)]
    assert np.mean(labels[0] == labels[1]) > 0.97


# ---- presence ----


@pytest.mark.parametrize(("g", "k", "size"), [(1, 1, 3.0), (5, 2, 30.0), (128, 7, 8.0), (20, 40, 200.0)])
def test_presence_against_plain_code(g: int, k: int, size: float) -> None:
    logits = (size * np.random.default_rng(g).standard_normal((g, k))).astype(np.float32)
    terms = np.concatenate([logits, np.zeros((g, 1))], axis=1).astype(np.float64)
    odds = []
    for j in range(k):
        others = np.delete(terms, j, axis=1)
        most = others.max(axis=1)
        odds.append((terms[:, j] - most - np.log(np.exp(others - most[:, None]).sum(axis=1))).max())
    expected = 1 / (1 + np.exp(-(0.3 * np.array(odds) - 0.2)))
    np.testing.assert_allclose(_C.presence(logits, 0.3, -0.2), expected, atol=1e-6)


@pytest.mark.parametrize(("g", "c", "h", "d"), [(1, 1, 1, 1), (7, 5, 9, 3), (128, 256, 64, 384)])
def test_the_vector_of_a_shape_against_plain_code(g: int, c: int, h: int, d: int) -> None:
    rng = np.random.default_rng(g)
    tokens = rng.standard_normal((g, c)).astype(np.float32)
    head = [rng.standard_normal(shape).astype(np.float32) for shape in ((h, 3 * c), (h,), (d, h), (d,))]
    wide = [a.astype(np.float64) for a in head]
    pooled = np.concatenate([tokens.mean(axis=0), tokens.max(axis=0), tokens.astype(np.float64).std(axis=0)])
    vector = wide[2] @ np.maximum(wide[0] @ pooled + wide[1], 0) + wide[3]
    result = _C.shape_vector(tokens, *head)
    np.testing.assert_allclose(result, vector / np.linalg.norm(vector), atol=2e-6)
    assert _C.shape_vector(tokens, *head, 3).tobytes() == result.tobytes()
    with pytest.raises(ValueError, match=r"hidden_weight: expected shape \(H, 3C\)"):
        _C.shape_vector(np.zeros((g, c + 1), np.float32), *head)


@pytest.mark.parametrize(("c", "p", "k", "d"), [(1, 3, 1, 2), (9, 14, 5, 40), (300, 320, 3, 384)])
def test_what_is_expected_against_plain_code(c: int, p: int, k: int, d: int) -> None:
    kinds, rng = random_kinds(c, p, d), np.random.default_rng(d)
    vectors = rng.uniform(-0.2, 1, (k, d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, parts = (
        a / np.linalg.norm(a, axis=1, keepdims=True) for a in (kinds.rows.astype(float), kinds.parts.astype(float))
    )
    fits = np.zeros((c, k))
    for kind, part in kinds.has:
        fits[kind] = np.maximum(fits[kind], np.clip(vectors @ parts[part], 0, 1) ** 8)
    found = _C.kind_fits(*kinds, vectors)
    np.testing.assert_allclose(found, fits, atol=1e-5)
    assert _C.kind_fits(*kinds, vectors, 3).tobytes() == found.tobytes()
    shape = rng.standard_normal(d)
    shape = (shape / np.linalg.norm(shape)).astype(np.float32)
    odds = np.exp(rows @ shape / 0.05)
    np.testing.assert_allclose(
        _C.expectation(kinds.rows, shape, found), np.log(0.03 + odds / odds.sum() @ fits), atol=1e-4
    )


def test_names_and_shapes_differ_in_what_is_expected(segmenter: Segmenter) -> None:
    """So that equal presence in Python and C says something; and without kinds, or their head, there is no presence."""
    vectors = segmenter.embed_text(["seat", "leg", "wing"])
    both = [segmenter._names.expectation(segmenter.encode(cloud(kind, 900)), vectors) for kind in ("planar", "random")]
    assert all(found is not None and len(np.unique(found)) == 3 for found in both)
    assert both[0] is not None and both[1] is not None and (both[0] != both[1]).all()
    for change in ({"kinds": None}, {"shape_head": None}):
        without = Segmenter(replace(segmenter.checkpoint, **change))
        result = without.segment(sheet(300), PARTS, none=0.3)
        assert (
            result.presence is None and result.found is None and without.open(sheet(300)).heat("leg").presence is None
        )
    fit = segmenter.checkpoint.presence
    assert fit is not None
    ignoring = Segmenter(replace(segmenter.checkpoint, presence=fit._replace(weight=0.0)))
    plain = Segmenter(replace(segmenter.checkpoint, presence=fit._replace(weight=0.0), kinds=None, shape_head=None))
    encoded, logits = segmenter.encode(sheet(300)), np.float32([[1, 2, 3]]) * np.float32([[-1], [1], [2]])
    results = [model.presence(encoded, logits, vectors) for model in (ignoring, plain, segmenter)]
    assert np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])


def test_what_is_expected_counts_by_its_weight() -> None:
    logits = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    expected = np.float32([0.0, -1.0, -2.0])
    plain, more = _C.presence(logits, 0.3, 0.2), _C.presence(logits, 0.3, 0.2, 1.5, expected)
    odds = np.log(plain / (1 - plain)) + 1.5 * expected
    np.testing.assert_allclose(more, 1 / (1 + np.exp(-odds)), atol=1e-6)
    assert _C.presence(logits, 0.3, 0.2, 0.0, expected).tobytes() == plain.tobytes()


def test_kinds_with_wrong_numbers_are_refused() -> None:
    kinds, vectors = random_kinds(4, 6, 5), np.ones((1, 5), np.float32)
    for wrong in (kinds.has + 4, -kinds.has - 1):
        with pytest.raises(ValueError, match="has: an index lies outside"):
            _C.kind_fits(kinds.rows, kinds.parts, wrong, vectors)
    with pytest.raises(ValueError, match="fits: expected one row per kind"):
        _C.expectation(kinds.rows, np.ones(5, np.float32), np.ones((3, 1), np.float32))


def test_a_shape_seldom_has_what_its_kind_has_not() -> None:
    """The embedded model asks what the shape seems to be: a chair has no wings, whatever its patches resemble."""
    segmenter, names = Segmenter.from_pretrained(), ["seat", "leg", "back", "wing", "propeller", "spout", "keyboard"]
    mesh = synthesize("chair", 3)
    result = segmenter.segment(Shape(mesh.vertices, mesh.faces), names)
    assert result.presence is not None and result.found is not None
    assert result.found.tolist() == [True] * 3 + [False] * 4
    assert result.presence[:3].min() > 2 * result.presence[3:].max()


def test_presence_of_a_result(segmenter: Segmenter) -> None:
    fit = segmenter.checkpoint.presence
    assert fit is not None
    for shape in (sheet(1500), torus()):
        result = segmenter.segment(shape, PARTS)
        assert result.presence is not None and result.found is not None
        assert result.presence.shape == (3,) and result.presence.dtype == np.float32
        assert ((result.presence > 0) & (result.presence < 1)).all()
        assert np.array_equal(result.found, result.presence >= fit.threshold)


@pytest.mark.parametrize("assign", ["nearest", "membership", "smooth"])
def test_none_rests_on_presence(assign: str) -> None:
    """Labels are the same for any threads, equal the reference, and become -1 the more, the higher the threshold."""
    rng = np.random.default_rng(0)
    points = cloud("random", 3000)
    members = rng.integers(0, 3000, (60, 8))
    centers = np.ascontiguousarray(points[members[:, 0]])
    logits = (6 * rng.standard_normal((60, 4))).astype(np.float32)
    presence = np.float32([0.9, 0.1, 0.5, 0.7])
    given = (points, centers, members, points, logits, assign)
    plain, scores = label_points(*given)
    before = 0
    for none in (0.0, 0.2, 0.4, 0.8):
        labels, same_scores = label_points(*given, none, presence=presence)
        expected, _ = label_points_reference(*given, none, presence=presence)
        assert np.array_equal(same_scores, scores) and (labels != expected).mean() < 1e-3
        assert np.array_equal(labels, label_points(*given, none, 3, presence)[0])
        assert np.array_equal(labels[labels >= 0], plain[labels >= 0])
        assert before <= (labels < 0).sum()
        before = int((labels < 0).sum())
        assert none == 0 or (labels[plain == 1] == -1).all()  # whose presence is 0.1
    assert 0 < before <= 3000
    with pytest.raises(ValueError, match="presence: expected shape"):
        label_points(*given, 0.5, presence=presence[:3])


def test_one_name_alone_is_no_longer_everywhere() -> None:
    """Its score is 1 at every point; none of them, whose logit is 0, competes with it."""
    segmenter = Segmenter(replace(calibrated_checkpoint(), kinds=None, presence=PresenceFit(0.4, 0.7, 0.5)))
    points = sheet(3000)
    share = [(segmenter.segment(points, ["seat"], none=t).labels < 0).mean() for t in np.linspace(0, 1, 201)]
    assert share[0] == 0 and share[-1] == 1 and sorted(share) == share
    assert any(0 < s < 1 for s in share)


# ---- checkpoints ----


def test_a_checkpoint_keeps_it(tmp_path: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "calibrated.safetensors"
    save(path, segmenter.checkpoint)
    again = load(path)
    assert again.outliers == 3.0 and again.presence == PresenceFit(0.4, 0.7, 0.5, 0.3)
    assert again.bank is not None and again.bank.dtype == np.int8
    assert np.array_equal(again.bank, segmenter.checkpoint.bank)
    assert again.lexicon is not None and again.lexicon.meaning.dtype == np.int32
    assert all(map(np.array_equal, again.lexicon, segmenter.checkpoint.lexicon))
    assert again.kinds is not None and segmenter.checkpoint.kinds is not None
    assert all(map(np.array_equal, again.kinds, segmenter.checkpoint.kinds))
    assert again.tensors.keys() == TINY.shapes().keys()
    expected = segmenter.segment(sheet(500), PARTS)
    copies: list[Callable[[], Segmenter]] = [
        lambda: Segmenter.from_pretrained(path),
        lambda: pickle.loads(pickle.dumps(segmenter)),
    ]
    for copy in copies:
        result = copy().segment(sheet(500), PARTS)
        assert np.array_equal(result.scores, expected.scores) and np.array_equal(result.presence, expected.presence)


def test_a_checkpoint_without_it_has_the_same_bytes_as_before(tmp_path: Path) -> None:
    save(tmp_path / "plain.safetensors", random_checkpoint(TINY))
    data = (tmp_path / "plain.safetensors").read_bytes()
    assert not any(word in data[:20_000] for word in (b"outliers", b"presence", b"bank", b"lexicon", b"kinds"))
    again = load(tmp_path / "plain.safetensors")
    assert (again.outliers, again.bank, again.presence) == (0.0, None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"bank": np.zeros((3, 384), np.int8)},
            "bank is empty or has a zero row; make it again with scripts/calibrate",
        ),
        ({"bank": np.zeros((0, 384), np.int8)}, "bank is empty"),
        ({"lexicon": random_lexicon(5, 40)}, r"lexicon.rows is int8 \(5, 40\), expected int8 with rows of 384"),
        (
            {"lexicon": random_lexicon(5, 384)._replace(meaning=np.arange(1, 6, dtype=np.int32))},
            "lexicon.meaning has a number that is no row of lexicon.rows; make it again",
        ),
        ({"kinds": random_kinds(5, 5, 40)}, r"kinds.rows is int8 \(5, 40\), expected int8 with rows of 384"),
        (
            {"kinds": random_kinds(5, 5, 384)._replace(has=np.int32([[0, 5]]))},
            "kinds.has has a number that is no row of kinds.rows or kinds.parts; make it again",
        ),
        (
            {"kinds": random_kinds(5, 5, 384)._replace(has=np.int32([0, 1]))},
            r"kinds.has is int32 \(2,\), expected int32 with rows of 2",
        ),
        ({"kinds": random_kinds(5, 5, 384)._replace(has=np.int32([[-1, 0]]))}, "kinds.has has a number that is no row"),
        (
            {"kinds": random_kinds(5, 5, 384)._replace(parts=np.zeros((5, 384), np.int8))},
            "kinds.parts is empty or has a zero row",
        ),
        ({"kinds": None}, "its presence needs kinds.rows, kinds.parts, kinds.has, which are missing; make it again"),
        ({"shape_head": None}, "kinds.rows without a shape head; make one with scripts/train_shape_head.py"),
        ({"shape_head": head_with(np.float32(0.0))}, "shape_head.hidden.weight is float32"),
        ({"shape_head": head_with(np.zeros(0, np.float32))}, "shape_head.hidden.weight is float32"),
        ({"bank": np.ones((3, 40), np.int8)}, r"bank is int8 \(3, 40\), expected int8 with rows of 384"),
        ({"outliers": -1.0}, r"its metadata is damaged \(outliers -1.0\)"),
        ({"presence": (1.0, 2.0)}, "its metadata is damaged"),
        ({"presence": (1.0, 2.0, float("nan"))}, "its metadata is damaged .presence"),
    ],
)
def test_a_damaged_calibration(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save(tmp_path / "damaged.safetensors", replace(calibrated_checkpoint(), **change))
    with pytest.raises(InputError, match=message):
        load(tmp_path / "damaged.safetensors")


def test_the_embedded_model_is_calibrated() -> None:
    checkpoint = load()
    assert checkpoint.outliers > 0 and checkpoint.presence is not None and checkpoint.bank is not None
    assert checkpoint.bank.nbytes < 1_000_000 and checkpoint.bank.shape[1] == 384
    assert checkpoint.kinds is not None and checkpoint.presence.weight > 0


# ---- the script ----


@pytest.fixture
def script() -> Any:
    """Its import registers families that other tests do without."""
    from pa3d.data.procedural import CATEGORIES

    before = set(CATEGORIES)
    import calibrate_names

    for name in set(CATEGORIES) - before:
        del CATEGORIES[name]
    return calibrate_names


def test_the_script(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few families: equal calls give equal checkpoints, and all the rest of the checkpoint stays."""
    from pa3d.data.creatures import CREATURES
    from pa3d.data.procedural import CATEGORIES

    kinds = ["chair", "mug", "lamp", "table"]
    monkeypatch.setattr(script, "CATEGORIES", {kind: CATEGORIES[kind] for kind in kinds})
    monkeypatch.setattr(script, "CREATURES", {"cat": CREATURES["cat"]})
    monkeypatch.setattr(script, "ROWS", 200)
    before = replace(random_checkpoint(TINY), shape_head=calibrated_checkpoint().shape_head)
    after, area = script.calibrate(before, 1, "all")
    again, _ = script.calibrate(before, 1, "all")
    assert isinstance(after, Checkpoint) and after.tensors is before.tensors
    assert after.outliers == script.OUTLIERS and 0 <= area <= 1
    assert after.bank is not None and again.bank is not None and after.bank.shape == (200, 384)
    assert (np.abs(after.bank.astype(int)).max(axis=1) == 127).all() and np.array_equal(after.bank, again.bank)
    assert after.presence == again.presence and np.isfinite(after.presence).all()
    assert after.kinds is not None and len(after.kinds.rows) == len(categories())
    assert after.presence.weight == pytest.approx(script.WEIGHT * after.presence.slope, abs=1e-5)
    chair = [category.name for category in categories()].index("chair")
    parts = _C.kind_fits(
        *after.kinds, _C.read_through_lexicon(*after.lexicon, Segmenter(after).embed_text(["seat"]))[0]
    )
    assert parts[chair, 0] > 0.95
    plain, _ = script.calibrate(random_checkpoint(TINY), 1, "all")
    assert plain.kinds is None and plain.presence.weight == 0


def test_the_fit_recovers_a_calibration(script: Any) -> None:
    rng = np.random.default_rng(0)
    odds = 4 * rng.standard_normal(20_000)
    present = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * odds)))  # as many present as absent
    fit = script.fit_presence(odds, present, True)
    assert fit.weight == pytest.approx(script.WEIGHT * fit.slope, abs=1e-5)
    assert fit == (*script.fit_presence(odds, present, False)[:3], fit.weight)
    assert fit.slope == pytest.approx(0.5, abs=0.03) and fit.offset == pytest.approx(0, abs=0.05)
    found = 1 / (1 + np.exp(-(fit.slope * odds + fit.offset))) >= fit.threshold
    assert found[present].mean() == pytest.approx(0.95, abs=0.001)
    assert script.area_under_curve(np.array([3.0, 1, 2, 1]), np.array([True, True, False, False])) == 0.625


def test_absent_names_are_no_names_of_the_category(script: Any, segmenter: Segmenter) -> None:
    features = np.zeros((1, 384), np.float32)
    shapes = [
        script.Drawn(category, names, features)
        for category, names in (("chair", ["seat", "leg"]), ("chair", ["back"]), ("car", ["wheel", "legs"]))
    ]
    absent = script.AbsentNames(shapes, segmenter)
    assert absent.sample(shapes[0], 12, np.random.default_rng(0)) == ["wheel"]  # "legs" is close to "leg"
