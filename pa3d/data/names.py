"""From the names that modelling programs write to the words people say.

Rules, in this order:

1. An exporter's wrapping goes: ``sweethome3d_``, ``xr_standard_``, ``.001``, ``_Cube.001``, ``_low``,
   ``_end``, ids.
2. The rest is split at ``_ - . : |`` and spaces, at ``camelCase`` humps and digits. Glued words
   (``cabinetdoor``) are split when known words cover them completely. ``A_A_material`` (object, mesh,
   material) is read as ``A``, and ``head_of_pancreas`` as ``pancreas_head``.
3. Side markers (``L``, ``right``, ``fr``), numbers, colours, materials, primitives and exporters' words
   are dropped.
4. Words in other languages, misspellings and synonyms are replaced. Plurals become singular when the
   singular is known.
5. The last known part noun is the name, with a place (``front``, ``upper``) or a noun that makes a usual pair
   (``door``) directly before it: ``door_handle.002`` is ("door handle", "handle"), ``wheel-back-left``
   ("back wheel", "wheel"). Coarser names follow from a table (hand: arm). Without a known noun there is no
   name: ``Cube.001``, ``Material`` and ``Oak`` give ``()``.

Names that stand for whole objects (chair, book) are parts only of something else, so callers say the
category. The words are in tables beside this module: ``name_parts.tsv`` (nouns for parts and their coarser
names), ``name_aliases.tsv``, ``name_words.tsv``, ``name_pairs.tsv`` and ``joint_names.tsv``. A row with a
source applies to that corpus alone: "axe" means an axle in flightgear only, so callers also say the corpus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pa3d.data.tables import applies, read_table


@dataclass(frozen=True)
class Vocabulary:
    """The words that hold for one corpus."""

    coarser: Mapping[str, tuple[str, ...]]  # noun of a part -> names that hold for every point of it, finer first
    kinds: Mapping[str, frozenset[str]]  # kind of word -> words, as in name_words.tsv
    aliases: Mapping[str, str]  # word -> words in its place

    @cached_property
    def nouns(self) -> frozenset[str]:
        """Nouns of one word."""
        return frozenset(name for name in self.coarser if " " not in name)

    @cached_property
    def things(self) -> frozenset[str]:
        """All words that a plural may be reduced to: parts, objects, whole shapes."""
        return self.nouns | self.kinds["object"] | self.kinds["whole"]

    @cached_property
    def words(self) -> frozenset[str]:
        """All words that a glued word may be made of."""
        short = (*self.kinds["noise"], *self.aliases, *(word for name in self.coarser for word in name.split()))
        return self.things | self.kinds["place"] | {word for word in short if len(word) > 2} | {"left", "right"}


@lru_cache(maxsize=64)
def vocabulary(corpus: str = "") -> Vocabulary:
    """The words of a corpus, named as in ``source_paths.tsv``; without a name those that hold everywhere."""
    parts = read_table("name_parts.tsv", "name", "coarser", "source")
    words = read_table("name_words.tsv", "word", "kind", "source")
    aliases = read_table("name_aliases.tsv", "word", "replacement", "source")
    kinds = {kind: frozenset(w for w, k, s in words if k == kind and applies(s, corpus)) for _, kind, _ in words}
    return Vocabulary(
        {name: tuple(filter(None, names.split("|"))) for name, names, s in parts if applies(s, corpus)},
        kinds,
        {word: replacement for word, replacement, s in aliases if applies(s, corpus)},
    )


COARSER: Mapping[str, tuple[str, ...]] = vocabulary().coarser
# Parts of living bodies, whose coarser names hold only there: a clock's hand is no arm.
BODY_PARTS: frozenset[str] = vocabulary().kinds["body"]
# First and last word of pairs that people say. Other nouns before the last one are dropped.
PAIRS = {first: frozenset(last.split("|")) for first, last in read_table("name_pairs.tsv", "first", "last")}
# The first pattern that matches a joint's words counts.
JOINTS = tuple(
    (pattern, tuple(filter(None, n.split("|")))) for pattern, n in read_table("joint_names.tsv", "pattern", "names")
)

# Whole things by other words: a bar chair's "stool" says no more than "chair".
_SAME_THING = tuple(
    frozenset(same.split())
    for same in ("chair armchair stool bench", "lamp chandelier lantern light", "tv television monitor",
                 "fridge refrigerator", "toy doll")
)  # fmt: skip
# Words that mean a part only of some things: a plant's "shade" is a colour, and a scene's "root" is its first node.
_ONLY_OF = {
    "shade": re.compile("lamp|light|lantern|chandelier|window"),
    "root": re.compile("plant|tree|flower|mushroom|cactus|maize|grass|bush|carrot|vegetable|tooth|teeth|hair"),
}
# What Blender appends to an object's name: its mesh's name, then the material.
_PRIMITIVE = re.compile(
    r"(?<=[A-Za-z0-9])_(Cube|Plane|Cylinder|Circle|Sphere|Torus|Cone|Icosphere|Mesh|BezierCurve|BezierCircle|NurbsPath|Curve"
    r"|Text|Grid|Suzanne)([._]\d+)?(_.*)?$"
)
_RELATIONS = {"beneath", "under", "above", "behind", "below", "near", "beside"}


def is_body(finest: set[str]) -> bool:
    """Whether parts with these finest names make a person or an animal."""
    return len(finest & BODY_PARTS) >= 2 and bool(finest & vocabulary().kinds["alive"])


def clean_words(raw: str, corpus: str = "") -> list[str]:
    """The words of a raw name, lower case, after rules 1 to 4: ``LowerArm.L`` gives ["lower", "arm"].

    corpus: where the name comes from; words of that corpus then count too.
    """
    vocab = vocabulary(corpus)
    text = _PRIMITIVE.sub("", raw)
    text = re.sub(
        r"sweethome3d_(window_(?=mirror))?|opening_on_(hinge|rail)_\d+|on_(hinge|rail)_\d+|hinge_\d+(?=_)",
        " ",
        text,
        flags=re.I,
    )
    text = re.sub(r"xr_?standard|\.(jpe?g|png|tga|bmp)\b|_end\b", " ", text, flags=re.I)
    text = re.sub(r"poly_?surface", " ", text, flags=re.I)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " ", text)
    tokens = [t.lower() for t in re.split(r"[^A-Za-z]+", text) if t]
    tokens = _rejoined(_owner_first(_first_of_repeated(tokens)), vocab)
    words: list[str] = []
    for token in tokens:
        for word in _unglue(token, corpus):
            if word in _RELATIONS and words:
                return words
            if word in vocab.kinds["side"] or word in vocab.kinds["noise"]:
                continue
            for replaced in vocab.aliases.get(word, _singular(word, vocab)).split():
                if not words or words[-1] != replaced:
                    words.append(replaced)
    return words


@lru_cache(maxsize=65536)
def part_names(raw: str, category: str = "", corpus: str = "") -> tuple[str, ...]:
    """Names of the part that a raw node, group or material name means, finest first; () when it means none.

    ``LowerArm.L`` gives ("lower arm", "arm"), ``Cube.001`` and ``Wood`` give (). A name that only repeats
    the category (a group "chair" of a chair) gives (); another whole object ("book" in a shelf) gives its
    own name. corpus: where the name comes from (``pa3d.data.sources.origin``); words of that corpus then count too.
    """
    vocab = vocabulary(corpus)
    places = vocab.kinds["place"]
    words = clean_words(raw, corpus)
    nouns = [i for i, word in enumerate(words) if word in vocab.nouns and _fits(word, category)]
    for size in (3, 2):
        for start in range(len(words) - size + 1):
            if " ".join(words[start : start + size]) in vocab.coarser:
                nouns.append(start + size - 1)
    if not nouns:
        own = _own_words(category)
        things = [word for word in words if word in vocab.kinds["object"] and word not in own]
        return (things[-1],) if things else ()
    last = max(nouns)
    # "handle bottom" means a place on a handle, "leg front" a front leg: places after the noun go before it.
    if words[last] in places and any(i < last for i in nouns):
        last, place = max(i for i in nouns if i < last), words[last]
        words = [*words[:last], place, words[last]]
        last += 1
    start = last
    while start > 0 and last - start < 2 and _belongs(words, start, last, vocab):
        start -= 1
        if words[start] in places:
            break
    if words[last] in vocab.kinds["itself"] and words[last] in _own_words(category):
        return ()
    names: list[str] = []
    for begin in range(start, last + 1):
        name = " ".join(words[begin : last + 1])
        for other in (name.replace("rear ", "back "), *vocab.coarser.get(name, ())):
            if other not in names:
                names.append(other)
        if name in vocab.kinds["compound"]:
            break
    return tuple(names)


def joint_words(raw: str) -> str:
    """A joint's name in lower case without side and number: ``FrontUpLeg.R`` gives "front up leg"."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", re.sub(r"^.*[:|]", "", raw))
    words = [w.lower() for w in re.split(r"[^A-Za-z]+", text) if w]
    words = [w for w in words if w not in ("l", "r", "left", "right", "end", "def", "bip", "mixamorig")]
    text = " ".join(words)
    for joined in ("upper", "lower", "up", "low", "fore"):
        text = re.sub(rf"\b{joined}(arm|leg)\b", rf"{joined} \1", text)
    return text


