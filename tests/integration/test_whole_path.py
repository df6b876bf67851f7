"""The whole path at a tiny size, through the command line, on clips made here; and the same on the shared data."""

import contextlib
import json
import os
import pty
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from tclr.pipeline.sources import DATASETS
from tclr.pipeline.system import read_metadata
from tclr.schemas.action_units import BP4D_AUS, au_column

SMALL_RUN = ["--epochs", "1", "--image-size", "32", "--batch-size", "4", "--anchors-per-clip", "2"]
SMALL_RUN += ["--n-following", "3", "--embedding-dim", "16"]
STRACE = ["strace", "-f", "-qq", "-e", "trace=connect,sendto"]


def tclr(*args, check=True, under=(), **options):
    command = [*map(str, under), sys.executable, "-m", "tclr.cli.main", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, **options)
    assert "Traceback" not in result.stderr, result.stderr
    if check:
        assert result.returncode == 0, result.stderr
    return result


def take_requests(server, requests):
    """Note the first line of what comes to a proxy, and hang up."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5)
            requests.append(connection.recv(200).split(b"\r\n")[0].decode())


def tclr_on_a_terminal(*args, status=0):
    """Run tclr with a terminal as standard error; return what came on standard output, and what the terminal got."""
    command = [sys.executable, "-m", "tclr.cli.main", *map(str, args)]
    reader, writer = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env=environment) as process:
        os.close(writer)
        with contextlib.suppress(OSError):  # how a terminal ends that nobody holds any more
            while chunk := os.read(reader, 65536):
                shown += chunk
        out = process.stdout.read()
    os.close(reader)
    assert process.returncode == status, shown
    return out, shown.decode()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Folder, and options of ``tclr`` for processes under umask 077 whose sockets reach loopback only.

    ``refused.log`` has what else Python wanted to reach, ``requests`` what was asked of a proxy in place of Google.
    """
    root, requests = tmp_path_factory.mktemp("work"), []
    (root / "refused.log").touch()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=take_requests, args=(proxy, requests), daemon=True).start()
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parent / "loopback_only"),
            "GUARD_LOG": str(root / "refused.log"),
            "GUARD_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}",
        }
        yield root, {"env": environment, "umask": 0o077}, requests
        proxy.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def work(guarded) -> Path:
    """Clips, store, run, head, features and report of the smallest demo."""
    root, options, _ = guarded
    traced = shutil.which("strace") and subprocess.run([*STRACE, "true"], capture_output=True).returncode == 0
    under = [*STRACE, "-o", root / "strace.log"] if traced else []
    store, features = root / "store", root / "features"
    tclr("synth", root / "clips", "--subjects", 2, "--tasks", 1, "--frames", 40, **options)
    tclr("preprocess", root / "clips", store, "--size", 64, "--workers", 2, under=under, **options)
    tclr("pretrain", store, root / "run", *SMALL_RUN, **options)
    tclr("fit-au", store, "--encoder", root / "run", "-o", root / "au.safetensors", **options)
    tclr("embed", store, features, "--encoder", root / "run", "--au-model", root / "au.safetensors", **options)
    tclr("report", store, "-o", root / "r.html", "--features", features, "--run", root / "run", **options)
    return root


def test_python_code_tries_to_reach_nothing_but_loopback(work, guarded):
    assert (work / "refused.log").read_text() == ""
    reach = "import socket\nfor call in (socket.socket().connect, socket.getaddrinfo):\n"
    reach += "    try: call(*(('192.0.2.1', 80),) if call is not socket.getaddrinfo else ('example.org', 80))\n"
    reach += "    except OSError: pass\n"
    log = work / "tried.log"
    subprocess.run([sys.executable, "-c", reach], env=guarded[1]["env"] | {"GUARD_LOG": str(log)}, check=True)
    assert log.read_text().splitlines() == ["connect ('192.0.2.1', 80)", "getaddrinfo example.org"]  # the guard works


def test_nothing_reports_to_anybody_unless_mediapipes_graph_is_chosen(work, guarded):
    root, options, requests = guarded
    assert requests == []
    tclr("preprocess", root / "clips", root / "graph", "--detector", "mediapipe", "--workers", 1, **options)
    assert set(requests) == {"CONNECT play.googleapis.com:443 HTTP/1.1"}  # it goes where it is diverted to


def test_native_code_tries_to_reach_nothing_but_loopback(work):
    if not (work / "strace.log").exists():
        pytest.skip("needs strace, and leave to use it")
    calls = (work / "strace.log").read_text()
    addresses = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', calls)
    assert {four or six for four, six in addresses} == {"127.0.0.1"}


