"""From the names that modelling programs write to the words people say.

Rules, in this order:

1. An exporter's wrapping goes: ``sweethome3d_``, ``xr_standard_``, ``.001``, ``_Cube.001``, ``_low``,
   ``_end``, ids.
2. The rest is split at ``_ - . : |`` and spaces, at ``camelCase`` humps and digits; glued words
   (``cabinetdoor``) are split when known words cover them completely. ``A_A_material`` (object, mesh,
   material) is read as ``A``.
3. Side markers (``L``, ``right``, ``fr``), numbers, colours, substances, primitives and exporters' words
   are dropped.
4. Words in other languages, misspellings and synonyms are replaced, plurals become singular when the
   singular is known.
5. The last known part noun is the name, with a place (``front``, ``upper``) or a noun that makes a usual pair
   (``door``) directly before it: ``door_handle.002`` is ("door handle", "handle"), ``wheel-back-left``
   ("back wheel", "wheel"). Coarser names follow from a table (hand: arm). Without a known noun there is no
   name: ``Cube.001``, ``Material`` and ``Oak`` give ``()``.

Names that stand for whole objects (chair, book) are parts only of something else, so callers say the
category.
"""

from __future__ import annotations

import re
from functools import lru_cache


def _words(text: str) -> list[str]:
    return text.split()


