"""``tclr.plot``: figures whose marks are the numbers of the table."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import tclr
from tclr.pipeline.features import measure_cooccurrence
from tclr.schemas.errors import InputError


@pytest.fixture(scope="module")
def df(made):
    return tclr.load_features(made / "features")


def drawn(figure):
    """Return the picture of a figure, (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_curves_are_the_probabilities_over_time(df):
    one = df[df["subject"] == "F001"]
    figure = tclr.plot.au_curves(one, ["AU12", "AU01"])
    for panel, name in zip(figure.axes, ("AU12", "AU01"), strict=True):
        (line,) = panel.lines
        assert np.array_equal(line.get_xdata(), one["timestamp"]) and np.array_equal(line.get_ydata(), one[name])
        assert panel.get_title(loc="left").startswith(name)
    both = tclr.plot.au_curves(df, ["AU12"])
    assert [line.get_label() for line in both.axes[0].lines] == ["F001/T1", "F003/T1"]
    assert drawn(figure).std() > 5 and drawn(both).std() > 5


def test_curves_of_themselves_are_those_that_vary_most(df):
    figure = tclr.plot.au_curves(df)
    shown = [panel.get_title(loc="left")[:4] for panel in figure.axes]
    aus = [name for name in df if len(name) == 4 and name.startswith("AU")]
    widest = sorted(aus, key=lambda name: -np.ptp(df[name].dropna()))[:8]
    assert shown == sorted(widest)


def test_shades_are_where_an_au_is_present_and_gaps_stay_gaps(df):
    one = df[df["subject"] == "F001"].copy()
    one["AU12_c"] = [0] * 8 + [1] * 8
    one.loc[one.index[3], "AU12"] = np.nan
    (panel,) = tclr.plot.au_curves(one, ["AU12"]).axes
    assert np.isnan(panel.lines[0].get_ydata()[3])
    (shade,) = panel.collections
    assert shade.get_datalim(panel.transData).x0 == one["timestamp"].iloc[8]


@pytest.mark.parametrize("kind", ["series", "mapping"])
def test_bars_of_a_face_are_its_probabilities(made, df, kind):
    with tclr.open_store(made / "store") as store:
        crop = store.read_crops(store.clips[0], 0, 1)[0]
    row = df.iloc[0].copy()
    row["AU06"] = np.nan
    figure = tclr.plot.face(crop, row if kind == "series" else dict(row), ["AU06", "AU12"])
    picture, bars = figure.axes
    assert np.array_equal(picture.images[0].get_array(), crop)
    assert [bar.get_width() for bar in bars.patches] == [0, pytest.approx(row["AU12"])]
    assert [line.get_ydata().tolist() for line in bars.lines] == [[0]]  # a cross where it is not known
    assert isinstance(figure, Figure) and drawn(figure).std() > 5


def test_the_last_frame_of_a_stream_is_drawn_with_its_landmarks(clip_frames):
    with tclr.Analyser(fps=25, au_model="shape", hidden="keep") as analyser:
        analyser.add(clip_frames[0])
        before = clip_frames[0].copy()
        figure = tclr.plot.face(clip_frames[0], analyser.last)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    x, y = analyser.last.landmarks[1].round().astype(int)
    assert not np.array_equal(shown[y, x], before[y, x]) and np.array_equal(clip_frames[0], before)


@pytest.mark.parametrize("measure", ["conditional", "jaccard", "phi"])
def test_squares_are_the_measures(df, measure):
    names = ["AU01", "AU12", "AU25"]
    figure = tclr.plot.cooccurrence(df, measure, names)
    expected = measure_cooccurrence(df, [f"{name}_c" for name in names]).pivot(
        index="given", columns="au", values=measure
    )
    shown = np.ma.filled(figure.axes[0].images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(shown, expected.to_numpy(float))
    assert drawn(figure).shape[2] == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda df: tclr.plot.au_curves(df, ["AU98"]),
        lambda df: tclr.plot.au_curves(df.drop(columns="timestamp")),
        lambda df: tclr.plot.au_curves(df[["timestamp"]]),
        lambda df: tclr.plot.cooccurrence(df[["AU12"]]),
        lambda df: tclr.plot.cooccurrence(df, "covariance"),
        lambda df: tclr.plot.face(np.zeros((8, 8)), df.iloc[0]),
        lambda df: tclr.plot.face(np.zeros((8, 8, 3), np.uint8), {}),
    ],
)
def test_what_cannot_be_drawn_is_an_error(df, call):
    with pytest.raises(InputError):
        call(df)


def test_no_figure_is_kept_anywhere():
    code = "import sys, pandas as pd, tclr\n"
    code += "tclr.plot.au_curves(pd.DataFrame({'timestamp': [0, 1], 'AU12': [0, 1]}))\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "matplotlib.figure" in loaded and "matplotlib.pyplot" not in loaded


def test_a_face_takes_what_an_analyser_returns_and_names_in_one_text(df):
    picture = np.zeros((48, 64, 3), np.uint8)
    figure = tclr.plot.face(picture, df[:1], "AU06, AU12")
    assert len(figure.axes[1].get_yticklabels()) == 2


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda df: tclr.plot.face(np.zeros((48, 64, 3), np.uint8), df), r"one frame, but got 32 rows"),
        (lambda df: tclr.plot.face(np.zeros((48, 64, 3), np.uint8), None), "one frame, but got NoneType"),
        (lambda df: tclr.plot.au_curves(df[:0]), "but got no rows"),
        (lambda df: tclr.plot.au_curves(None), "but got NoneType"),
        (lambda df: tclr.plot.cooccurrence(df[:0]), "but got no rows"),
    ],
)
def test_what_is_no_table_is_one_line(df, draw, says):
    with pytest.raises(InputError, match=says):
        draw(df)
