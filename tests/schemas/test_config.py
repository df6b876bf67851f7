import pytest

from tclr.schemas.config import PAPER, AlignConfig, DetectConfig, PretrainConfig, parse_settings
from tclr.schemas.errors import SettingError


def test_parse_settings_names_the_known_ones_for_an_unknown_key():
    with pytest.raises(SettingError, match=r"Unknown setting 'sise' in x.toml.*codec, frames, jpeg_quality, margin"):
        parse_settings(AlignConfig, {"sise": 96}, "x.toml")


def test_parse_settings_refuses_a_value_out_of_range():
    with pytest.raises(SettingError, match="'size' in the command line.*got 4"):
        parse_settings(AlignConfig, {"size": 4}, "the command line")


def test_digest_changes_with_any_value_and_only_then():
    assert AlignConfig().digest() == AlignConfig(size=224).digest()
    digests = {AlignConfig(size=size, codec=codec).digest() for size in (96, 224) for codec in ("zstd", "jpeg")}
    assert len(digests) == 4


def test_turning_by_itself_leaves_the_digest_of_older_stores():
    assert "rotate" not in DetectConfig().to_json() and '"rotate":"90"' in DetectConfig(rotate="90").to_json()
    assert DetectConfig(detector="mediapipe").digest() == "ace5d51ef8f3f776"


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        DetectConfig().max_faces = 2


@pytest.mark.parametrize(("smallest", "largest"), [(0.5, 0.2), (0.0, 0.2), (0.5, 0.0)])
def test_a_range_of_spacings_has_two_ends_in_order(smallest, largest):
    given = {"spacing_min_s": smallest, "spacing_max_s": largest}
    match = f"'spacing_max_s' in x.toml.*least 'spacing_min_s', which is {smallest}, and both .* both 0.*got {largest}"
    with pytest.raises(SettingError, match=match):
        parse_settings(PretrainConfig, given, "x.toml")
    assert parse_settings(PretrainConfig, {"spacing_min_s": 0.2, "spacing_max_s": 0.2}, "x").spacing_max_s == 0.2


def test_paper_recipe_is_what_the_papers_repository_trains():
    paper = PretrainConfig(recipe="paper")
    assert (paper.arch, paper.embedding_dim, paper.n_following, paper.spacing) == ("resnet18", 256, 10, 1)
    assert (paper.margin, paper.ranking_weight) == (0.03, 1)
    assert (paper.optimizer, paper.learning_rate, paper.momentum, paper.weight_decay) == ("sgd", 0.001, 0.9, 0)
    assert (paper.schedule, paper.warmup_epochs, paper.grad_clip) == ("constant", 0, 0)
    assert (paper.batch_size, paper.epochs, paper.anchors_per_clip) == (48, 50, 1)
    assert round(paper.image_size / paper.crop_ratio) == 256 and (paper.augment, paper.shift) == ("frame", 16 / 256)
    changed = ("flip", "rotation_deg", "zoom", "tilt", "colour_jitter", "light_jitter", "blur")
    companions = ("geometry_weight", "supervision_weight")
    assert all(getattr(paper, name) == 0 for name in (*changed, *companions))
    assert (paper.direction, paper.spacing_max_s) == ("forward", 0)


def test_recipe_gives_defaults_and_every_setting_can_still_be_given():
    assert set(PAPER) < set(PretrainConfig.model_fields)
    paper = PretrainConfig(recipe="paper", learning_rate=0.5)
    assert paper.learning_rate == 0.5 and paper.optimizer == "sgd"
    assert PretrainConfig(**paper.model_dump()) == paper
    assert PretrainConfig().recipe == "tclr" and PretrainConfig().optimizer == "adamw"


def test_spacing_in_frames_wins_over_the_defaults_in_seconds():
    assert PretrainConfig().spacing_max_s > 0
    assert PretrainConfig(spacing=3).spacing_max_s == PretrainConfig(spacing=3).spacing_min_s == 0
    both = PretrainConfig(spacing=3, spacing_min_s=0.1, spacing_max_s=0.2)
    assert (both.spacing_min_s, both.spacing_max_s) == (0.1, 0.2)
    assert PretrainConfig(**both.model_dump()) == both


def test_a_subject_is_named_by_a_place_in_fractions():
    assert DetectConfig(subject_at=" .75, 0.40").place == (0.75, 0.4)
    assert DetectConfig(subject_at="0.750,0.4").digest() == DetectConfig(subject_at="0.75,0.4").digest()
    for text in ("640,360", "0.5", "a,b", "0.1,0.2,0.3", "nan,0.5"):
        with pytest.raises(SettingError, match=r"expected x,y as fractions"):
            parse_settings(DetectConfig, {"subject_at": text}, "x")


@pytest.mark.parametrize("other", [{"subject_face": "a.png"}, {"max_faces": 1}])
def test_a_subject_is_named_once_and_among_several(other):
    with pytest.raises(SettingError, match="expected ''"):
        parse_settings(DetectConfig, {"subject_at": "0.5,0.5", **other}, "x")


def test_a_named_subject_changes_the_digest_and_no_name_keeps_that_of_older_stores():
    digests = {
        config.digest() for config in (DetectConfig(), DetectConfig(subject_at="0,0"), DetectConfig(faces="all"))
    }
    assert len(digests) == 3 and "subject" not in DetectConfig(faces="all").to_json().replace('"faces"', "")
