"""docs/analysis.py on features whose events, pairs and groups are known."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docs/analysis.py"
ONSETS = {"patient": (10, 40, 70), "control": (40,)}
MISSING = 95


def columns_of_person(onsets):
    """100 frames at 25/s: AU12 and AU06 together for 10 frames from each onset, AU01 never; no face from 95 on."""
    present = np.zeros(100, bool)
    for onset in onsets:
        present[onset : onset + 10] = True
    face = np.arange(100) < MISSING
    probability = np.where(face, np.where(present, 0.9, 0.1), np.nan)
    values = dict.fromkeys(["AU06", "AU12"], probability) | {"AU01": np.where(face, 0.1, np.nan)}
    values |= {f"{au}_c": pd.array(np.where(face, x > 0.6, np.nan), "Int8") for au, x in values.items()}
    values |= {"frame": np.arange(100), "timestamp": np.arange(100) / 25, "track": np.where(face, 0, None)}
    values |= {"status": np.where(face, "ok", "no_face"), "score": np.where(face, 0.9, np.nan)}
    return values | {"face_px": np.full(100, 200.0), "yaw": np.zeros(100)}


@pytest.fixture(scope="module")
def results(tmp_path_factory, write_features) -> Path:
    """What the script writes about four patients and four controls."""
    root = tmp_path_factory.mktemp("analysis")
    group = {f"S{i}": "patient" if i < 4 else "control" for i in range(8)}
    for subject, name in group.items():
        thresholds = dict.fromkeys(["AU01", "AU06", "AU12"], 0.6)
        write_features(root / "features", subject, "c", columns_of_person(ONSETS[name]), thresholds)
    pd.Series(group, name="group").rename_axis("subject").to_csv(root / "groups.csv")
    places = {"TCLR_FEATURES": root / "features", "TCLR_GROUPS": root / "groups.csv", "TCLR_OUT": root / "out"}
    environment = os.environ | {name: str(path) for name, path in places.items()} | {"MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, SCRIPT], env=environment, check=True)
    return root / "out"


def test_script_finds_the_events(results):
    events = pd.read_csv(results / "events.csv")
    found = events.groupby(["subject", "au"])["onset_frame"].agg(tuple).to_dict()
    planted = {f"S{i}": ONSETS["patient" if i < 4 else "control"] for i in range(8)}
    assert found == {(subject, au): onsets for subject, onsets in planted.items() for au in ("AU06", "AU12")}
    np.testing.assert_allclose(events["duration_s"], 0.4)
    subjects = pd.read_csv(results / "subjects.csv").set_index(["subject", "au"])
    assert subjects.loc[("S0", "AU12"), "share_active"] == pytest.approx(30 / MISSING)
    assert subjects.loc[("S0", "AU01"), "n_events"] == 0


def test_script_finds_what_comes_together(results):
    pairs = pd.read_csv(results / "cooccurrence.csv").set_index(["given", "au"])
    assert pairs.loc[("AU06_c", "AU12_c"), "phi"] == pytest.approx(1)
    assert pairs.loc[("AU12_c", "AU01_c"), "conditional"] == 0
    assert {path.name for path in results.glob("*.png")} == {"cooccurrence.png", "timeline.png"}


def test_script_finds_the_difference_between_groups(results):
    groups = pd.read_csv(results / "groups.csv", index_col=0)
    assert groups.loc["AU12", "difference"] == pytest.approx(20 / MISSING)
    assert groups.loc["AU12", "p"] == pytest.approx(2 / 70)  # four against four can be split in 70 ways
    assert groups.loc["AU12", "p_holm"] == pytest.approx(4 / 70) and np.isnan(groups.loc["AU01", "p"])