# noun: what it also is, in order of coarseness. Names after the colon hold for every point of the part.
_PART_TABLE = """
head; face: head; hair: head; skull: head; forehead: head; chin: head; cheek: head; neck; ear: head
eye: head; eyebrow: head; eyelash: eye, head; eyeball: eye, head; iris: eye, head; pupil: eye, head
cornea: eye, head; nose: head; mouth: head; lip: mouth, head; teeth: mouth, head; tongue: mouth, head
jaw: head; beard: head; mustache: head; muzzle: head; snout: head; beak: head; horn: head
antler: horn, head; crest; mane; whisker; torso: body; abdomen: torso, body; belly: torso, body
hip: torso, body; waist: torso, body; pelvis: torso, body; thorax: torso, body; spine: torso, body; hump
shell; arm; shoulder: arm; upper arm: arm; forearm: lower arm, arm; elbow: arm; wrist: arm; hand: arm
fist: hand, arm; finger: hand, arm; thumb: finger, hand, arm; claw; fingernail: finger, hand, arm; pincer
leg; thigh: upper leg, leg; upper leg: leg; knee: leg; lower leg: leg; shin: lower leg, leg
calf: lower leg, leg; ankle: leg; foot: leg; toe: foot, leg; heel: foot, leg; toenail: toe, foot, leg
hoof: foot, leg; paw: foot, leg; tail; wing; fin; flipper: fin; feather; stinger; tentacle; antenna; gill
tusk; trunk; shirt: clothes; sleeve: clothes; collar; pants: clothes; shorts: clothes; skirt: clothes
dress: clothes; jacket: clothes; coat: clothes; suit: clothes; tie: clothes; belt; buckle; strap; glove
shoe; boot: shoe; sock; sole; lace; cape; hat; hood; helmet; visor; crown; brim; glasses; mask
backpack: bag; scarf; apron; badge; weapon; sword: weapon; gun: weapon; shield; blade; scabbard
trigger; magazine; stock; body; base; frame; structure; chassis; case; casing; cover; lid
cap; top; bottom; back; front; side; panel; bracket; support; stand; foot pad; column; post; pole; rod; bar
rail; railing; stem; shaft; axis: axle; axle; tube; pipe; hose; joint; hinge; spring; screw; bolt; nut
clip; hook; chain; rope; string; cable; wire: cable; cord: cable; plug; socket; connector; contact; pin
hole; slot; opening; vent; grill; grille; filter; fan; motor; engine; pump; tank; gas tank: tank; handle
knob: handle; grip: handle; lever; pedal; button; switch; key; keyboard; keypad; dial; slider
display: screen; screen; touchpad; thumbstick: joystick; joystick; grip button: button; menu button: button
home button: button; bumper; tip; speaker; microphone; camera; lens; sensor; light
lamp shade: lampshade; lampshade: shade; shade; bulb: light bulb; light bulb; candle; flame; wick
reflector; flash; led; seat; backrest: back; armrest: arm; headrest; footrest; cushion
seat cushion: cushion; back cushion: cushion; pillow; mattress; blanket; bedspread: blanket; sheet
headboard; footboard; bed frame: frame; canopy; curtain; tabletop: top; desktop: top; counter: countertop
countertop; worktop: countertop; surface; shelf; drawer; door; cabinet door: door; door frame: frame
window frame: frame; window; pane: window pane; window pane; mirror; sill; threshold; shutter; blind
louver; lock; latch; keyhole; doorknob: handle; door handle: handle; letterbox; roof; wall; floor; ceiling
ladder; step; stair: step; stringer; baluster; handrail: railing; chimney; gutter; fence; gate; arch; beam
plinth: base; pedestal: base; cornice; molding; baseboard; brick; plank; slat; board; tray; rack
basket; box; container; bowl; basin: sink; sink; faucet: tap; tap; spout; nozzle; shower head; drain
overflow; flush tank: tank; toilet seat: seat; toilet lid: lid; bathtub; burner; cooktop; oven
oven door: door; fridge door: door; hotplate: burner; range hood: hood; chopping board; plate; cup; saucer
bottle; cork; label; jar; pot; soil; leaves: foliage; foliage; branch; twig: foliage
stalk: stem; flower; petal; root; fruit; bark; bush; grass; thorn; wheel; tire: wheel; rim: wheel
hub: wheel; spoke: wheel; mudguard: fender; fender; mudflap; trunk lid
windshield: window; rear window: window; car door: door; headlight: light; taillight: light
turn signal: light; brake light: light; license plate; exhaust: exhaust pipe; exhaust pipe; radiator
steering wheel; dashboard; side mirror: mirror; rear mirror: mirror; fork; handlebar; saddle: seat
kickstand; crank; gear; cabin; cockpit; undercarriage; underside: bottom; spoiler
fuselage: body; hull: body; nose cone; rudder; elevator; aileron; flap; stabilizer: tail
horizontal stabilizer: stabilizer, tail; vertical stabilizer: stabilizer, tail; winglet; propeller
propeller blade: propeller; spinner; rotor; landing gear; strut; pylon; nacelle: engine; cowling
air intake; intake: air intake; canard; turret; barrel; fairing; mast; sail; boom; keel; deck; float
balloon; page; dial plate; clock face; clock hand; pendulum; bell; number
bridge; bow; drum; pick; fretboard; net; goal; ball; ring; hoop; backboard; peg
emitter; strip; ribbon; trim; border; edge; corner; ornament; logo; picture
picture frame: frame; canvas; paper; towel; soap; sponge; rug; carpet; fringe; cloth; tablecloth; napkin
food; bread; cake; cheese; meat; fries; sauce; water; liquid; fire; log; stove; hanger
handgrip: handle; interior; tray table; piston; jack
fixture; star; snowman; wheel hub: hub, wheel
"""

# Nouns for whole things that can be parts of something larger, when that is something else.
_OBJECTS = """
chair stool bench lamp chandelier lantern tv television monitor computer laptop phone printer radio clock
watch plant cactus book vase statue toy doll bear fridge refrigerator washer dishwasher microwave toaster
kettle toilet bath fireplace guitar violin umbrella barrow trailer pilot player rock spoon scissors pen
pencil mug pan bin bucket suitcase handbag bag briefcase extinguisher heater aquarium
"""

# Nouns that name the whole shape, or its main piece, whatever it is a part of.
_WHOLES = """
armchair sofa couch table desk bed wardrobe cupboard cabinet closet bookcase dresser nightstand tree car
truck van bike bicycle motorbike motorcycle plane airplane boat ship person man woman boy girl child dog
horse piano house building garage robot helicopter vanity unit ottoman sedan
"""

