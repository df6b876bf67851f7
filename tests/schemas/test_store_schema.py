import numpy as np
import pytest

from tclr.schemas.errors import StoreError
from tclr.schemas.store import CLIP_ATTRS, ROOT_ATTRS, check_clip, check_root, check_values

ROOT = dict.fromkeys(ROOT_ATTRS, "x") | {"format": "tclr-store", "format_version": 1, "complete": True}
ROOT |= {"detect_config": "{}", "align_config": "{}"}
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
ATTRS = dict.fromkeys(CLIP_ATTRS, "") | {"n_frames": 5}


def test_check_root_accepts_a_complete_file():
    check_root(ROOT, "a.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "Expected a file of format 'tclr-store', but got 'other': a.h5"),
        ({"format_version": 3}, "format 2 or older, but got 3: a.h5. Upgrade tclr"),
        ({"complete": False}, "incomplete.*a.h5"),
    ],
)
def test_check_root_names_what_is_wrong(change, message):
    with pytest.raises(StoreError, match=message):
        check_root(ROOT | change, "a.h5")


def test_check_clip_accepts_the_documented_layout():
    check_clip(SHAPES, DTYPES, ATTRS, "a.h5")


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
        check_clip(SHAPES | {name: shape}, DTYPES | {"gaze": "uint8"}, ATTRS, "a.h5")


def test_check_clip_misses_a_required_dataset_and_a_wrong_dtype():
    with pytest.raises(StoreError, match="Missing dataset 'status'"):
        check_clip({k: v for k, v in SHAPES.items() if k != "status"}, DTYPES, ATTRS, "a.h5")
    with pytest.raises(StoreError, match="'pose' of dtype float32, but got float64"):
        check_clip(SHAPES, DTYPES | {"pose": "float64"}, ATTRS, "a.h5")


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
