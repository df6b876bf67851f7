"""A long video of a face upside down: its segments are turned alike, and its features are those of an upright face."""

import numpy as np
import pandas as pd

from tclr.pipeline.export import embed
from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.store import Store
from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig, PreprocessConfig
from tclr.schemas.store import TABLE_CHUNK

CONFIG = PreprocessConfig(DetectConfig(segment_s=TABLE_CHUNK / 25), AlignConfig(size=32))


def test_segments_are_turned_alike_and_features_are_those_of_an_upright_face(tmp_path, moving_portrait, write_video):
    images = [np.ascontiguousarray(image[::-1, ::-1]) for image in moving_portrait(TABLE_CHUNK + 144)]
    write_video(tmp_path / "in" / "anna" / "talk.mp4", images, options={"movflags": "faststart"})
    result = preprocess(tmp_path / "in", tmp_path / "store", CONFIG, workers=1)
    assert [warning.reason.split(":")[0] for warning in result.warnings] == ["the faces are upside down"]
    with Store(tmp_path / "store") as store:
        (info,) = store.clips
        assert (info.attrs.rotation, info.attrs.n_ok) == (180, len(images))
        landmarks = store.read(info, "landmarks")
    assert (landmarks[:, 152, 1] < landmarks[:, 10, 1]).all()  # chin above forehead, in the picture as shown
    embed(tmp_path / "store", tmp_path / "features", None, EmbedConfig(embedding="none"), au_model="shape")
    table = pd.read_parquet(tmp_path / "features")
    assert table[["pitch", "yaw", "roll"]].abs().max().max() < 0.5 and (table["turned"] == 0).all()