_PLACES = _words("front back rear upper lower top bottom side inner outer middle center main")
_SIDES = set(_words("l r left right lh rh fl fr rl rr lf rf lt rt port stbd starboard izq der del tras"))

_NOISE = set(
    _words(
        """cube sphere cylinder plane circle torus cone icosphere mesh object obj group geo geom geometry
        shape node polygon poly curve bezier beziercurve beziercircle nurbspath line rect disk disc surf
        surfcurve text untitled default none null material mat mtl texture textured tex image jpg png
        normal normalmap map shadeless low high lod hi lores hires model part parts piece element
        component components root scene rootnode xr standard pressed touched value min max xaxis yaxis
        axisx axisy nonhanded generic ready armature rig bone ctrl control pole target ik fk end tmp copy
        instance a b c d e f g h i j k m n o p q s t u v w x y z id nr no num new old first second third
        one two three color colour colors red green blue yellow orange purple pink brown black white grey
        gray beige silver gold golden dark lt dk bright clear transparent semitrans glossy gloss matte
        matt shiny polished polish polis reflective rough smooth metal metallic metall metals steel chrome
        chromed iron aluminum aluminium alu brass copper bronze inox stainless wood wooden oak pine cherry
        walnut mahogany ash beech plywood plastic plastics rubber vinyl glass crystal ceramic porcelain
        marble granite concrete stone leather fabric textile cotton wool velvet rattan wicker cardboard
        paint painted painting exterior gsg tech solid flat round square long short big small large little
        thin thick on of the and with for in rl sh colormap untextured opaque alpha lambert phong blinn
        standardmat vcol uv type typea typeg typeb tile tileable"""
    )
)

