"""The package itself: what importing it costs, and what it offers."""

import subprocess
import sys
from importlib.metadata import version

import tclr


def test_the_door_offers_what_it_says_and_its_version():
    offered = {"Analyser", "__version__", "analyse", "fit_au", "load_encoder", "load_features", "open_store", "plot"}
    assert set(tclr.__all__) == offered and tclr.__version__ == version("tclr-face")
    assert offered <= set(dir(tclr))


def test_opening_features_brings_neither_torch_nor_a_detector():
    code = "import sys, tclr; tclr.load_features, tclr.open_store; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "pandas" in loaded and loaded.isdisjoint({"torch", "mediapipe", "dask", "distributed", "matplotlib"})


def test_packages_of_tclr_import_with_and_without_the_door():
    code = "from tclr.schemas import errors; import tclr.pipeline.system, tclr; print(tclr.__file__, errors.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert done[0].endswith("__init__.py") and done[1] == "tclr.schemas.errors"


def test_one_subject_may_be_a_text(made):
    assert set(tclr.load_features(made / "features", "frame", subjects="F001")["subject"]) == {"F001"}
