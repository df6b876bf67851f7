import pytest

from tclr.schemas.config import AlignConfig, DetectConfig, parse_settings
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