def test_what_is_written_under_umask_077_is_its_owners_alone(work):
    made = [work / name for name in ("clips", "store", "run", "au.safetensors", "features", "r.html")]
    paths = [path for folder in made for path in (folder, *folder.rglob("*"))]
    assert {"manifest.parquet", "checkpoint.pt", "encoder.safetensors", "distance.png"} <= {p.name for p in paths}
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_clips_become_labelled_rows_with_predictions_and_embeddings(work):
    df = pd.read_parquet(work / "features")
    assert len(df) == 80 and set(df["subject"]) == {path.name for path in (work / "clips/2D+3D").iterdir()}
    assert (df["dataset"] == "bp4d").all() and (df["status"] == "ok").all()
    for number in BP4D_AUS:
        name = au_column(number)
        assert df[f"{name}_true"].dtype == "Int8" and df[f"{name}_true"].notna().all()
    predicted = [name for name in df.columns if name.startswith("AU") and name[2:].isdigit()]
    assert "AU12" in predicted and df[predicted].notna().all(axis=None)
    embedding = df[[f"emb_{i:03d}" for i in range(16)]].to_numpy()
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-4)


def test_features_become_csv_in_the_columns_of_other_tools(work, tmp_path):
    df = pd.read_parquet(work / "features")
    first = df["subject"].iloc[0]
    report = json.loads(tclr("export", work / "features", tmp_path / "of", "--as", "openface", "--json").stdout)
    assert len(report["files"]) == 2
    theirs = pd.read_csv(tmp_path / "of" / str(first) / "T1.csv")
    ours = df[df["subject"] == first]
    assert theirs.columns[:5].tolist() == ["frame", "face_id", "timestamp", "confidence", "success"]
    np.testing.assert_allclose(theirs["timestamp"], ours["timestamp"])
    np.testing.assert_allclose(theirs["pose_Ry"], -ours["yaw"], atol=0.02)  # the head hardly turns: orders agree


def test_embed_writes_csv_beside_parquet(work):
    options = ("--encoder", work / "run", "--au-model", work / "au.safetensors")
    tclr("embed", work / "store", work / "features", *options, "--format", "csv")
    df = pd.read_parquet(work / "features")
    for file in (work / "features-csv").glob("*/*.csv"):
        table = pd.read_csv(file)
        ours = df[(df["subject"] == table["subject"].iloc[0])]
        np.testing.assert_allclose(table["AU12"], ours["AU12"], rtol=1e-6)
        assert table.columns.tolist()[1:] == [name for name in ours.columns if name != "subject"]


def test_labels_in_the_features_are_those_of_the_files(work):
    df = pd.read_parquet(work / "features")
    for (subject, clip), rows in df.groupby(["subject", "clip"], observed=True):
        table = pd.read_csv(work / f"clips/AUCoding/AU_OCC/{subject}_{clip}.csv", index_col=0)
        expected = table.loc[rows["frame"], "12"].to_numpy()
        np.testing.assert_array_equal(rows["AU12_true"].to_numpy(int), expected)


def test_metadata_say_where_the_aus_come_from(work):
    tclr("embed", work / "store", work / "features-shape", "--encoder", "random")
    tclr("embed", work / "store", work / "features-bs", "--embedding", "none", "--au-model", "blendshapes")
    for name, source in (("features", "head:"), ("features-shape", "shape:"), ("features-bs", "blendshapes:")):
        assert read_metadata(next((work / name).rglob("*.parquet")))["au_source"].startswith(source)


def test_inspect_shows_verifies_and_speaks_json(work):
    summary = json.loads(tclr("inspect", work / "store", "--json").stdout)
    assert (summary["n_subjects"], summary["n_clips"], summary["n_frames"]) == (2, 2, 80)
    assert summary["share_face"] == 1 and summary["crop_size_px"] == 64 and summary["run_state"] == "done"
    assert "100.0%" in tclr("inspect", work / "store").stdout
    assert tclr("inspect", work / "store", "--verify").stdout.count("ok: ") == 2


