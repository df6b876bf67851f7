"""AUs that are present nearly always, or never, are named."""

from tclr.pipeline.features import FeatureClips, Occurrence, measure_occurrence


def test_shares_are_of_the_frames_with_a_prediction(tmp_path, write_features):
    for clip, present in (("a", [1, 1, 0, None]), ("b", [1, None])):
        columns = {"frame": list(range(len(present))), "AU12_c": present, "AU01_c": [0] * len(present)}
        write_features(tmp_path, "S1", clip, columns, {"AU01": 0.5, "AU12": 0.5})
    measured = measure_occurrence(FeatureClips(tmp_path))
    assert measured.shares == {"AU01": 0, "AU12": 3 / 4} and measured.n_frames == 6


def test_what_is_doubtful_is_said_from_ten_seconds_on():
    shares = {"AU01": 0.0, "AU07": 0.93, "AU12": 0.3, "AU25": 0.8}
    told = Occurrence(250, shares).warnings()
    assert [line.split()[0] for line in told] == ["AU07", "Never"]
    assert "93% of the frames that show it" in told[0] and told[1] == "Never present: AU01."
    assert Occurrence(249, shares).warnings() == []
