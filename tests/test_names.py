"""Names that programs write, and the words they should give."""

from __future__ import annotations

import pytest

from pa3d.data.names import (
    BODY_PARTS,
    COARSER,
    clean_words,
    is_body,
    joint_names,
    joint_side,
    joint_words,
    part_names,
)
from pa3d.data.tables import read_table


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("LowerArm.L", ("lower arm", "arm")),
        ("UpperArm_R", ("upper arm", "arm")),
        ("wheel-back-left", ("back wheel", "wheel")),
        ("front_legs", ("front leg", "leg")),
        ("leg_front", ("front leg", "leg")),
        ("table_legs", ("table leg", "leg")),
        ("seatcushion", ("seat cushion", "cushion")),
        ("door_handle.002", ("door handle", "handle")),
        ("sweethome3d_opening_on_hinge_1_handle", ("handle",)),
        ("sweethome3d_window_mirror", ("mirror",)),
        ("sedan02_door_fr_sedan02_door_fr_paint_lt_blue", ("door",)),
        ("headlights_headlights_turn_signals", ("headlight", "light")),
        ("license_plate.001", ("license plate",)),
        ("top_Cube.007_white_wood_butcherblock_tile", ("top",)),
        ("towel_beneath_window_Plane.013", ("towel",)),
        ("cabinetdoor", ("cabinet door", "door")),
        ("TouchPad_geo", ("touchpad",)),
        ("x_button", ("button",)),
        ("feet", ("foot", "leg")),
        ("shelves", ("shelf",)),
        ("tyres", ("tire", "wheel")),
        ("armrest_low", ("armrest", "arm")),
        ("divider.001", ("divider",)),
        ("rim", ("rim",)),
        ("wheel_rim", ("wheel rim", "rim", "wheel")),
        ("lfemur_upper.002", ("femur", "bone")),
        ("VH_M_hepatic_flexure_of_colon", ("colon", "intestine")),
        ("VH_F_fundus_of_uterus", ("fundus",)),
        ("leg_of_table", ("table leg", "leg")),
    ],
)
def test_part_names(raw: str, expected: tuple[str, ...]) -> None:
    assert part_names(raw) == expected


@pytest.mark.parametrize(
    "raw",
    ["", "Cube.001", "Material.003", "Wood", "white-metal", "blackplastic", "default", "01", "Object_12", "L",
     "polySurface33", "zet3058sh", "glass", "sofa", "polished_chrome"],
)  # fmt: skip
def test_colours_substances_and_primitives_are_no_parts(raw: str) -> None:
    assert part_names(raw) == ()


@pytest.mark.parametrize(
    ("raw", "corpus", "there", "elsewhere"),
    [
        ("axe", "flightgear", ("axle",), ("axe",)),
        ("escape", "flightgear", ("exhaust", "exhaust pipe"), ()),
        ("pale1", "flightgear", ("propeller blade", "propeller", "blade"), ()),
        ("cannon", "flightgear", ("gun", "weapon"), ("cannon", "weapon")),
        ("aileG", "flightgear", ("wing",), ()),
        ("LeftWheelCore", "flightgear", ("wheel",), ("wheel",)),
        ("RuedaIZQ_01", "flightgear", ("wheel",), ()),
        ("ruedas-negras", "sweethome3d", ("wheel",), ()),
        ("Poignee", "sweethome3d", ("handle",), ()),
        ("plateau", "sweethome3d", ("tabletop", "top"), ()),
        ("BodyController_geo", "webxr-input-profiles", ("body",), ("body",)),
        ("controller", "webxr-input-profiles", ("body",), ()),
        ("xr_standard_squeeze_pressed_value", "webxr-input-profiles", ("grip button", "button"), ()),
        ("US-Home-Dishwasher_18", "webxr-input-profiles", ("home button", "button"), ("dishwasher",)),
    ],
)
def test_words_of_one_corpus_hold_for_that_corpus_alone(
    raw: str, corpus: str, there: tuple[str, ...], elsewhere: tuple[str, ...]
) -> None:
    assert part_names(raw, corpus=corpus) == there
    assert part_names(raw) == part_names(raw, corpus="another") == elsewhere