def test_inspect_verify_fails_on_a_damaged_file(work, tmp_path):
    (tmp_path / "subjects").mkdir()
    data = next((work / "store/subjects").iterdir()).read_bytes()
    (tmp_path / "subjects" / "F001.h5").write_bytes(data[: len(data) // 2])
    result = tclr("inspect", tmp_path, "--verify", check=False)
    assert result.returncode == 1 and "damaged: F001: " in result.stderr


def test_report_is_one_page_without_outside_links(work):
    page = (work / "r.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 8 and "Ranking accuracy" in page and "Plotly.newPlot" in page
    own = page.replace(get_plotlyjs(), "")
    assert len(own) < len(page) and "://" not in own.replace("http://www.w3.org", "")


def test_analysis_script_runs_on_the_features(work, tmp_path):
    script = Path(__file__).resolve().parents[2] / "docs/analysis.py"
    environment = os.environ | {"TCLR_FEATURES": str(work / "features"), "TCLR_OUT": str(tmp_path), "MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, script], env=environment, check=True)
    subjects = pd.read_csv(tmp_path / "subjects.csv")
    assert subjects.groupby("subject")["observed_s"].first().tolist() == pytest.approx([1.6, 1.6])  # 40 frames at 25/s
    assert (tmp_path / "timeline.png").is_file() and not (tmp_path / "groups.csv").exists()


def test_commands_refuse_what_does_not_fit(work, tmp_path):
    cases = [
        (["inspect", tmp_path / "absent"], "Expected a store with subjects"),
        (["pretrain", work / "store", tmp_path / "r", "--spacing", "50", "--n-following", "9"], "Lower --spacing"),
        (["fit-au", work / "store", "--encoder", tmp_path / "x.pt", "-o", tmp_path / "h"], "no file or run folder"),
        (
            ["embed", work / "store", tmp_path / "f", "--encoder", "random", "--au-model", work / "au.safetensors"],
            "but got another one",
        ),
        (["report", work / "store", "-o", tmp_path / "r.html", "--run", tmp_path], "log.jsonl"),
    ]
    for args, message in cases:
        result = tclr(*args, check=False)
        assert result.returncode == 1 and result.stderr.startswith("tclr: "), args
        assert message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(("options", "stage"), [((), "Loading the detector"), (("--workers", 1), "Starting workers")])
def test_unlabelled_video_gives_aus_on_the_first_run(tmp_path, moving_portrait, write_video, options, stage):
    write_video(tmp_path / "in" / "smile.mp4", moving_portrait(10))
    where = tmp_path / "in", tmp_path / "store"
    out, shown = tclr_on_a_terminal("preprocess", *where, "--size", 64, "--json", *options)
    document = json.loads(out)  # all of it: workers share this standard output
    assert (document["command"], document["n_clips"], document["n_frames"]) == ("preprocess", 1, 10)
    assert document["store"] == str(tmp_path / "store") and document["failures"] == document["warnings"] == []
    stages = ["Starting", "Looking for clips", stage, "Detecting", "Assembling", "Writing the manifest"]
    assert [stage for stage in stages if stage not in shown] == [] and shown.count("1/1") >= 2
    assert not any(word in shown for word in ("INFO", "W0000", "WARNING"))  # as LiteRT and mediapipe shout
    tclr("embed", tmp_path / "store", tmp_path / "features", "--encoder", "random", "--blendshapes")
    df = pd.read_parquet(tmp_path / "features")
    assert len(df) == 10 and (df["AU12"] > 0.5).all() and (df["AU12_c"] == 1).all()  # the astronaut smiles
    assert (df["bs_mouthSmileLeft"] > 0.5).all() and not any(name.endswith("_true") for name in df.columns)


def test_failed_clip_sets_the_exit_status_and_keeps_the_rest(tmp_path, moving_portrait, write_video):
    write_video(tmp_path / "in" / "good.mp4", moving_portrait(4))
    (tmp_path / "in" / "bad.mp4").write_text("no video")
    _, shown = tclr_on_a_terminal("preprocess", tmp_path / "in", tmp_path / "store", "--size", 64, status=1)
    assert "failed: bad/bad: Expected a video" in shown and "1 failed" in shown.split("failed: ")[0]
    assert json.loads(tclr("inspect", tmp_path / "store", "--json").stdout)["n_frames"] == 4


def test_datasets_lists_all_and_says_what_a_folder_is(work):
    listed = tclr("datasets").stdout
    assert all(name in listed for name in DATASETS) and "[2D+3D/]F001" in listed
    found = tclr("datasets", work / "clips").stdout
    assert "looks like bp4d: 2 subjects, 2 clips, 2 labelled" in found


def test_both_acts_of_the_demo_have_a_step_for_every_stage(tmp_path):
    from tclr.cli.demo import demo_steps, training_steps
    from tclr.cli.main import COMMANDS

    steps = [step[0] for step in demo_steps(tmp_path) + training_steps(tmp_path)]
    assert set(COMMANDS) - set(steps) == {
        *(
            "demo",
            "bench",
            "box",
            "evidence",
            "export",
            "people",
            "datasets",
            "ablate",
            "view",
            "overlay",
            "live",
            "doctor",
            "completion",
            "pseudonyms",
            "remove",
            "sight",
        )
    }


def test_real_videos_of_the_shared_data(tmp_path, shared_data):
    (tmp_path / "in").mkdir()
    for name in ("single_face.jpg", "single_face.mp4", "no_face.mp4", "face_noface.mov"):
        (tmp_path / "in" / name).symlink_to(shared_data / "real" / name)
    tclr("preprocess", tmp_path / "in", tmp_path / "store", "--size", 96)
    tclr("embed", tmp_path / "store", tmp_path / "features", "--encoder", "random")
    df = pd.read_parquet(tmp_path / "features")
    faces = df[df["status"].isin(["ok", "low_confidence"])].groupby("clip", observed=False).size()
    rows = df.groupby("clip", observed=True).size()
    assert rows["single_face.mp4"] == faces["single_face.mp4"] == 72
    assert faces["no_face"] == 0 and rows["no_face"] == 95  # 98 packets, 3 of them before the edit list's start
    assert rows["face_noface"] == 169 and abs(faces["face_noface"] - 72) <= 3
    assert df.loc[df["status"] == "no_face", ["AU12", "emb_000", "score"]].isna().all(axis=None)
