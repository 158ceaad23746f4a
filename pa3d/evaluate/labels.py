"""The label sets of the public datasets: part names by category, in the order of their ids."""

from __future__ import annotations

import re

# Ids are numbered across the categories: Airplane 0-3, Bag 4-5, ... Table 47-49.
SHAPENETPART: dict[str, tuple[str, ...]] = {
    "Airplane": ("body", "wing", "tail", "engine or frame"),
    "Bag": ("handle", "body"),
    "Cap": ("crown", "brim"),
    "Car": ("roof", "hood", "wheel", "body"),
    "Chair": ("back", "seat", "leg", "arm"),
    "Earphone": ("earcup", "headband", "data wire"),
    "Guitar": ("headstock", "neck", "body"),
    "Knife": ("blade", "handle"),
    "Lamp": ("base", "lampshade", "fixing bracket", "pole"),
    "Laptop": ("keyboard", "screen"),
    "Motorbike": ("gas tank", "seat", "wheel", "handles or handlebars", "headlight", "engine or frame"),
    "Mug": ("handle", "cup"),
    "Pistol": ("barrel", "handle or grip", "trigger and guard"),
    "Rocket": ("body", "fin", "nose"),
    "Skateboard": ("wheel", "deck", "belt for foot"),
    "Table": ("desktop", "leg or support", "drawer"),
}

FAUST = ("arm", "head", "leg", "torso")

PARTNETE: dict[str, tuple[str, ...]] = {
    "Bottle": ("lid",),
    "Box": ("lid",),
    "Bucket": ("handle",),
    "Camera": ("button", "lens"),
    "Cart": ("wheel",),
    "Chair": ("arm", "back", "leg", "seat", "wheel"),
    "Clock": ("hand",),
    "CoffeeMachine": ("button", "container", "knob", "lid"),
    "Dishwasher": ("door", "handle"),
    "Dispenser": ("head", "lid"),
    "Display": ("base", "screen", "support"),
    "Door": ("frame", "door", "handle"),
    "Eyeglasses": ("body", "leg"),
    "Faucet": ("spout", "switch"),
    "FoldingChair": ("seat",),
    "Globe": ("sphere",),
    "Kettle": ("lid", "handle", "spout"),
    "Keyboard": ("cord", "key"),
    "KitchenPot": ("lid", "handle"),
    "Knife": ("blade",),
    "Lamp": ("base", "body", "bulb", "shade"),
    "Laptop": ("keyboard", "screen", "shaft", "touchpad", "camera"),
    "Lighter": ("lid", "wheel", "button"),
    "Microwave": ("display", "door", "handle", "button"),
    "Mouse": ("button", "cord", "wheel"),
    "Oven": ("door", "knob"),
    "Pen": ("cap", "button"),
    "Phone": ("lid", "button"),
    "Pliers": ("leg",),
    "Printer": ("button",),
    "Refrigerator": ("door", "handle"),
    "Remote": ("button",),
    "Safe": ("door", "switch", "button"),
    "Scissors": ("blade", "handle", "screw"),
    "Stapler": ("body", "lid"),
    "StorageFurniture": ("door", "drawer", "handle"),
    "Suitcase": ("handle", "wheel"),
    "Switch": ("switch",),
    "Table": ("door", "drawer", "leg", "tabletop", "wheel", "handle"),
    "Toaster": ("button", "slider"),
    "Toilet": ("lid", "seat", "button"),
    "TrashCan": ("footpedal", "lid", "door"),
    "USB": ("cap", "rotation"),
    "WashingMachine": ("door", "button"),
    "Window": ("window",),
}

# Without the background, whose id is 0: these parts have the ids 1, 2, ... Category ids follow this order.
SCANOBJECTNN: dict[str, tuple[str, ...]] = {
    "bag": ("bag body", "handle", "shoulder strap"),
    "bin": ("container", "outside frame", "cover"),
    "box": ("container", "containing things", "bottom", "cover"),
    "cabinet": ("countertop", "shelf", "frame", "drawer", "base", "door"),
    "chair": ("back", "arm", "base", "seat"),
    "desk": ("desktop", "base", "drawer"),
    "display": ("screen", "base"),
    "door": ("outside frame", "door"),
    "shelf": ("frame", "surface", "thing"),
    "table": ("tabletop", "base"),
    "bed": ("sleep area", "frame"),
    "pillow": ("pillow",),
    "sink": ("bowl", "faucet", "drain"),
    "sofa": ("back", "arm", "base", "seat"),
    "toilet": ("tank", "bowl", "cover", "seat", "base"),
}
# From ids in the files to the ids above. In two categories one id of the files is not used.
SCANOBJECTNN_IDS: dict[str, tuple[int, ...]] = {"bin": (0, 1, 2, -1, 3), "chair": (0, -1, 1, 2, 3, 4)}


def first_id(category: str) -> int:
    """The id of a ShapeNetPart category's first part."""
    names = list(SHAPENETPART)
    return sum(len(SHAPENETPART[name]) for name in names[: names.index(category)])


def category_words(category: str) -> str:
    """The category in plain words, as prompts use it: "StorageFurniture" -> "storage furniture"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", category).replace("_", " ").lower()
