"""A folder with demo clips, and the store and features that one call made of them."""

import pytest

import tclr
from tclr.pipeline.tools.synth import write_demo
from tclr.pipeline.video import probe, read_frames


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return a folder with ``clips``, their ``store``, and ``features`` with embeddings and blendshapes."""
    folder = tmp_path_factory.mktemp("api")
    write_demo(folder / "clips", subjects=2, tasks=1, frames=16)
    kept = {"store": folder / "store", "features": folder / "features"}
    tclr.analyse(folder / "clips", embedding="wide", blendshapes=True, hidden="keep", progress=False, **kept)
    return folder


@pytest.fixture(scope="session")
def clip_frames(made):
    """The 16 frames of a demo clip, 25 per second."""
    from tclr.pipeline.sources import find_clips

    return [frame.image for frame in read_frames(probe(find_clips(made / "clips")[0], image_fps=25))]
