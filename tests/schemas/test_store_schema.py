from dataclasses import fields

import numpy as np
import pytest

from tclr.schemas.errors import StoreError
from tclr.schemas.store import (
    COUNT_ATTRS,
    ClipAttrs,
    RootAttrs,
    check_clip,
    check_values,
    parse_clip_attrs,
    parse_root_attrs,
    to_attributes,
)

ROOT = {field.name: "x" for field in fields(RootAttrs)} | {"format": "tclr-store", "format_version": 1}
ROOT |= {"detect_config": "{}", "align_config": "{}", "complete": True}
SHAPES = {
    "frames": (5, 32, 32, 3),
    "timestamp": (5,),
    "source_frame": (5,),
    "status": (5,),
    "track": (5,),
    "score": (5,),
    "sharpness": (5,),
    "bbox": (5, 4),
    "landmarks": (5, 478, 3),
    "transform": (5, 2, 3),
    "pose": (5, 3),
}
DTYPES = {
    "frames": "uint8",
    "timestamp": "float64",
    "source_frame": "int64",
    "status": "uint8",
    "track": "int32",
    "score": "float32",
    "sharpness": "float32",
    "bbox": "float32",
    "landmarks": "float32",
    "transform": "float64",
    "pose": "float32",
}
ATTRS = {field.name: {"str": "x", "int": 5, "float": 0.5}.get(field.type) for field in fields(ClipAttrs)}


def test_parse_root_attrs_returns_the_attributes_of_a_complete_file():
    parsed = parse_root_attrs(ROOT | {"align_config": '{"size": 96}', "unknown": 1}, "a.h5")
    assert (parsed.subject, parsed.pseudonym_key, parsed.align.size) == ("x", "x", 96)
    assert parsed.settings == {"detect": {}, "align": {"size": 96}}


def test_optional_attributes_have_defaults_and_are_written_only_if_they_differ():
    given = {
        name: value for name, value in ATTRS.items() if name not in ("tclr_version", "segment", "goes_on", "moves")
    }
    parsed = parse_clip_attrs(given, 5, "a.h5")
    assert (parsed.tclr_version, parsed.segment, parsed.goes_on, parsed.moves) == ("", "", None, None)
    assert list(to_attributes(parsed).items()) == list(given.items())
    seam = parse_clip_attrs(given | {"goes_on": False}, 5, "a.h5")
    assert to_attributes(seam)["goes_on"] is False


def test_counts_are_those_of_the_statuses():
    assert set(COUNT_ATTRS) | {"n_people", "n_frames"} == {name for name in ATTRS if name.startswith("n_")}


@pytest.mark.parametrize(("name", "value"), [("fps", "fast"), ("width", 640.5), ("n_ok", float("nan")), ("source", 7)])
def test_parse_clip_attrs_names_an_attribute_of_another_type(name, value):
    wanted = "a text" if name == "source" else "a number"
    with pytest.raises(StoreError, match=f"Expected attribute '{name}' to be {wanted}, but got .* in a.h5. Run"):
        parse_clip_attrs(ATTRS | {name: value}, 5, "a.h5")
    with pytest.raises(StoreError, match=f"Missing attribute '{name}' in a.h5. Run"):
        parse_clip_attrs({key: value for key, value in ATTRS.items() if key != name}, 5, "a.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "Expected a file of format 'tclr-store', but got 'other': a.h5"),
        ({"format_version": 3}, "format 2 or older, but got 3: a.h5. Upgrade tclr"),
        ({"complete": False}, "incomplete.*a.h5"),
    ],
)
def test_parse_root_attrs_names_what_is_wrong(change, message):
    with pytest.raises(StoreError, match=message):
        parse_root_attrs(ROOT | change, "a.h5")


def test_check_clip_accepts_the_documented_layout():
    check_clip(SHAPES, DTYPES, 5, "a.h5")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("bbox", (5, 3), r"'bbox' to have shape \(5, 4\).*got \(5, 3\)"),
        ("landmarks", (4, 478, 3), r"shape \(5, 478, 3\)"),
        ("gaze", (5,), "Unknown dataset 'gaze'"),
    ],
)
def test_check_clip_names_a_wrong_dataset(name, shape, message):
    with pytest.raises(StoreError, match=message):
        check_clip(SHAPES | {name: shape}, DTYPES | {"gaze": "uint8"}, 5, "a.h5")


def test_check_clip_misses_a_required_dataset_and_a_wrong_dtype():
    with pytest.raises(StoreError, match="Missing dataset 'status'"):
        check_clip({k: v for k, v in SHAPES.items() if k != "status"}, DTYPES, 5, "a.h5")
    with pytest.raises(StoreError, match="'pose' of dtype float32, but got float64"):
        check_clip(SHAPES, DTYPES | {"pose": "float64"}, 5, "a.h5")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("status", np.array([0, 9], np.uint8)),
        ("timestamp", np.array([0.0, 0.1, 0.05])),
        ("source_frame", np.array([3, 3])),
        ("au", np.array([[0, 1], [2, 0]], np.int8)),
        ("score", np.array([0.5, 1.5], np.float32)),
    ],
)
def test_check_values_finds_a_value_outside_the_format(name, values):
    with pytest.raises(StoreError, match=f"of '{name}'"):
        check_values(name, values, "a.h5")