_ALIASES = {
    "tyre": "tire", "tyres": "tire", "tires": "tire", "wheelcore": "wheel", "wheels": "wheel",
    "fuslage": "fuselage", "fuselaje": "fuselage", "ala": "wing", "alas": "wing", "aile": "wing",
    "ailes": "wing", "roue": "wheel", "roues": "wheel", "rueda": "wheel", "ruedas": "wheel",
    "helice": "propeller", "prop": "propeller", "propeler": "propeller", "aleron": "aileron",
    "volet": "flap", "volets": "flap", "timon": "rudder", "profondeur": "elevator", "elevador": "elevator",
    "stab": "stabilizer", "vstab": "vertical stabilizer", "hstab": "horizontal stabilizer",
    "verriere": "canopy", "vitre": "window", "vitres": "window", "porte": "door", "portes": "door",
    "puerta": "door", "moteur": "engine", "moteurs": "engine", "capot": "cowling", "cowl": "cowling",
    "antenne": "antenna", "antennes": "antenna", "antenas": "antenna", "antena": "antenna",
    "undercarriage": "landing gear", "cola": "tail", "empennage": "tail", "tren": "landing gear",
    "matress": "mattress", "pillows": "pillow", "blanquet": "blanket", "coverlet": "bedspread",
    "colcha": "bedspread", "sobrecolchon": "bedspread", "cadira": "seat", "zitting": "seat", "sit": "seat",
    "asiento": "seat", "assise": "seat", "leuning": "backrest", "dossier": "backrest",
    "respaldo": "backrest", "seatback": "backrest", "poten": "leg", "potes": "leg", "achterpoten": "back leg",
    "voorpoten": "front leg", "pied": "leg", "pieds": "leg", "pata": "leg", "patas": "leg",
    "plateau": "tabletop", "socle": "base", "zocalo": "base", "tapa": "lid", "cosins": "cushion",
    "cosin": "cushion", "coixi": "cushion", "cojin": "cushion", "cojines": "cushion", "marco": "frame",
    "cajon": "drawer", "cajones": "drawer", "tirador": "handle", "tiradores": "handle", "manija": "handle",
    "pomo": "handle", "poignee": "handle", "estante": "shelf", "forno": "oven", "gonds": "hinge",
    "gond": "hinge", "bae": "", "tumpstick": "thumbstick", "thumpstick": "thumbstick",
    "thumbsticks": "thumbstick", "trackpad": "touchpad", "squeeze": "grip button", "grab": "grip button",
    "sting": "stinger", "hooves": "hoof", "hoofs": "hoof", "leaf": "leaves", "leave": "leaves",
    "feet": "foot", "tooth": "teeth", "fingers": "finger", "eyeglasses": "glasses", "sunglasses": "glasses",
    "specs": "glasses", "trousers": "pants", "jeans": "pants", "tshirt": "shirt", "hairmesh": "hair",
    "shoes": "shoe", "lashes": "eyelash", "eyelashes": "eyelash", "windscreen": "windshield",
    "windshild": "windshield", "windows": "window", "panes": "pane", "windowpane": "window pane",
    "windowframe": "window frame", "doorframe": "door frame", "bonnet": "hood", "mirrors": "mirror",
    "miror": "mirror", "indicator": "turn signal", "indicators": "turn signal", "worktops": "worktop",
    "armrests": "armrest", "backseat": "back seat", "basecushion": "seat cushion",
    "seatcushion": "seat cushion", "backcushion": "back cushion", "hrad": "headboard", "stiks": "stick",
    "showerhead": "shower head", "flowerpot": "pot", "ground": "soil", "earth": "soil", "dirt": "soil",
    "erde": "soil", "crown0": "crown", "tread": "", "stair": "step", "stairs": "step", "steps": "step",
    "staircase": "step", "cuttelry": "", "upleg": "upper leg", "lowleg": "lower leg", "midleg": "leg",
    "footback": "foot", "knobs": "knob", "screws": "screw", "keys": "key", "hands": "hand",
    "displays": "display", "lcd": "screen", "brakelight": "brake light", "gastank": "gas tank",
    "platform": "deck", "bedhead": "headboard", "horns": "horn", "antlers": "antler", "eyebrows": "eyebrow",
    "mouthpiece": "", "cab": "cabin", "bordure": "border", "pedals": "pedal", "pages": "page",
    "shelves": "shelf", "watchhands": "clock hand", "pushbutton": "button", "jambe": "strut",
    "nosewheel": "nose wheel", "tailwheel": "tail wheel", "burners": "burner", "handles": "handle",
    "controller": "body", "menu": "menu button", "home": "home button", "direction": "rudder",
    "derive": "vertical stabilizer", "roulette": "wheel", "trous": "", "pale": "propeller blade",
    "echappe": "exhaust", "echappes": "exhaust", "echappement": "exhaust", "barre": "bar",
    "inlet": "air intake", "eng": "engine", "fuse": "fuselage", "suport": "support", "estab": "stabilizer",
    "flaperon": "flap", "elevon": "elevator", "beacon": "light", "luz": "light", "luces": "light",
    "lampe": "light", "tubos": "pipe", "cannon": "gun", "carenage": "fairing", "prplr": "propeller",
    "axe": "axle", "escape": "exhaust", "tubosescape": "exhaust pipe", "glases": "glasses",
    "teclado": "keyboard", "teclas": "key", "soporte": "support", "silla": "chair",
    "coj": "cushion", "letto": "bed", "cama": "bed", "mesa": "table", "armario": "wardrobe", "couch": "sofa",
}  # fmt: skip

# Names of two words whose meaning their last word alone does not give.
_WHOLE = {
    "turn signal", "gas tank", "steering wheel", "shower head", "landing gear", "license plate", "air intake",
    "light bulb", "exhaust pipe", "nose cone", "clock face", "clock hand", "trunk lid", "chopping board",
    "grip button", "dial plate", "fire wood", "screw head",
}  # fmt: skip


