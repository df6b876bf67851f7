"""A few rounds of the fault campaign, and that it would notice a loss. ``make faults`` runs all of it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")


@pytest.fixture
def campaign():
    spec = importlib.util.spec_from_file_location("campaign", CAMPAIGN)
    module = importlib.util.module_from_spec(spec)
    sys.modules["campaign"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["campaign"]


@pytest.mark.slow
def test_killed_client_killed_scheduler_and_damaged_parts_lose_nothing():
    command = [
        sys.executable,
        str(CAMPAIGN),
        "--rounds",
        "1",
        "--faults",
        "client,scheduler,part",
        "--await-files",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    assert [(row["fault"], row["rounds"], row["survived"], row["equal"]) for row in rows] == [
        ("client", 1, 1, 1), ("scheduler", 1, 1, 1), ("part", 1, 1, 1),
    ], done.stderr  # fmt: skip
    assert done.returncode == 0 and not any(row["notes"] for row in rows)


def test_killing_a_command_that_has_ended_is_no_error(campaign):
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.wait()
    campaign.kill_with_children(process)
    assert process.returncode == 0


def test_a_client_is_killed_only_when_it_has_written_a_file(campaign, tmp_path):
    code = "import pathlib, time; time.sleep(0.3); p = pathlib.Path('parts/a'); p.mkdir(parents=True); "
    code += "(p / 'b.h5').touch(); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    preprocess = campaign.Campaign.__new__(campaign.Campaign)
    campaign.await_files(preprocess, process, tmp_path, 1)
    assert process.poll() is None and (tmp_path / "parts/a/b.h5").exists()
    campaign.kill_with_children(process)
    assert process.returncode == -9


@pytest.mark.parametrize("name", ["landmarks", "status"])
def test_campaign_notices_a_changed_array_and_a_lost_one(campaign, tmp_path, name):
    subjects = tmp_path / "store" / "subjects"
    subjects.mkdir(parents=True)
    with h5py.File(subjects / "a.h5", "w") as file:
        file["clips/one/landmarks"], file["clips/one/status"] = np.arange(6.0), np.zeros(6, np.uint8)
    before = campaign.arrays(tmp_path / "store")
    assert set(before) == {"a/clips/one/landmarks", "a/clips/one/status"}
    with h5py.File(subjects / "a.h5", "r+") as file:
        file[f"clips/one/{name}"][3] += 1
    assert campaign.arrays(tmp_path / "store") != before

    class Sound(campaign.Campaign):
        reference = before

        def __init__(self):
            pass

        def inspect(self, store):
            return 0, ""

    row = campaign.Row("client", "")
    Sound().judge(row, tmp_path / "store", 0, "")
    assert (row.rounds, row.survived, row.equal) == (1, 1, 0)


def test_campaign_notices_a_changed_features_file_a_lost_one_and_one_left_over(campaign, tmp_path):
    folder = tmp_path / "subject=a"
    folder.mkdir()
    (folder / "one.parquet").write_bytes(b"1")
    embed = campaign.EmbedCampaign.__new__(campaign.EmbedCampaign)
    before = embed.contents(tmp_path)
    assert embed.written(tmp_path) == [folder / "one.parquet"]
    for change in (
        lambda: (tmp_path / ".encoder-1.safetensors").touch(),
        lambda: (folder / "one.parquet").write_bytes(b"2"),
        lambda: (folder / "one.parquet").unlink(),
    ):
        change()
        changed = embed.contents(tmp_path)
        assert changed != before
        before = changed
