"""Untrusted folders: pipes, loops of links, folders that cannot be read, names that are not UTF-8, tables."""

import os
import socket

import numpy as np
import pytest

from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.sources import Clip, find_clips, numbered_images
from tclr.pipeline.sources.bp4d import read_occurrence
from tclr.pipeline.sources.disfa import read_intensity
from tclr.pipeline.sources.emotionet import give_labels
from tclr.pipeline.sources.listing import SubjectNames, frame_number, safe_name
from tclr.pipeline.system import encodable, printable
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import InputError
from tclr.schemas.store import MAX_NAME_BYTES, check_name


def touch(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_is_no_regular_file_is_passed_over(tmp_path, monkeypatch):
    touch(tmp_path / "anna" / "real.mp4")
    os.mkfifo(tmp_path / "anna" / "pipe.mp4")
    (tmp_path / "anna" / "dangling.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "anna" / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "anna" / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "anna" / "round").symlink_to(tmp_path)
    (tmp_path / "anna" / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path / "anna")  # the path of a socket must be short
        listener.bind("socket.mp4")
        assert [clip.clip for clip in find_clips(tmp_path)] == ["real"]


@pytest.mark.parametrize(
    ("dataset", "places"),
    [
        ("bp4d", ("2D+3D/F001/T1.mp4", "AUCoding/AU_OCC/F001_T1.csv")),
        ("disfa", ("Videos_LeftCamera/LeftVideoSN001_comp.avi", "ActionUnit_Labels/SN001/SN001_au1.txt")),
        ("voxceleb2", ("id00012/21Uxsk56VDQ/00001.mp4",)),
    ],
)
def test_pipes_in_a_datasets_layout_do_not_keep_us_waiting(tmp_path, dataset, places):
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True)
        os.mkfifo(tmp_path / place)
    for clip in find_clips(tmp_path, dataset):
        with pytest.raises(InputError, match="regular file"):
            clip.sha256()
        if clip.label_paths:
            with pytest.raises(InputError, match="regular file"):
                clip.read_labels(clip.label_paths)


def test_a_row_of_clips_csv_that_names_a_pipe_fails_as_a_clip(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    touch(tmp_path / "clips.csv", "path,subject,clip\na.mp4,anna,rest\n")
    (clip,) = find_clips(tmp_path)
    with pytest.raises(InputError, match="regular file"):
        clip.sha256()


@pytest.mark.parametrize("place", ["/etc/passwd", "../other.mp4", "link.mp4", "a\0b", "x" * 5000])
def test_a_row_of_clips_csv_leads_nowhere_else(tmp_path, place):
    touch(tmp_path / "other.mp4")
    source = tmp_path / "in"
    source.mkdir()
    (source / "link.mp4").symlink_to(tmp_path / "other.mp4")
    touch(source / "clips.csv", f"path,subject,clip\n{place},anna,rest\n")
    with pytest.raises(InputError):
        find_clips(source)


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path, monkeypatch):
    """Its clips would go missing in silence. Root may read everything, so the system call is made to fail."""
    touch(tmp_path / "anna" / "a.mp4")
    touch(tmp_path / "ben" / "b.mp4")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("ben"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="Cannot read .*ben: Permission denied"):
        find_clips(tmp_path)


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_a_source_that_is_a_loop_or_leads_nowhere_is_one_error(tmp_path, target):
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(InputError, match="found nothing"):
        preprocess(tmp_path / "loop", tmp_path / "store", PreprocessConfig())
    assert not (tmp_path / "store").exists()


def test_a_file_name_of_bytes_that_are_no_text_is_recorded_escaped(tmp_path):
    raw = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.mp4")
    try:
        open(raw, "w").close()
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    (clip,) = find_clips(tmp_path)
    assert clip.source == r"\xff\xfe.mp4" and clip.path.is_file()
    check_name(clip.subject, "test")


NAMES = [
    "..",
    "../../x",
    "/etc/passwd",
    "subject=anna",
    "a\nb",
    "a\x1b[31mb",
    "a\u202eb",
    "a b",
    "👩\u200d🔬",
    "x" * 300,
]
NAMES += ["é" * 255, "CON", "nul.mp4", "", ".", "~", "-rf", "%00", "a\\b", "a:b", "S001", "007", "\u0661", "\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_safe_names_are_names_that_the_store_takes(name):
    safe = safe_name(name)
    check_name(safe, "test")
    assert safe_name(safe) == safe and len(safe.encode()) <= MAX_NAME_BYTES and safe.isprintable()


def test_names_that_differ_in_composition_only_are_one():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert safe_name(composed) == safe_name(decomposed)
    names = SubjectNames()
    names.name(composed, "x")
    with pytest.raises(InputError, match="would both be called"):
        names.name(decomposed, "x")


def test_names_that_differ_in_case_are_two():
    """Names of VoxCeleb2's videos do."""
    assert safe_name("21Uxsk56VDQ") != safe_name("21uxsk56vdq")


def test_a_number_in_a_file_name_that_no_column_holds_is_none(tmp_path):
    assert frame_number(touch(tmp_path / f"{2**53 - 1}.jpg")) == 2**53 - 1
    assert frame_number(touch(tmp_path / ("9" * 40 + ".jpg"))) is None
    assert [number for number, _ in numbered_images(tmp_path)] == [2**53 - 1]


@pytest.mark.parametrize(
    "text",
    [
        "0,1\n" + "9" * 30 + ",1\n", f"0,1\n{2**53},1\n", "0,1\n-1,1\n", "0,1\n1,1\0\n", '0,1\n"1,1\n' + "x" * 200_000,
        "0,\udcff\n", "0,1\n0,1\n0,1", "0\n", "",
    ],
)  # fmt: skip
def test_bp4d_refuses_what_is_no_table(tmp_path, text):
    path = tmp_path / "F001_T1.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="F001_T1.csv"):
        read_occurrence((path,))


@pytest.mark.parametrize("text", ["9" * 30 + ",1", f"{2**53 + 1},1", "0,1", "1,nan", "1,1e999", "\udcff", "1,1\n1,1"])
def test_disfa_refuses_what_is_no_table(tmp_path, text):
    path = tmp_path / "SN001_au1.txt"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="SN001_au1.txt"):
        read_intensity((path,))


def test_emotionet_with_a_field_of_megabytes_is_refused_as_a_table(tmp_path):
    touch(tmp_path / "1.jpg")
    touch(tmp_path / "table.csv", "url,AU 1,AU 2\n" + '"' + "x" * 200_000)
    with pytest.raises(InputError, match="table.csv"):
        find_clips(tmp_path, "emotionet")
    assert give_labels((), 3) == 3


def test_a_table_with_a_header_of_megabytes_is_refused_by_name(tmp_path):
    touch(tmp_path / "1.jpg")
    touch(tmp_path / "a.csv", "AU 1,AU 2," + "x" * 2**20)
    with pytest.raises(InputError, match="field larger than field limit .*a.csv"):
        find_clips(tmp_path)


def test_printable_is_one_line_that_a_terminal_cannot_obey():
    assert printable("a\x1b[31mb\nc\td\x07\u202ee\x9b2J\udcff\u2028f") == r"a\x1b[31mb c d\x07\u202ee\x9b2J\udcff f"
    assert printable("Zoë 👩 naïve") == "Zoë 👩 naïve"
    for code in range(0x11000):
        assert printable(f"-{chr(code)}-").isprintable(), hex(code)


def test_encodable_takes_any_file_name():
    assert encodable("Zoë\x1b") == "Zoë\x1b"
    for raw in (b"\xff", b"a\xc3", bytes(range(1, 256))):
        assert encodable(os.fsdecode(raw)).encode()


def test_labels_are_looked_up_by_whole_numbers(tmp_path):
    path = touch(tmp_path / "F001_T1.csv", f"0,1\n{2**53 - 1},1\n")
    labels = read_occurrence((path,))
    np.testing.assert_array_equal(labels.at(np.array([2**53 - 1, 0])), [[1], [-1]])
    assert Clip("folder", "s", "c", path, path.name).sha256()
