"""Names of files, subjects and clips as nobody should choose them, through every stage: nothing leaves the output."""

import re
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

from tclr.cli.main import cli
from tclr.pipeline.faces import Face
from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.store import Store, find_damage
from tclr.pipeline.views.viewer import ViewerClips
from tclr.schemas.config import AlignConfig, PreprocessConfig

MARKUP = "<script>document.title='taken'<\uff0fscript>"
"""A name holds no ``/``; browsers would take what follows ``<script>`` to the page's next end tag."""
NAMES = [
    "a..b", "subject=x", "a b", "a\nb", "a\tb", "a\x1b[31mred\x1b[0m", "a\x07", "a\u202egpj", "👩\u200d🔬",
    "x" * 250, "é" * 124, "CON", "nul", "Anna", "anna", "cafe\u0301", "007", "-rf", "%00%2e%2e%2f", "a\\..\\b", "a:b",
    "~",
    "'; DROP TABLE", '"quoted"', "&amp;", MARKUP, "{{ 7 * 7 }}", "=cmd()",
]  # fmt: skip
RAW = b"bytes\xff\xfe"


class FakeDetector:
    """Takes the middle of every picture for a face."""

    name, n_landmarks, blendshape_names, batch_size, n_faces = "fake 1", 5, (), 8, 1

    def detect(self, images, timestamps_s):
        return [self.look(image) for image in images]

    def look(self, image):
        points = np.array([[12, 12, 0], [28, 12, 0], [20, 20, 0], [14, 28, 0], [26, 28, 0]], np.float32)
        return [Face(points, np.zeros(3, np.float32), blendshapes=None, score=0.9)]

    def score_crop(self, crop):
        return 0.9

    def reset(self):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Preprocess in this process, with a fake detector."""

    @contextmanager
    def connect(workers, scheduler, threads=1):
        with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
            with Client(cluster) as client:
                yield client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tclr.pipeline.system.cluster.connect", connect)
        patch.setattr("tclr.pipeline.preprocessing.run.ensure_models", lambda detect: None)
        patch.setattr("tclr.pipeline.preprocessing.tracks.open_detector", lambda *args, **options: FakeDetector())
        yield


@pytest.fixture(scope="module")
def work(here, tmp_path_factory):
    """A folder with a source of odd names, and the store, features and report that the commands made of it."""
    work = tmp_path_factory.mktemp("work")
    source, written = work / "in", cv2.imencode(".png", np.full((40, 40, 3), 120, np.uint8))[1].tobytes()
    source.mkdir()
    for number, name in enumerate(NAMES):
        folder = source / f"{name}{number}"
        folder.mkdir()
        (folder / f"{name}.png").write_bytes(written)
    (source / "bad").mkdir()
    (source / "bad" / "a\x1b[2J\nfailed: all is well\u202e.png").write_bytes(b"no image")
    with open(bytes(source / "bad") + b"/" + RAW + b".png", "wb") as file:
        file.write(written)
    with open(bytes(source / "bad") + b"/no image" + RAW + b".png", "wb") as file:
        file.write(b"no image")
    outputs = {}
    for command in (
        ["preprocess", source, work / "store", "--size", "16", "--workers", "1"],
        ["inspect", work / "store"],
        ["inspect", work / "store", "--verify"],
        ["embed", work / "store", work / "features", "--embedding", "none"],
        ["report", work / "store", "-o", work / "report.html", "--features", work / "features"],
        ["datasets", source],
    ):
        result = CliRunner().invoke(cli, [str(argument) for argument in command])

        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        outputs[" ".join(map(str, [command[0], *command[2:3]]))] = result.output
    return work, outputs


def test_every_file_is_in_the_output_and_its_name_is_safe(work):
    folder, _ = work
    assert {path.name for path in folder.iterdir()} == {"in", "store", "features", "report.html"}
    made = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_relative_to(folder / "in")]
    assert all(re.fullmatch(r"[\w.+#@=-]+", part) for path in made for part in path.parts)
    assert all(len(part.encode()) <= 255 for path in made for part in path.parts)


def test_every_clip_is_there_once_and_sound(work):
    folder, _ = work
    with Store(folder / "store") as store:
        assert len(store.clips) == len(NAMES) + 1 and all(info.n_frames == 1 for info in store.clips)
        sources = [info.attrs.source for info in store.clips]
    assert sum(MARKUP in source for source in sources) == 1 and r"bad/bytes\xff\xfe.png" in sources
    assert not any(report.damage for report in find_damage(folder / "store"))
    table = pd.read_parquet(folder / "features")
    assert len(table) == len(NAMES) + 1 and table["subject"].nunique() == len(store.subjects)
    manifest = pd.read_parquet(folder / "store" / "manifest.parquet")
    assert (manifest["state"] == "failed").sum() == 2 and all(map(str.isprintable, manifest["reason"].dropna()))


def test_terminal_shows_one_line_a_message_and_nothing_that_it_would_obey(work):
    _, outputs = work
    for command, output in outputs.items():
        assert all(line.isprintable() for line in output.split("\n")), command
    failed = [line for line in outputs[f"preprocess {work[0] / 'store'}"].splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2 and any(r"a\x1b[2J failed: all is well\u202e.png" in line for line in failed)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_report_shows_names_as_text(work):
    """The same tags as without them: the page of a store whose names are plain has as many scripts."""
    text = (work[0] / "report.html").read_text(encoding="utf-8")
    scripts = [attrs for tag, attrs in Tags(text).found if tag == "script"]
    assert all("src" not in attrs for attrs in scripts)
    assert not re.search(r"<script>\s*document\.title", text) and "taken'" not in re.sub(r"&#39;|\\u0027", "", text)
    assert "{{ 7" not in text.replace("{{ 7 * 7 }}", "") and ">49<" not in text


def test_markup_in_the_source_warning_and_dataset_of_a_store_is_inert_in_report_and_viewer(tmp_path, work):
    """Names are safe; other texts of a store are anyone's."""
    import json
    import shutil

    import h5py

    from tclr.pipeline.store.checksums import seal_clip, seal_root
    from tclr.pipeline.views.report import write_report

    evil = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\x1b[31m"
    shutil.copytree(work[0] / "store", tmp_path / "store")
    for path in sorted((tmp_path / "store" / "subjects").iterdir())[1:]:
        path.unlink()
    (path,) = (tmp_path / "store" / "subjects").iterdir()
    with h5py.File(path, "r+") as file:
        file.attrs["dataset"] = evil
        file.attrs["detect_config"] = json.dumps({"detector": evil, evil: evil})
        (clip,) = file["clips"].values()
        clip.attrs["warning"] = clip.attrs["source"] = clip.attrs["detector"] = evil
        seal_clip(clip)
        seal_root(file)
    result = CliRunner().invoke(cli, ["inspect", str(tmp_path / "store")])
    assert "[31m" in result.output and all(line.isprintable() for line in result.output.split("\n"))
    plain = Tags((work[0] / "report.html").read_text(encoding="utf-8"))
    write_report(tmp_path / "store", tmp_path / "report.html")
    found = Tags((tmp_path / "report.html").read_text(encoding="utf-8")).found
    assert not any("onerror" in attrs or attrs.get("src") == "x" for _, attrs in found)
    assert sum(tag == "script" for tag, _ in found) <= sum(tag == "script" for tag, _ in plain.found)
    features = Path(work[0] / "features")
    clips = ViewerClips(features, tmp_path / "store")
    try:
        assert clips.summary()["clips"][0]["warning"] == evil  # JSON, which the page shows as text
    finally:
        clips.close()


def test_two_subjects_that_become_one_are_refused(here, tmp_path):
    for name in ("a:b", "a?b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "c.mp4").touch()
    with pytest.raises(Exception, match="would both be called 'a_b'"):
        preprocess(tmp_path / "in", tmp_path / "store", PreprocessConfig(align=AlignConfig(size=16)))
    assert not (tmp_path / "store").exists()