# Parts of larger things that are the whole of their own category: an oven's "oven" is all of it.
_NOT_OF_ITSELF = set(_words("oven plug fan rack elevator stove"))
# Whole things by other words: a bar chair's "stool" says no more than "chair".
_SAME_THING = tuple(
    set(_words(same))
    for same in ("chair armchair stool bench", "lamp chandelier lantern light", "tv television monitor",
                 "fridge refrigerator", "toy doll")
)  # fmt: skip

# Words that mean a part only of some things (a plant's "shade" is a colour).
_ONLY_OF = {"shade": re.compile("lamp|light|lantern|chandelier|window")}

# First and last word of pairs that people say; other nouns before the last one are dropped.
_PAIRS = {
    first: set(last.split())
    for first, last in {
        "door": "handle frame hinge lock window panel step", "drawer": "handle front lock knob",
        "cabinet": "door handle", "oven": "door handle knob rack", "window": "frame pane sill handle",
        "mirror": "frame", "bed": "frame post", "seat": "cushion belt frame post", "chair": "leg back seat",
        "table": "leg top", "lever": "handle", "faucet": "handle head", "wheel": "rim hub cover",
        "nose": "wheel gear strut", "tail": "wheel pipe strut", "gear": "door strut",
        "wing": "tip strut flap", "engine": "cover", "propeller": "blade hub", "fan": "blade",
        "camera": "lens", "cockpit": "floor panel", "cabin": "door", "water": "tank",
        "towel": "bar rack hook", "light": "switch", "burner": "rack", "cable": "cover", "arm": "cushion",
        "head": "cushion", "foot": "plate", "key": "cover", "switch": "cover", "plug": "hole",
        "pot": "handle", "cup": "handle", "speaker": "grill", "drain": "cover", "flash": "light",
        "canopy": "frame", "windshield": "frame", "screw": "head", "dial": "plate",
    }.items()
}  # fmt: skip


def _parse_table() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for entry in re.split(r"[;\n]", _PART_TABLE):
        name, _, coarser = entry.partition(":")
        if name.strip():
            table[name.strip()] = tuple(c.strip() for c in coarser.split(",") if c.strip())
    return table


COARSER: dict[str, tuple[str, ...]] = _parse_table()

# Parts of living bodies, whose coarser names hold only there: a clock's hand is no arm.
BODY_PARTS: frozenset[str] = frozenset(
    _words(
        """head face hair skull forehead chin cheek neck ear eye eyebrow eyelash eyeball iris pupil cornea
        nose mouth lip teeth tongue jaw beard mustache muzzle snout beak horn antler torso abdomen belly
        hip waist pelvis thorax spine shoulder elbow wrist hand fist finger thumb fingernail thigh knee
        shin calf ankle toe heel toenail hoof paw"""
    )
)
_ALIVE = {
    "hair",
    "eye",
    "ear",
    "torso",
    "mouth",
    "eyebrow",
    "forearm",
    "iris",
    "beard",
    "hand",
    "thigh",
    "finger",
    "beak",
}


def is_body(finest: set[str]) -> bool:
    """Whether parts with these finest names make a person or an animal."""
    return len(finest & BODY_PARTS) >= 2 and bool(finest & _ALIVE)


OBJECTS: frozenset[str] = frozenset(_OBJECTS.split())
_KNOWN_WHOLES = frozenset(_WHOLES.split())
_SINGLE = {name for name in COARSER if " " not in name}
_WORDS = (
    _SINGLE | OBJECTS | _KNOWN_WHOLES | set(_PLACES) | {w for w in (*_NOISE, *_ALIASES) if len(w) > 2}
    | {word for name in COARSER for word in name.split() if len(word) > 2} | {"left", "right"}
)  # fmt: skip


# What Blender appends to an object's name: its mesh's name, then the material.
_PRIMITIVE = re.compile(
    r"(?<=[A-Za-z0-9])_(Cube|Plane|Cylinder|Circle|Sphere|Torus|Cone|Icosphere|Mesh|BezierCurve|BezierCircle|NurbsPath|Curve"
    r"|Text|Grid|Suzanne)([._]\d+)?(_.*)?$"
)
_RELATIONS = {"beneath", "under", "above", "behind", "below", "near", "beside"}


