import pytest

from tclr.schemas.config import AlignConfig, DetectConfig, PretrainConfig, parse_settings
from tclr.schemas.errors import SettingError


def test_parse_settings_names_the_known_ones_for_an_unknown_key():
    with pytest.raises(SettingError, match=r"Unknown setting 'sise' in x.toml.*codec, jpeg_quality, margin, size"):
        parse_settings(AlignConfig, {"sise": 96}, "x.toml")


def test_parse_settings_refuses_a_value_out_of_range():
    with pytest.raises(SettingError, match="'size' in the command line.*got 4"):
        parse_settings(AlignConfig, {"size": 4}, "the command line")


def test_digest_changes_with_any_value_and_only_then():
    assert AlignConfig().digest() == AlignConfig(size=224).digest()
    digests = {AlignConfig(size=size, codec=codec).digest() for size in (96, 224) for codec in ("zstd", "jpeg")}
    assert len(digests) == 4


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        DetectConfig().max_faces = 2


@pytest.mark.parametrize(("smallest", "largest"), [(0.5, 0.2), (0.0, 0.2), (0.5, 0.0)])
def test_a_range_of_spacings_has_two_ends_in_order(smallest, largest):
    given = {"spacing_min_s": smallest, "spacing_max_s": largest} if largest else {"spacing_min_s": smallest}
    match = f"'spacing_max_s' in x.toml.*at least 'spacing_min_s', which is {smallest}, or both 0.*got {largest}"
    with pytest.raises(SettingError, match=match):
        parse_settings(PretrainConfig, given, "x.toml")
    assert parse_settings(PretrainConfig, {"spacing_min_s": 0.2, "spacing_max_s": 0.2}, "x").spacing_max_s == 0.2