def test_every_corpus_of_the_tables_is_a_known_source() -> None:
    known = {source for _, source, _ in read_table("source_paths.tsv", "pattern", "source", "license")} | {"*"}
    for name, columns in (
        ("name_aliases.tsv", ("word", "replacement", "source")),
        ("name_words.tsv", ("word", "kind", "source")),
        ("name_parts.tsv", ("name", "coarser", "source")),
        ("source_categories.tsv", ("pattern", "category", "source")),
    ):
        rows = read_table(name, *columns)
        assert {source for row in rows for source in row[-1].split(",")} <= known, name
        assert len({row[:2] for row in rows}) == len(rows), name


def test_a_table_of_another_form_raises() -> None:
    with pytest.raises(ValueError, match=r"name_parts\.tsv: expected the columns"):
        read_table("name_parts.tsv", "name")


def test_a_root_is_a_part_of_plants_only() -> None:
    assert part_names("RootNode", "banana plant") == ("root",)
    assert part_names("RootNode", "robot") == ()


def test_an_object_is_a_part_only_of_something_else() -> None:
    assert part_names("lamp.001", "desk set") == ("lamp",)
    assert part_names("lamp.001", "hanging lamp") == ()


def test_shade_is_a_part_of_lamps_only() -> None:
    assert part_names("shade", "table lamp") == ("shade",)
    assert part_names("shade", "plant") == ()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("LowerArm.L", ("forearm", "lower arm", "arm")),
        ("upperarm.r", ("upper arm", "arm")),
        ("mixamorig:LeftForeArm", ("forearm", "lower arm", "arm")),
        ("FrontUpperLeg.R", ("front leg", "leg")),
        ("FrontUpLeg.R", ("front leg", "leg")),
        ("IKFrontLeg.R", ("front leg", "leg")),
        ("FF.R", ("front foot", "foot", "front leg", "leg")),
        ("FFB.L", ("back foot", "foot", "back leg", "leg")),
        ("MidBackLeg2.L", ("leg",)),
        ("Middle2.L", ("finger", "hand", "arm")),
        ("Thumb3.R", ("thumb", "finger", "hand", "arm")),
        ("Tail3", ("tail",)),
        ("Torso2", ("torso", "body")),
        ("Hips", ("hips", "torso", "body")),
        ("Shoulder.L", ("shoulder", "torso", "body")),
        ("Foot.R", ("foot", "leg")),
        ("Head_end", ("head",)),
        ("BottomFlipper.L", ("flipper", "fin")),
        ("PoleTarget.L", ()),
        ("kneeIK.l", ()),
        ("PT.R", ()),
        ("Bone.001", ()),
    ],
)
def test_joint_names(raw: str, expected: tuple[str, ...]) -> None:
    assert joint_names(raw) == expected


@pytest.mark.parametrize(
    ("raw", "side"), [("Foot.L", 1), ("LeftFoot", 1), ("hand.r", -1), ("RightArm", -1), ("Lever", 0)]
)
def test_joint_side(raw: str, side: int) -> None:
    assert joint_side(raw) == side


def test_words() -> None:
    assert clean_words("Front_DoorHandle.003") == ["front", "door", "handle"]
    assert joint_words("FrontUpLeg.R") == "front up leg"


def test_table_is_closed_and_free_of_loops() -> None:
    for name, coarser in COARSER.items():
        assert name not in coarser
        for other in coarser:
            assert name not in COARSER.get(other, ()), (name, other)


def test_body_parts_need_a_body() -> None:
    assert is_body({"head", "hair", "shoe"})
    assert not is_body({"nose", "wing", "fuselage"})
    assert not is_body({"hand", "dial"})
    assert {"hand", "nose"} <= BODY_PARTS
