"""The recipe of the judge at a tiny size: it learns from some people and is judged on videos of another."""

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.au import load_judge
from tclr.pipeline.tools.sight import run_sight
from tclr.schemas.config import SightConfig

CONFIG = SightConfig(crop_size=96, fps=0, faces_per_clip=3, samples=256, epochs=1, test_every=2)


@pytest.fixture(scope="module")
def people(tmp_path_factory, moving_portrait, write_video):
    """One video each of two people."""
    folder = tmp_path_factory.mktemp("people")
    hopper = cv2.imread(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg", cv2.IMREAD_COLOR_RGB)
    head = cv2.resize(hopper[40:440, 60:460], (240, 240), interpolation=cv2.INTER_AREA)
    write_video(folder / "eileen" / "a.mp4", moving_portrait(10))
    write_video(folder / "grace" / "a.mp4", [head] * 10)
    return folder


@pytest.mark.slow
def test_the_recipe_writes_a_judge_and_its_evidence_and_repeats(people, tmp_path, monkeypatch):
    monkeypatch.setattr("tclr.pipeline.tools.sight.run.COVERED", ("mask",))  # what it hides is known
    result = run_sight(people, tmp_path, CONFIG, workers=1)
    table = pd.read_csv(result.evidence)
    clean = table[table["pictures"].str.contains("nothing")]
    assert clean["n_clean"].tolist() == [10] * 5 and clean["n_hidden"].tolist() == [0] * 5
    covered = table[table["pictures"].str.contains("learnt")].set_index("region")
    assert covered.loc["mouth", "n_hidden"] >= 4 and covered.loc["eyes", "n_hidden"] == 0
    assert covered.loc["mouth", "n_clean"] >= 2 and covered.loc["eyes", "n_clean"] == 10
    assert (tmp_path / "covered/videos/mask/grace_a.mp4").is_file()
    seen = load_judge(result.judge).see(np.zeros((1, 64, 64, 3), np.uint8))
    again = run_sight(people, tmp_path, CONFIG, workers=1)
    np.testing.assert_array_equal(load_judge(again.judge).see(np.zeros((1, 64, 64, 3), np.uint8)), seen)