def clean_words(raw: str) -> list[str]:
    """The words of a raw name, lower case, after rules 1 to 4: ``LowerArm.L`` gives ["lower", "arm"]."""
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
    tokens = _rejoined(_first_of_repeated(tokens))
    words: list[str] = []
    for token in tokens:
        for word in _unglue(token):
            if word in _RELATIONS and words:
                return words
            if word in _SIDES or word in _NOISE:
                continue
            for replaced in _ALIASES.get(word, _singular(word)).split():
                if not words or words[-1] != replaced:
                    words.append(replaced)
    return words


@lru_cache(maxsize=65536)
def part_names(raw: str, category: str = "") -> tuple[str, ...]:
    """Names of the part that a raw node, group or material name means, finest first; () when it means none.

    ``LowerArm.L`` gives ("lower arm", "arm"), ``Cube.001`` and ``Wood`` give (). A name that only repeats
    the category (a group "chair" of a chair) gives (); another whole object ("book" in a shelf) gives its
    own name.
    """
    words = clean_words(raw)
    nouns = [i for i, word in enumerate(words) if word in _SINGLE and _fits(word, category)]
    for size in (3, 2):
        for start in range(len(words) - size + 1):
            if " ".join(words[start : start + size]) in COARSER:
                nouns.append(start + size - 1)
    if not nouns:
        own = _own_words(category)
        things = [word for word in words if word in OBJECTS and word not in own]
        return (things[-1],) if things else ()
    last = max(nouns)
    # "handle bottom" means a place on a handle, "leg front" a front leg: places after the noun go before it.
    if words[last] in _PLACES and any(i < last for i in nouns):
        last, place = max(i for i in nouns if i < last), words[last]
        words = [*words[:last], place, words[last]]
        last += 1
    start = last
    while start > 0 and last - start < 2 and _belongs(words, start, last):
        start -= 1
        if words[start] in _PLACES:
            break
    if words[last] in _NOT_OF_ITSELF and words[last] in _own_words(category):
        return ()
    names: list[str] = []
    for begin in range(start, last + 1):
        name = " ".join(words[begin : last + 1])
        for known in (name.replace("rear ", "back "), *COARSER.get(name, ())):
            if known not in names:
                names.append(known)
        if name in _WHOLE:
            break
    return tuple(names)


_JOINTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"^bone$|pole|\bpt\b|target|ctrl|control|knee ik|elbow ik|handslot|heel ik|hand ik|ik toe|ik hand", ()),
    (r"\bffb\b|back foot", ("back foot", "foot", "back leg", "leg")),
    (r"\bff\b|front foot", ("front foot", "foot", "front leg", "leg")),
    (r"(front|back) .*(foot)", ("foot", "leg")),
    (r"\bmid .*leg|top leg|bottom leg", ("leg",)),
    (r"front (shoulder|upper leg|up leg|low leg|lower leg|leg)|front hip", ("front leg", "leg")),
    (r"back (shoulder|hip|upper leg|up leg|low leg|lower leg|leg)", ("back leg", "leg")),
    (r"upper leg|thigh|up leg", ("upper leg", "thigh", "leg")),
    (r"lower leg|shin|calf", ("lower leg", "shin", "leg")),
    (r"toe|foot|ankle|ball", ("foot", "leg")),
    (r"leg", ("leg",)),
    (r"thumb", ("thumb", "finger", "hand", "arm")),
    (r"index|pinky|ring|middle|finger", ("finger", "hand", "arm")),
    (r"hand|palm|fist|wrist", ("hand", "arm")),
    (r"lower arm|fore arm|forearm|elbow", ("forearm", "lower arm", "arm")),
    (r"upper arm|up arm", ("upper arm", "arm")),
    (r"shoulder|clavicle|collar", ("shoulder", "torso", "body")),
    (r"arm\b", ("arm",)),
    (r"eyebrow", ("eyebrow", "head")),
    (r"eye", ("eye", "head")),
    (r"ear\b", ("ear", "head")),
    (r"tongue", ("tongue", "mouth", "head")),
    (r"lower mouth|jaw", ("jaw", "mouth", "head")),
    (r"mouth", ("mouth", "head")),
    (r"neck", ("neck",)),
    (r"head|face", ("head",)),
    (r"tail", ("tail",)),
    (r"wing", ("wing",)),
    (r"flipper", ("flipper", "fin")),
    (r"fin\b", ("fin",)),
    (r"sting", ("stinger",)),
    (r"horn|antler", ("horn", "head")),
    (r"gun|weapon|sword", ("weapon",)),
    (r"chest", ("chest", "torso", "body")),
    (r"abdomen|belly", ("abdomen", "torso", "body")),
    (r"hips|pelvis", ("hips", "torso", "body")),
    (r"thorax", ("thorax", "torso", "body")),
    (r"torso|spine|back|body|root", ("torso", "body")),
)


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
    for pattern, names in _JOINTS:
        if re.search(pattern, words):
            return names
    return ()


