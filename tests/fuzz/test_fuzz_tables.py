"""Any bytes as a table of labels or clips: labels that keep their promises, or an error of ours."""

import csv
import io
import json

import numpy as np
import pytest
from fuzz_mutations import mutated
from hypothesis import given
from hypothesis import strategies as st

from tclr.pipeline.sources import find_clips
from tclr.pipeline.sources.bp4d import read_occurrence
from tclr.pipeline.sources.disfa import read_intensity
from tclr.pipeline.sources.folder_labels import read_label_table
from tclr.pipeline.store import DamageRecord
from tclr.pipeline.system.files import parse_json
from tclr.pipeline.views.report.figures import distance_figures
from tclr.pipeline.views.report.page import read_log
from tclr.schemas.errors import TclrError

CELLS = ["0", "1", "9", "999", "-1", "5", "nan", "inf", "-inf", "1e999", "9" * 30, "9" * 5000, "", " ", "x", '"', "\0"]
CELLS += ["AU01", "AU01_c", "AU12_r", "AU 1", "frame", "path", "subject", "clip", "start_s", "end_s", "a.mp4", "1.jpg"]
CELLS += ["..", "../a.mp4", "/etc/passwd", "\u0661", "é", "\u202e", "\x1b[31m", "1_0", "0x1", "²"]


@st.composite
def tables(draw):
    rows = draw(st.lists(st.lists(st.one_of(st.sampled_from(CELLS), st.text(max_size=4)), max_size=5), max_size=5))
    out = io.StringIO()
    csv.writer(out, delimiter=draw(st.sampled_from(",\t;"))).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def any_bytes(*valid):
    pieces = [cell.encode() for cell in CELLS] + [b",", b"\n", b'"', b"\xff", b"\xef\xbb\xbf"]
    return st.one_of(st.binary(max_size=60), tables(), mutated(*valid, pieces=pieces))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A source of each kind, whose table the tests write."""
    root = tmp_path_factory.mktemp("fuzz")
    for name in ("emotionet", "folder"):
        (root / name).mkdir()
        for file in ("1.jpg", "2.jpg", "a.mp4"):
            (root / name / file).touch()
    return root


def check(labels):
    assert (np.diff(labels.frames) > 0).all() and labels.occurrence.shape == (len(labels.frames), len(labels.names))
    assert np.isin(labels.occurrence, (-1, 0, 1)).all() and len(set(labels.names)) == len(labels.names)
    if labels.intensity is not None:
        known = labels.intensity[~np.isnan(labels.intensity)]
        assert ((known >= 0) & (known <= 5)).all()


def check_reading(read, path, data):
    path.write_bytes(data)
    try:
        check(read((path,)))
    except TclrError:
        pass


@given(data=any_bytes(b"0,1,12\n10,1,0\n11,9,1\n12,0,1\n"))
def test_bp4d(folder, data):
    check_reading(read_occurrence, folder / "F001_T1.csv", data)


@given(data=any_bytes(b"1,0\n2,3\n3,5\n"))
def test_disfa(folder, data):
    check_reading(read_intensity, folder / "SN001_au1.txt", data)


@given(data=any_bytes(b"frame,AU01_c,AU02_r,AU04\n0,1,2.5,0.5\n1,,,\n2,9,0,1\n"))
def test_folder_labels(folder, data):
    check_reading(read_label_table, folder / "anna_smile.csv", data)


@given(data=any_bytes(b"url,AU 1,AU 2\nhttp://x/1.jpg,1,0\n2.jpg,999,1\n", b"f\tAU 1\tAU 12\n1.jpg\t0\t1\n"))
def test_emotionet(folder, data):
    (folder / "emotionet" / "table.csv").write_bytes(data)
    try:
        for clip in find_clips(folder / "emotionet"):
            if clip.read_labels:
                check(clip.read_labels(clip.label_paths))
    except TclrError:
        pass


@given(data=any_bytes(b"path,subject,clip,start_s,end_s\na.mp4,anna,rest,0,1.5\n1.jpg,ben,still,,\n"))
def test_clips_table(folder, data):
    root = folder / "folder"
    (root / "clips.csv").write_bytes(data)
    try:
        for clip in find_clips(root):
            assert clip.path.resolve().is_relative_to(root.resolve()) and 0 <= clip.start_s < clip.end_s
            assert "/" not in clip.subject + clip.clip and not clip.subject.startswith(".")
    except TclrError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["seconds", "mean", "q25", "q75", "epoch", "subjects", "trained"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(content=JSON, data=st.none() | mutated(b'{"trained": {"seconds": [1], "mean": [1], "q25": [1], "q75": [1]}}'))
def test_json_of_runs_and_stores(folder, content, data):
    text = json.dumps(content).encode() if data is None else data
    for name in ("distance.json", "log.jsonl", "damage.json"):
        (folder / name).write_bytes(text)
    for read in (distance_figures, read_log, lambda root: DamageRecord(root).read()):
        try:
            read(folder)
        except TclrError:
            pass
    try:
        assert isinstance(parse_json(text), dict)
    except ValueError:
        pass
