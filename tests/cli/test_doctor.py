import json

import pytest

from tclr.cli.main import run
from tclr.pipeline.tools import doctor
from tclr.pipeline.tools.doctor.checks import Finding

WELL = Finding("Python", "ok", "3.11")
LITTLE = Finding("memory", "warning", "1 GB free", "Run tclr preprocess with --workers 1.")
BROKEN = Finding("video decoding", "problem", "cannot decode hevc", "Run: pip install --force-reinstall av")


@pytest.mark.parametrize(
    ("checks", "status", "printed"),
    [
        ([WELL], 0, ""),
        ([WELL, LITTLE], 0, "warning: memory: Run tclr preprocess with --workers 1.\n"),
        (
            [WELL, BROKEN],
            1,
            "problem: video decoding: cannot decode hevc. Run: pip install --force-reinstall av\n",
        ),
    ],
)
def test_table_advice_and_exit_status(monkeypatch, capsys, tmp_path, checks, status, printed):
    monkeypatch.setattr(doctor, "run_checks", lambda folder, tell: iter(checks))
    assert run(["doctor", str(tmp_path)]) == status
    out, err = capsys.readouterr()
    assert err == printed and all(check.name in out and check.found in out for check in checks)
    assert ("All is well." in out) == (checks == [WELL])
    assert run(["doctor", str(tmp_path), "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["checks"] == [vars(check) for check in checks]
    assert len(document["warnings"]) == checks.count(LITTLE) and len(document["failures"]) == checks.count(BROKEN)
