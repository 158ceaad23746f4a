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
        ("xr_standard_squeeze_pressed_value", ("grip button", "button")),
        ("feet", ("foot", "leg")),
        ("shelves", ("shelf",)),
        ("tyres", ("tire", "wheel")),
        ("aileG", ("wing",)),
        ("RuedaIZQ_01", ("wheel",)),
        ("LeftWheelCore", ("wheel",)),
        ("armrest_low", ("armrest", "arm")),
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
