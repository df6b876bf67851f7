import pytest

from tclr.pipeline.store import leave_out
from tclr.schemas.errors import SettingError

NAMES = ["F001", "F002", "M001", "P010"]


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [("", NAMES), ("F*", ["M001", "P010"]), ("M001, *10", ["F001", "F002"]), ("?00[12]", ["P010"]), (" , ", NAMES)],
)
def test_names_and_patterns_leave_the_others(patterns, kept):
    assert leave_out(NAMES, patterns, "store") == kept


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("F001,X*", r"'X\*' matches none of store: F001, F002, M001, \.\.\. Correct --leave-out"),
        ("*", "matches all of store"),
    ],
)
def test_a_pattern_that_fits_nobody_or_all_is_an_error(patterns, message):
    with pytest.raises(SettingError, match=message):
        leave_out(NAMES, patterns, "store")
