"""The whole command: what is on disk, that it repeats, resumes, and says what is wrong."""

from __future__ import annotations

import csv
import hashlib

import numpy as np
import pytest

from tclr.cli.main import run
from tclr.pipeline.sources import find_clips
from tclr.pipeline.system import lock_folder
from tclr.pipeline.tools.people import PeopleSettings, render, write_people
from tclr.pipeline.tools.people.occluders import KINDS, REGIONS, find_visibility, plan_kinds, plan_occluder
from tclr.pipeline.video import probe, read_frames
from tclr.schemas.errors import InputError, OutputError, SettingError

TINY = PeopleSettings(people=2, clips=1, frames=10, width=120, height=150, occluded=0.5)


def reason_not_to_draw():
    """Say why people cannot be drawn here; empty if they can."""
    try:
        render.open_context().release()
    except SettingError as error:
        return str(error)
    return ""


drawn = pytest.mark.skipif(bool(reason := reason_not_to_draw()), reason=reason)


@pytest.fixture(scope="module")
def people(tmp_path_factory, faces, portraits):
    """Return two tiny people."""
    out = tmp_path_factory.mktemp("people")
    write_people(out, faces, portraits, TINY)
    return out


def read_table(path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, np.array(rows, float)


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@drawn
def test_write_people_writes_videos_and_tables_side_by_side(people):
    names = sorted(path.name for path in people.iterdir())
    assert names == ["P000", "P001", "gaze", "labels", "people.csv", "pose", "settings.json", "sides", "visibility"]
    for folder in ("labels", "sides", "pose", "gaze", "visibility"):
        assert sorted(path.name for path in (people / folder).iterdir()) == ["P000_a.csv", "P001_a.csv"]
        header, rows = read_table(people / folder / "P000_a.csv")
        assert header[0] == "frame" and rows[:, 0].tolist() == list(range(10)) and np.isfinite(rows).all()


@drawn
def test_labels_are_the_means_of_both_sides(people):
    header, labels = read_table(people / "labels/P001_a.csv")
    sided, sides = read_table(people / "sides/P001_a.csv")
    assert len(header) == 22 and sided[1:3] == [f"{header[1]}_L", f"{header[1]}_R"]
    np.testing.assert_allclose(labels[:, 1:], sides[:, 1:].reshape(10, 21, 2).mean(2), atol=1.1e-3)
    assert labels[:, 1:].min() >= 0 and labels[:, 1:].max() <= 1


@drawn
def test_the_folder_is_one_that_preprocess_reads(people):
    clips = find_clips(people, "folder")
    assert [clip.name for clip in clips] == ["P000/a", "P001/a"]
    frames = list(read_frames(probe(clips[0], image_fps=25)))
    assert len(frames) == 10 and frames[0].image.shape == (150, 120, 3)
    assert frames[0].image.std() > 10


@drawn
@pytest.mark.slow
def test_the_same_settings_give_the_same_files_whatever_the_number_of_workers(people, tmp_path, faces, portraits):
    seen = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    result = write_people(tmp_path / "again", faces, portraits, TINY, workers=2, progress=progress)
    assert digest(tmp_path / "again") == digest(people)
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert (result.n_people, result.n_clips, result.n_new, result.n_frames) == (2, 2, 2, 20)


@drawn
def test_a_second_run_makes_only_what_is_missing(people, tmp_path, faces, portraits):
    import shutil

    out = tmp_path / "people"
    shutil.copytree(people, out)
    (out / "P000" / "a.mp4").unlink()
    kept = (out / "P001" / "a.mp4").stat().st_mtime_ns
    result = write_people(out, faces, portraits, TINY)
    assert result.n_new == 1 and (out / "P001" / "a.mp4").stat().st_mtime_ns == kept
    assert digest(out) == digest(people)


@drawn
def test_people_of_other_settings_are_not_mixed(people, faces, portraits):
    with pytest.raises(OutputError, match="another seed"):
        write_people(people, faces, portraits, PeopleSettings(**vars(TINY) | {"seed": 1}))
    with pytest.raises(OutputError, match="at least the 2 people"):
        write_people(people, faces, portraits, PeopleSettings(**vars(TINY) | {"people": 1}))


@drawn
def test_two_runs_do_not_write_to_one_folder(people, faces, portraits):
    with lock_folder(people), pytest.raises(OutputError, match="Expected no other run"):
        write_people(people, faces, portraits, TINY)


@drawn
def test_people_csv_says_whom_to_cite(people):
    with (people / "people.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["person"] for row in rows] == ["P000", "P001"]
    assert {row["portrait"] for row in rows} == {"001_03", "003f"}
    assert all(row["author"] == "DeBruine and Jones" and row["licence"] == "CC-BY 4.0" and row["doi"] for row in rows)


@drawn
def test_the_command_writes_people_and_json(tmp_path, faces, portraits, capsys):
    words = (
        f"people {tmp_path / 'out'} --faces {faces} --portraits {portraits} --people 1 --clips 1 --frames 10".split()
    )
    assert run([*words, "--size", "96x120", "--json"]) == 0
    assert '"n_new": 1' in capsys.readouterr().out
    assert run([*words, "--size", "96x120", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_the_command_refuses_a_size_that_is_none(tmp_path, capsys):
    assert run(["people", str(tmp_path), "--faces", "a", "--portraits", "b", "--size", "big"]) == 2
    assert "such as 240x300" in capsys.readouterr().err


def test_missing_sources_are_named(tmp_path, faces, portraits):
    with pytest.raises(InputError, match="webmorphR.stim"):
        write_people(tmp_path / "out", faces, tmp_path)
    with pytest.raises(InputError, match="ICT-FaceKit"):
        write_people(tmp_path / "out", tmp_path, portraits)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path, faces, portraits):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        write_people(tmp_path, faces, portraits, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_moderngl_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "moderngl", None)
    with pytest.raises(SettingError, match=r"pip install 'tclr-face\[people\]'"):
        render.open_context()


@drawn
def test_without_egl_one_line_says_what_to_install(monkeypatch):
    import moderngl

    def fail(**settings):
        raise Exception("eglGetDisplay failed")

    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(SettingError, match="eglGetDisplay failed.*apt-get install libegl1"):
        render.open_context()


@drawn
def test_the_renderer_draws_near_before_far_and_passes_in_turn():
    drawer = render.Renderer(40, 40)
    from tclr.pipeline.tools.people.head import Camera

    camera = Camera(100.0, 400.0, (20.0, 20.0))
    square = np.array([[-2, -2, 0], [2, -2, 0], [2, 2, 0], [-2, 2, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.ones((4, 2))
    red = render.Layer(square, triangles, uv, plain=(1, 0, 0, 1))
    near = render.Layer(square + [0, 0, 1], triangles, uv, plain=(0, 1, 0, 1))
    away = render.Layer(square, triangles[:, ::-1], uv, plain=(1, 1, 1, 1))
    light = render.Light()
    picture = drawer.draw([[near, red]], camera, light)
    assert picture[20, 20].argmax() in (1, 3) and picture[20, 20, 0] < 5, "the near one hides the other"
    assert picture[0, 0, 3] == 0 and picture[20, 20, 3] == 255
    assert drawer.draw([[near], [red]], camera, light)[20, 20, 1] < 5, "a later pass covers"
    assert drawer.draw([[away]], camera, light).max() == 0, "backs are not drawn"
    high = drawer.draw([[render.Layer(square + [0, 3, 0], triangles, uv, plain=(1, 1, 1, 1))]], camera, light)
    assert high[:20].sum() > 0 and high[24:].sum() == 0, "up is up"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mask"])
def test_an_occluder_comes_before_the_face(kind):
    things = [plan_occluder(kind, 60, np.array([200.0, 150, 130]), np.random.default_rng(seed)) for seed in range(6)]
    hidden = []
    for thing in things:
        layers = [thing.draw(frame, np.array([60.0, 70.0]), 60.0, (120, 150)) for frame in range(0, 60, 5)]
        assert all(layer.shape == (150, 120, 4) and 0 <= layer.min() and layer.max() <= 255.5 for layer in layers)
        assert all((layer[..., :3] <= layer[..., 3:] + 1).all() for layer in layers)
        hidden.append(max(layer[40:100, 30:90, 3].mean() / 255 for layer in layers))
    assert max(hidden) > 0.04


def test_find_visibility_counts_what_is_covered_turned_away_or_outside():
    pixels = np.array([[10.0, 10], [30, 10], [10, 30], [-5, 10], [12, 10]])
    rows = {name: np.arange(5) for name in REGIONS}
    facing = np.array([1.0, 1, 1, 1, -0.5])
    opacity = np.zeros((40, 40))
    assert find_visibility(rows, pixels, facing, None, (40, 40)).tolist() == [0.75] * 5
    opacity[:, 20:] = 1
    assert find_visibility(rows, pixels, facing, opacity, (40, 40)).tolist() == [0.5] * 5


def test_plan_kinds_occludes_about_the_share():
    rng = np.random.default_rng(0)
    kinds = plan_kinds(2000, 0.25, rng)
    assert 0.2 < np.mean([bool(kind) for kind in kinds]) < 0.3
    assert {kind for kind in kinds if kind} == set(KINDS)
    assert not any(plan_kinds(50, 0.0, rng))
