import json

from tclr.pipeline.report import distance_figures, training_figures


def test_training_is_drawn_by_epoch_also_without_held_out_subjects():
    lines = [{"epoch": i, "train_loss": 0.3 / i, "val_loss": None, "embedding_std": 0.4} for i in (1, 2, 3)]
    figures = training_figures(lines)
    assert len(figures) == 3 and "Spread of embeddings" in figures[2] and "Aggregate ranking loss" in figures[0]


def test_distances_over_time_are_drawn_if_the_run_has_them(tmp_path):
    assert distance_figures(tmp_path) == []
    curve = {"seconds": [0.04, 0.08], "mean": [0.1, 0.25], "q25": [0.05, 0.2], "q75": [0.2, 0.375], "n": [8, 8]}
    (tmp_path / "distance.json").write_text(json.dumps({"before training": curve, "trained": curve}))
    (figure,) = distance_figures(tmp_path)
    assert '"before training"' in figure and '"trained"' in figure and "0.375" in figure