def joint_side(raw: str) -> int:
    """+1 for a joint of the left side, -1 for the right, 0 for neither."""
    words = re.split(r"[^A-Za-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw))
    lower = [w.lower() for w in words if w]
    if "left" in lower or "l" in lower:
        return 1
    return -1 if "right" in lower or "r" in lower else 0


def joint_names(raw: str) -> tuple[str, ...]:
    """Names of the part that a joint moves, finest first; () for poles, controls and unknown bones.

    ``LowerArm.L`` gives ("forearm", "lower arm", "arm"), ``Tail3`` ("tail",), ``IKFrontLeg.R`` ("front
    leg", "leg").
    """
    words = joint_words(raw)
    for pattern, names in JOINTS:
        if re.search(pattern, words):
            return names
    return ()


@lru_cache(maxsize=4096)
def _own_words(category: str) -> frozenset[str]:
    """Words for a category: its own, those that end one of them (armchair: chair), and words for the same thing."""
    own = set(clean_words(category))
    own |= {thing for thing in vocabulary().kinds["object"] for word in own if word.endswith(thing)}
    return frozenset(own.union(*(words for words in _SAME_THING if words & own)))


def _fits(word: str, category: str) -> bool:
    return word not in _ONLY_OF or not category or bool(_ONLY_OF[word].search(category))


def _belongs(words: list[str], start: int, last: int, vocab: Vocabulary) -> bool:
    """Whether the word before the name belongs to it: a place, or the beginning of a usual pair."""
    word = words[start - 1]
    if " ".join(words[start - 1 : last + 1]) in vocab.coarser or words[start] in PAIRS.get(word, ()):
        return True
    places = vocab.kinds["place"]
    return word in places and words[last] not in places and word != "main"


def _rejoined(tokens: list[str], vocab: Vocabulary) -> list[str]:
    """Words that a hump cut in two: touch pad, head light."""
    joined: list[str] = []
    for token in tokens:
        pair = joined[-1] + token if joined else ""
        if pair and len(token) > 2 and (pair in vocab.aliases or _singular(pair, vocab) in vocab.nouns):
            joined[-1] = pair
        else:
            joined.append(token)
    return joined


def _owner_first(tokens: list[str]) -> list[str]:
    """Words in the order of "pancreas head" where the name says "head of pancreas"."""
    if "of" not in tokens[1:-1]:
        return tokens
    middle = tokens.index("of", 1)
    return [*tokens[middle + 1 :], *tokens[:middle]]


def _first_of_repeated(tokens: list[str]) -> list[str]:
    for size in range(len(tokens) // 2, 0, -1):
        if tokens[:size] == tokens[size : 2 * size]:
            return tokens[:size]
    return tokens


def _singular(word: str, vocab: Vocabulary) -> str:
    """The singular of a word when that is a known word, else the word itself."""
    if word in vocab.things:
        return word
    for ending, replacement in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
        if word.endswith(ending) and word[: -len(ending)] + replacement in vocab.things:
            return word[: -len(ending)] + replacement
    return word


@lru_cache(maxsize=65536)
def _unglue(token: str, corpus: str) -> tuple[str, ...]:
    """Known words that cover the token completely, the fewest; the token itself when there are none."""
    vocab = vocabulary(corpus)
    if token in vocab.words or token in vocab.kinds["side"] or _singular(token, vocab) != token:
        return (token,)
    for bare in (re.sub(r"^[lr]h?", "", token), re.sub(r"[lr]h?$", "", token)):
        if len(bare) > 2 and bare != token and (bare in vocab.nouns or bare in vocab.aliases):
            return (bare,)
    best: list[tuple[str, ...] | None] = [()] + [None] * len(token)
    for end in range(3, len(token) + 1):
        for start in range(end - 2):
            head, word = best[start], token[start:end]
            if head is not None and (word in vocab.words or _singular(word, vocab) in vocab.nouns):
                shortest = best[end]
                if shortest is None or len(head) + 1 < len(shortest):
                    best[end] = (*head, word)
    return best[-1] or (token,)
