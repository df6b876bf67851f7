import pyarrow as pa
import pytest

from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.features import blendshape_columns, embedding_columns, eye_columns, features_schema


def test_features_schema_has_the_columns_of_format_1_in_order():
    schema = features_schema(["AU01", "AU12"], ["AU12"], 2, blendshapes=False)
    text, single, flag = pa.dictionary(pa.int32(), pa.string()), pa.float32(), pa.int8()
    assert list(zip(schema.names, schema.types, strict=True)) == [
        ("dataset", text),
        ("clip", text),
        ("frame", pa.int64()),
        ("timestamp", pa.float64()),
        ("status", text),
        ("score", single),
        ("sharpness", single),
        ("face_px", single),
        ("track", pa.int32()),
        ("pitch", single),
        ("yaw", single),
        ("roll", single),
        ("turned", flag),
        *((name, single) for name in ("confidence", *eye_columns(), "head_x", "head_y", "head_z")),
        ("AU01", single),
        ("AU12", single),
        ("AU01_c", flag),
        ("AU12_c", flag),
        ("AU12_true", flag),
        ("emb_000", single),
        ("emb_001", single),
    ]


def test_features_schema_adds_the_blendshapes_last():
    plain = features_schema(["AU01"], [], 3, blendshapes=False)
    wide = features_schema(["AU01"], [], 3, blendshapes=True)
    assert wide.names == plain.names + [f"bs_{name}" for name in BLENDSHAPE_NAMES]
    assert blendshape_columns()[0] == "bs__neutral"


def test_features_schema_describes_every_column():
    for field in features_schema(["AU01"], ["AU02"], 2, blendshapes=True):
        assert field.metadata[b"description"]
        assert b"units" in field.metadata


@pytest.mark.parametrize(
    ("dim", "first", "last"),
    [
        (2, "emb_000", "emb_001"),
        (256, "emb_000", "emb_255"),
        (1000, "emb_000", "emb_999"),
        (1001, "emb_0000", "emb_1000"),
    ],
)
def test_embedding_columns_have_the_digits_of_the_last_one(dim, first, last):
    columns = embedding_columns(dim)
    assert (columns[0], columns[-1], len(set(columns))) == (first, last, dim)
    assert columns == sorted(columns)


def test_blendshape_names_are_52_and_come_in_pairs():
    assert len(set(BLENDSHAPE_NAMES)) == 52 and BLENDSHAPE_NAMES[0] == "_neutral"
    left = {name.removesuffix("Left") for name in BLENDSHAPE_NAMES if name.endswith("Left")}
    right = {name.removesuffix("Right") for name in BLENDSHAPE_NAMES if name.endswith("Right")}
    assert left == right
