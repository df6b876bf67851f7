"""Shares of frames with hidden regions and poor light, and what is said of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tclr.pipeline.features import DIM, FeatureClips, measure_sight, sight_warnings
from tclr.pipeline.system import write_table
from tclr.schemas.action_units import AU_NAMES, AUS_OF_REGION, REGIONS
from tclr.schemas.features import FORMAT, FORMAT_VERSION, KEYS, features_schema, sight_columns, visible_columns


@pytest.fixture
def features(tmp_path):
    """Two clips of ten frames, the last without a face: a mouth is hidden in three of one, the other is dark in all."""
    schema = features_schema([], [], 2, blendshapes=False, sight=True, embedding="none")
    schema = pa.schema([field for field in schema if field.name in {*KEYS, *sight_columns()}])
    for clip, hidden, contrast in (("a", 3, 0.1), ("b", 0, 0.01)):
        values = {name: [0.9] * 9 + [None] for name in visible_columns()}
        values["visible_mouth"] = [0.2] * hidden + [0.9] * (9 - hidden) + [None]
        values |= {"clip": [clip] * 10, "frame": range(10), "timestamp": np.arange(10) / 25}
        values |= {"n_hidden": [1] * hidden + [0] * (9 - hidden) + [None]}
        values |= {"brightness": [0.5] * 9 + [None], "contrast": [contrast] * 9 + [None]}
        path = tmp_path / "subject=anna" / f"{clip}.parquet"
        path.parent.mkdir(exist_ok=True)
        table = pa.table([pa.array(values[field.name]).cast(field.type) for field in schema], schema=schema)
        write_table(path, table, {"format": FORMAT, "format_version": FORMAT_VERSION})
    return FeatureClips(tmp_path)


def test_shares_are_of_the_frames_with_a_face(features):
    table = measure_sight(features).set_index("clip")
    assert table["n_faces"].tolist() == [9, 9]
    assert table.loc["a", "mouth"] == pytest.approx(3 / 9) and table.loc["b", DIM] == 1
    others = table[[*REGIONS, DIM]].to_numpy().sum() - 3 / 9 - 1
    assert others == pytest.approx(0)


def test_warnings_name_region_clip_and_aus(features):
    mouth, dim = sight_warnings(measure_sight(features))
    assert mouth.startswith("Hidden mouth in 17% of frames, most in anna/a (33%): AU10, AU11, ... AU28 cannot be seen")
    assert dim.startswith("Too little light or contrast in 50% of frames, most in anna/b (100%)")


def test_nothing_is_said_of_clean_clips_or_of_features_without_such_columns(write_features, tmp_path):
    clean = pd.DataFrame([["anna", "a", 100, *[0.0] * 6]], columns=["subject", "clip", "n_faces", *REGIONS, DIM])
    assert sight_warnings(clean) == []
    write_features(tmp_path, "anna", "a", {"frame": [0, 1]}, {"AU01": 0.5})
    table = measure_sight(FeatureClips(tmp_path))
    assert not len(table) and sight_warnings(table) == []


def test_every_au_needs_a_region():
    assert set().union(*AUS_OF_REGION.values()) == set(AU_NAMES)
    assert set(AUS_OF_REGION) == set(REGIONS)