@lru_cache(maxsize=4096)
def _own_words(category: str) -> frozenset[str]:
    """Words for a category: its own, those that end one of them (armchair: chair), and words for the same thing."""
    own = set(clean_words(category))
    own |= {thing for thing in OBJECTS for word in own if word.endswith(thing)}
    return frozenset(own.union(*(words for words in _SAME_THING if words & own)))


def _fits(word: str, category: str) -> bool:
    return word not in _ONLY_OF or not category or bool(_ONLY_OF[word].search(category))


def _belongs(words: list[str], start: int, last: int) -> bool:
    """Whether the word before the name belongs to it: a place, or the beginning of a usual pair."""
    word = words[start - 1]
    if " ".join(words[start - 1 : last + 1]) in COARSER or words[start] in _PAIRS.get(word, ()):
        return True
    return word in _PLACES and words[last] not in _PLACES and word != "main"


def _rejoined(tokens: list[str]) -> list[str]:
    """Words that a hump cut in two: touch pad, head light."""
    joined: list[str] = []
    for token in tokens:
        pair = joined[-1] + token if joined else ""
        if pair and len(token) > 2 and (pair in _SINGLE or pair in _ALIASES or _singular(pair) in _SINGLE):
            joined[-1] = pair
        else:
            joined.append(token)
    return joined


def _first_of_repeated(tokens: list[str]) -> list[str]:
    for size in range(len(tokens) // 2, 0, -1):
        if tokens[:size] == tokens[size : 2 * size]:
            return tokens[:size]
    return tokens


def _singular(word: str) -> str:
    known = _SINGLE | OBJECTS | _KNOWN_WHOLES
    if word in known:
        return word
    for ending, replacement in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
        if word.endswith(ending) and word[: -len(ending)] + replacement in known:
            return word[: -len(ending)] + replacement
    return word


@lru_cache(maxsize=65536)
def _unglue(token: str) -> tuple[str, ...]:
    """Known words that cover the token completely, the fewest; the token itself when there are none."""
    if token in _WORDS or token in _SIDES or _singular(token) != token:
        return (token,)
    for bare in (re.sub(r"^[lr]h?", "", token), re.sub(r"[lr]h?$", "", token)):
        if len(bare) > 2 and bare != token and (bare in _SINGLE or bare in _ALIASES):
            return (bare,)
    best: list[tuple[str, ...] | None] = [()] + [None] * len(token)
    for end in range(3, len(token) + 1):
        for start in range(end - 2):
            head, word = best[start], token[start:end]
            if head is not None and (word in _WORDS or _singular(word) in _SINGLE):
                shortest = best[end]
                if shortest is None or len(head) + 1 < len(shortest):
                    best[end] = (*head, word)
    return best[-1] or (token,)
