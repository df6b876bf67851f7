import json

import numpy as np

from tclr.pipeline.views.report.figures import (
    au_timeline_figure,
    co_occurrence_figure,
    detection_figure,
    distance_figures,
    map_figure,
    training_figures,
)
from tclr.pipeline.views.report.statistics import AuTimeline, CoOccurrence, EmbeddingMap
from tclr.schemas.store import Status


def traces(figure):
    return json.loads(figure.spec)["data"]


def test_training_is_drawn_by_epoch_also_without_held_out_subjects():
    lines = [{"epoch": i, "train_loss": 0.3 / i, "val_loss": None, "embedding_std": 0.4} for i in (1, 2, 3)]
    loss, _, spread = training_figures(lines)
    assert traces(loss)[0]["x"] == [1, 2, 3] and loss.title == "Loss" and "Spread" in spread.title
    assert loss.rows[1] == ("2", "0.15", "-")


def test_distances_over_time_are_drawn_if_the_run_has_them(tmp_path, run_folder):
    assert distance_figures(tmp_path) == []
    (figure,) = distance_figures(run_folder)
    assert {"before training", "trained"} <= {trace.get("name") for trace in traces(figure)}
    assert ("trained", "0.08", "0.25", "0.2", "0.375") in figure.rows


def test_detection_shows_the_lowest_shares_first_in_bars_and_table():
    def row(subject, n_ok):
        counts = {f"n_{status.name}": 0 for status in Status}
        return {"subject": subject, "n_frames": 10, **counts, "n_ok": n_ok, "n_no_face": 10 - n_ok}

    figure = detection_figure([row("A", 10), row("B", 4), row("C", 7)], "subject")
    ok, no_face = traces(figure)
    assert ok["y"] == ["B", "C", "A"] and ok["x"] == [40, 70, 100] and no_face["x"] == [60, 30, 0]
    assert (
        figure.rows[0][:3] == ("B", "10", "40.0%")
        and "B has the lowest share of ok frames, 40.0%" in figure.description
    )


def test_detection_lists_equal_shares_in_natural_order():
    counts = {f"n_{status.name}": 0 for status in Status} | {"n_ok": 5}
    rows = [{"subject": "anna", "clip": f"clip{i}", "n_frames": 5, **counts} for i in (10, 1, 2)]
    assert traces(detection_figure(rows, "clip"))[0]["y"] == ["anna/clip1", "anna/clip2", "anna/clip10"]


def test_timeline_has_names_thresholds_and_frames():
    rows = {name: np.array([0.1, 0.9]) for name in ("AU12", "AU12 intensity / 5", "AU45 label")}
    table = [("AU12", 0.5, None, None), ("AU45", None, 0.5, None)]
    figure = au_timeline_figure(
        AuTimeline(np.array([0.0, 0.4]), np.array([7, 17]), {"AU12": 0.4249}, rows, table), "a/b"
    )
    (heat,), layout = traces(figure), json.loads(figure.spec)["layout"]
    titles = ["AU12 Lip Corner Puller, from 0.42", "AU12 intensity / 5", "AU45 label"]
    assert layout["yaxis"]["ticktext"] == titles == heat["meta"]["about"] and heat["meta"]["frames"] == [7, 17]
    assert layout["xaxis"]["title"]["text"] == "time in s (frames 7 to 17)"
    assert figure.header[:2] == ("AU", "present from")
    assert figure.rows[0][:3] == ("AU12 Lip Corner Puller", "0.42", "50.0%") and figure.rows[1][1] == "-"


def test_detection_says_so_if_it_leaves_out_subjects():
    counts = {f"n_{status.name}": 0 for status in Status} | {"n_ok": 5}
    figure = detection_figure([{"subject": f"S{i:03d}", "n_frames": 10, **counts} for i in range(90)], "subject")
    assert len(traces(figure)[0]["y"]) == 40 and figure.description.startswith("The 40 lowest of 90 subjects")


def test_co_occurrence_names_the_strongest_pair_and_is_left_out_without_any_presence():
    counted = CoOccurrence(["AU01", "AU12"])
    assert co_occurrence_figure(counted, "Labels") is None
    counted.add(np.array([[1, 1], [1, 0], [0, 0]], float))
    figure = co_occurrence_figure(counted, "Labels")
    assert traces(figure)[0]["z"] == [[1, 0.5], [1, 1]]
    assert "AU01 Inner Brow Raiser in 100.0% of the frames with AU12 Lip Corner Puller" in figure.description


def test_map_carries_subjects_and_columns_to_colour_by():
    points = np.array([[0.0, 1], [2, 3], [4, 5]])
    names, columns = ["B/T1 frame 0", "A/T1 frame 1", "B/T1 frame 2"], {"AU01": np.array([0.25, np.nan, 1])}
    mapped = EmbeddingMap(points, np.array([0.6, 0.3]), names, np.array(["B", "A", "B"]), columns, {"subject": 0.4})
    figure = map_figure(mapped)
    assert figure.extra == {"subjects": ["A", "B"], "codes": [1, 0, 1], "columns": {"AU01": [0.25, None, 1.0]}}
    assert traces(figure)[0]["x"] == [0, 2, 4] and figure.rows == [("subjects", "40.0%")]
