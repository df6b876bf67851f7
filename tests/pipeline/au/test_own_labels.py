"""Labels of a user's own tables: matched by frame or time, before the store's labels, the store left as it is."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tclr.cli.main import cli
from tclr.pipeline.au import OwnLabels, collect_frames, fit_au, load_head, no_rows
from tclr.pipeline.store import Store
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError

FRAMES = np.arange(100, 140)
"""Numbers of the source's frames of every clip, at 25 frames/s from 0 s on."""


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    """Two subjects with two clips each, labelled with AU01 and AU12, both with intensities."""
    return make_store(tmp_path_factory.mktemp("own") / "store", n_subjects=2, n_clips=2, intensity=True, no_face=(3,))


@pytest.fixture(scope="module")
def bare(make_store, tmp_path_factory):
    """The same people without any labels."""
    return make_store(tmp_path_factory.mktemp("own") / "bare", n_subjects=4, n_clips=1, au_names=())


def table(**columns):
    return pd.DataFrame({"subject": "F001", "clip": "T1"} | columns)


def collect(root, labels):
    with Store(root) as opened:
        own = OwnLabels(opened, labels)
        return collect_frames(opened, no_rows, 7, own=own), own.match


def labels_of(frames, subject, clip, name):
    """Return {row: (occurrence, intensity)} of a clip."""
    mine = (frames.subjects == subject) & (frames.clips == clip)
    column = frames.names.index(name)
    values = zip(frames.labels[mine, column].tolist(), frames.intensities[mine, column].tolist(), strict=True)
    return dict(zip(frames.rows[mine].tolist(), values, strict=True))


def test_rows_find_their_frame_by_number_whatever_their_order(bare):
    frames, match = collect(bare, table(frame=[139, 101, 120], AU12_r=[5.0, 0.5, 2.0]))
    assert labels_of(frames, "F001", "T1", "AU12") == {39: (1, 5.0), 1: (0, 0.5), 20: (1, 2.0)}
    assert (match.n_rows, match.n_matched, match.notes) == (3, 3, ())


def test_rows_find_their_frame_by_time_at_most_half_a_frame_away(bare):
    times = [0.0, 0.041, 0.099, 0.09, 1.56, 1.59]  # row 2 is at 0.08 s
    frames, match = collect(bare, table(timestamp=times, AU12_c=[1, 0, 1, 0, 1, 0]))
    values = {row: value for row, (value, _) in labels_of(frames, "F001", "T1", "AU12").items()}
    assert values == {0: 1, 1: 0, 2: 0, 39: 1}
    assert match.n_matched == 4 and match.notes[0].startswith(
        "2 rows name a frame that its clip does not have, such as F001/T1 at "
    )


def test_labels_at_twice_the_rate_give_each_frame_the_nearest_row(bare):
    times = np.arange(80) / 50
    frames, match = collect(bare, table(timestamp=times, AU12_c=np.arange(80) % 2))
    assert match.n_matched == 40 and not any(value for value, _ in labels_of(frames, "F001", "T1", "AU12").values())


def test_own_labels_come_before_those_of_the_store_cell_by_cell(store):
    with Store(store) as opened:
        info = opened.clips[0]
        codes, levels = opened.read(info, "au"), opened.read(info, "au_intensity")
    own = table(frame=[100, 101, 102], AU12_c=[1 - codes[0, 1], 9, codes[2, 1]], AU04_c=[1, 0, 1])
    frames, _ = collect(store, own)
    assert frames.names == ["AU01", "AU04", "AU12"]
    of_12, of_01, of_04 = (labels_of(frames, "F001", "T1", name) for name in ("AU12", "AU01", "AU04"))
    assert of_12[0][0] == 1 - codes[0, 1] and of_12[1][0] == -1
    assert np.isnan([of_12[row][1] for row in (0, 1, 2)]).all()  # the store's intensity is not that of these labels
    assert of_12[10] == (codes[10, 1], levels[10, 1]) and of_01[0] == (codes[0, 0], levels[0, 0])
    assert [of_04[row][0] for row in (0, 1, 2, 10)] == [1, 0, 1, -1]
    assert labels_of(frames, "F002", "T1", "AU04")[0][0] == -1


def test_rows_without_a_frame_are_counted_with_an_example(store):
    own = pd.concat([table(frame=[100, 7, 8], AU12_c=1), table(frame=[100], AU12_c=1).assign(subject="anna")])
    _, match = collect(store, own)
    assert (match.n_rows, match.n_matched) == (4, 1)
    assert match.notes == (
        "2 rows name a frame that its clip does not have, such as F001/T1 frame 7 in the table of labels.",
        "1 row names a clip that the store does not have, such as anna/T1 in the table of labels.",
    )


