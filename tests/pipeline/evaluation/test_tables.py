import numpy as np
import pytest

from tclr.pipeline.au import Outcomes, score
from tclr.pipeline.evaluation import MethodResult, to_latex, to_markdown
from tclr.pipeline.evaluation.tables import f1_table, summary_table

NAN = np.full((8, 2), np.nan)


def result(method, decisions, *, n_aus=2, notes=(), intensity=NAN):
    """A row of two subjects of four frames; AU01 is present in every other frame, AU12 in the first of four."""
    label = np.tile([[1, 1], [0, 0], [1, 0], [0, 0]], (2, 1)).astype(np.int8)
    decision = np.array(decisions, np.int8)
    truth = np.where(label == 1, 3.0, 0.0)
    outcomes = Outcomes(label, decision, NAN, truth, intensity, np.repeat(["a", "b"], 4), np.repeat([1, 2], 4))
    return MethodResult(method, f"{method} + linear", outcomes, score(outcomes), {}, n_aus, tuple(notes), {}, (), 1.0)


PERFECT = np.tile([[1, 1], [0, 0], [1, 0], [0, 0]], (2, 1))
HALF = np.tile([[1, 1], [1, 1], [1, 1], [1, 1]], (2, 1))
FIRST_AU = np.tile([[1, -1], [0, -1], [1, -1], [0, -1]], (2, 1))


@pytest.fixture
def table():
    rows = [
        result("all-positive", PERFECT),
        result("mapping", FIRST_AU, n_aus=1),
        result("landmarks", HALF),
        result("encoder", PERFECT, notes=["fold 1: a_b"]),
    ]
    return f1_table(
        rows, ("AU01", "AU12"), title="t & t", average="folds", published={"AU-Net": 65.0}, notes=["2 people"]
    )


def test_best_of_each_column_is_bold_but_never_all_positive_or_a_mean_over_fewer_aus(table):
    marked = {name: [cell.best for cell in cells] for name, cells in table.rows}
    assert marked == {
        "all-positive + linear": [False] * 3,
        "mapping + linear": [True, False, False],
        "landmarks + linear": [False] * 3,
        "encoder + linear": [True] * 3,
    }
    texts = {name: [cell.text for cell in cells] for name, cells in table.rows}
    assert texts["landmarks + linear"] == ["66.7", "40.0", "53.3"]
    assert texts["mapping + linear"] == ["100.0", "-", "100.0"]
    assert table.notes == (
        "2 people",
        "mapping + linear: 1 of the 2 AUs; its means are over these",
        "encoder + linear: fold 1: a_b",
    )


def test_markdown_and_latex_have_the_same_figures_best_bold_and_published_apart(table):
    markdown, latex = to_markdown(table), to_latex(table)
    assert "| AU | 1 | 12 | Avg. |\n| --- | ---: | ---: | ---: |" in markdown
    assert "| encoder + linear | **100.0** | **100.0** | **100.0** |" in markdown
    assert "| *AU-Net (published)* | - | - | 65.0 |" in markdown and "- 2 people" in markdown
    assert r"encoder + linear & \textbf{100.0} & \textbf{100.0} & \textbf{100.0} \\" in latex
    assert r"\midrule" + "\n" + r"AU-Net (published) & - & - & 65.0 \\" in latex
    assert latex.splitlines()[0] == "% t & t" and r"\begin{tabular}{lrrr}" in latex and latex.count(r"\midrule") == 2
    assert "a_b" in latex.splitlines()[3]  # a comment, not escaped


def test_intervals_stand_beside_the_figures_when_asked_for():
    half = np.concatenate([PERFECT[:4], HALF[:4]])
    table = f1_table([result("x", half)], ("AU01", "AU12"), title="", average="folds", interval=True)
    assert table.rows[0][1][0].text == "83.3 [66.7, 100.0]" and not table.rows[0][1][0].best  # alone it is no best


def test_summary_has_intensity_only_where_it_was_measured_and_less_error_is_better():
    rows = [result("a", PERFECT), result("b", HALF)]
    assert summary_table(rows, 2, title="", average="pooled").columns == ("method", "F1 (%)", "accuracy (%)", "ROC-AUC")
    exact = np.where(PERFECT == 1, 3.0, 0.0)
    rows = [result("a", PERFECT, intensity=exact), result("b", HALF, intensity=exact + 0.5)]
    table = summary_table(rows, 2, title="", average="pooled")
    assert table.columns[-2:] == ("ICC(3,1)", "MAE")
    assert [cells[-1].text for _, cells in table.rows] == ["0.000 [0.000, 0.000]", "0.500 [0.500, 0.500]"]
    assert [cells[-1].best for _, cells in table.rows] == [True, False]
    assert to_latex(table).splitlines()[3] == r"method & F1 (\%) & accuracy (\%) & ROC-AUC & ICC(3,1) & MAE \\"
