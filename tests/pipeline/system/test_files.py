import os
import time

from tclr.pipeline.system import remove_abandoned
from tclr.pipeline.system.files import ABANDONED_S


def test_abandoned_temporary_files_of_other_machines_are_deleted(tmp_path):
    (tmp_path / "parts").mkdir()
    old, fresh = (tmp_path / "parts" / f".elsewhere~{os.getpid()}~{name}.tmp" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_text("x")
    long_ago_s = time.time() - ABANDONED_S - 60
    os.utime(old, (long_ago_s, long_ago_s))
    remove_abandoned(tmp_path)
    assert fresh.exists() and not old.exists()