def test_no_row_that_fits_is_an_error_that_shows_both_sides(store):
    with pytest.raises(
        InputError, match=r"for example F001/T1 frame 100, but no row fits: 1 row names a frame .* frame 0"
    ):
        collect(store, table(frame=[0], AU12_c=[1]))


@pytest.mark.parametrize("columns", [["subject"], ["clip"], ["subject", "clip"]])
def test_a_clip_may_be_named_by_what_is_enough(bare, columns):
    own = table(frame=[100], AU12_c=[1])[["frame", "AU12_c", *columns]]
    own = own.assign(clip="F001/T1") if columns == ["clip"] else own
    assert labels_of(collect(bare, own)[0], "F001", "T1", "AU12") == {0: (1, pytest.approx(np.nan, nan_ok=True))}


def test_files_of_a_folder_are_named_like_their_clips(store, tmp_path):
    for name, au in (("F001_T1", "AU04_c"), ("F002_T2", "AU06_r"), ("F009_T9", "AU06_r")):
        (tmp_path / f"{name}.csv").write_text(f"frame,{au}\n100,1\n101,0\n")
    frames, match = collect(store, tmp_path)
    assert frames.names == ["AU01", "AU04", "AU06", "AU12"] and match.n_matched == 4
    assert [labels_of(frames, "F001", "T1", "AU04")[row][0] for row in (0, 1, 2)] == [1, 0, -1]
    assert labels_of(frames, "F002", "T2", "AU06")[0] == (0, 1.0)
    assert "2 rows name no clip, nor does the file's name, such as F009_T9 in" in match.notes[0]


def test_one_frame_labelled_twice_is_an_error(store, tmp_path):
    with pytest.raises(InputError, match="Expected each frame once in the labels, but row 1 of F001/T1 stands twice"):
        collect(store, table(frame=[101, 101], AU12_c=[1, 0]))


def test_openface_s_numbers_from_1_are_noticed_by_its_timestamps(bare):
    own = table(frame=FRAMES[:30] + 1, timestamp=np.arange(30) / 25, AU12_c=1)
    with pytest.raises(
        InputError, match=r"frame 1\d\d is at \d\.\d{3} s in .* OpenFace counts frames from 1: take 1 off"
    ):
        collect(bare, own)
    assert collect(bare, own.assign(frame=own["frame"] - 1))[1].n_matched == 30
    assert collect(bare, own.drop(columns="frame"))[1].n_matched == 30


def digests(root):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_head_learns_from_own_labels_alone_and_the_store_stays_as_it_is(bare, tmp_path):
    before, names = digests(bare), ("F001", "F002", "F003", "F004")
    own = pd.concat([table(frame=FRAMES, AU12_c=FRAMES // 5 % 2).assign(subject=name) for name in names])
    own.to_csv(tmp_path / "labels.csv", index=False)
    result = fit_au(
        bare, None, tmp_path / "h.safetensors", FitAuConfig(inputs="blendshapes"), labels=tmp_path / "labels.csv"
    )
    assert result.labels.n_matched == 160 and result.n_subjects == 4 and digests(bare) == before
    assert load_head(tmp_path / "h.safetensors").au_names == ("AU12",)
    again = fit_au(bare, None, tmp_path / "i.safetensors", FitAuConfig(inputs="blendshapes"), labels=own)
    assert again.scores == result.scores


def test_people_who_are_left_out_are_no_unmatched_rows(bare, tmp_path):
    own = pd.concat([table(frame=FRAMES, AU12_c=FRAMES % 2).assign(subject=name) for name in ("F001", "F002", "F003")])
    config = FitAuConfig(inputs="blendshapes", leave_out="F003")
    result = fit_au(bare, None, tmp_path / "h.safetensors", config, labels=own)
    assert result.labels.notes == () and result.n_subjects == 2


def test_the_command_reads_a_table_with_the_bundled_encoder(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=2, n_frames=12, size=64, au_names=())
    rows = [f"{name},T1,{100 + i},{i % 2}" for name in ("F001", "F002") for i in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["subject,clip,frame,AU12_c", *rows, "F001,T1,999,1"]))
    arguments = ["fit-au", store, "--labels", tmp_path / "labels.csv", "-o", tmp_path / "h.safetensors"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "24 of 25 rows" in result.stdout
    assert "1 row names a frame that its clip does not have, such as F001/T1 frame 999" in result.stderr
    assert load_head(tmp_path / "h.safetensors").encoder_info["arch"] == "facemesh"
