"""A process that reads files that may crash it, with little memory: what a hostile HDF5 file does is seen from outside.

Reads lines ``<kind> <path>``, answers ``ok``, ``refused`` or what went wrong.
"""

import os
import resource
import sys
import traceback
from pathlib import Path

import numpy as np

from tclr.pipeline.features import FeatureClips, embeddings_of, load, values_of
from tclr.pipeline.store import Store, assemble_subject, find_damage, known_clips, scan_clips, summarise_store
from tclr.pipeline.store.damage import verify_clip
from tclr.pipeline.system import read_metadata
from tclr.schemas.errors import TclrError

EXTRA_BYTES = 2**30
"""How much may be allocated beyond what the process has: no file here is larger than 200 kB."""


def attempt(read):
    try:
        read()
    except TclrError as error:
        assert len(str(error).splitlines()) == 1, f"more than one line: {error}"
        return 1
    return 0


def read_clips(root):
    with Store(root) as store:
        for info in store.clips:
            verify_clip(store, info)
            for name in set(store.fields(info)) - {"frames", "frames_jpeg"}:
                store.read(info, name)
            store.names(info, "au"), store.names(info, "blendshapes")
            store.read_crops(info), store.read_crops_at(info, np.arange(info.n_frames))
            store.crop_size()


def join(root):
    path = next((root / "subjects").iterdir())
    for info in scan_clips(path)[0]:
        assemble_subject(root / "joined.h5", {info.clip: (path,)}, info.root)


def read_store(root):
    results = [attempt(lambda: read_clips(root)), attempt(lambda: summarise_store(root)), attempt(lambda: join(root))]
    attempt(lambda: list(find_damage(root)))
    return any(results)


def read_clip_features(root):
    clips = FeatureClips(root)
    clips.metadata()
    for subject, clip in clips.paths:
        table = clips.read(subject, clip, clips.columns)
        embeddings_of(table)
        for name in clips.au_columns:
            values_of(table, name)


def read_features(root):
    return any([attempt(lambda: load(root)), attempt(lambda: read_clip_features(root))])


def read_manifest(root):
    known_clips(root)
    return attempt(lambda: read_metadata(root / "manifest.parquet"))


KINDS = {"store": read_store, "features": read_features, "manifest": read_manifest}

if __name__ == "__main__":
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", flush=True)
    for line in sys.stdin:
        kind, path = line.split()
        try:
            answer = "refused" if KINDS[kind](Path(path)) else "ok"
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
            answer = f"{type(error).__name__}: {' '.join(str(error).split())[:300]} at {places}"
        print(answer, flush=True)
