"""What the exports of all clips share, and the provenance of their files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from tclr.pipeline.au import SIGHT_VERSION
from tclr.pipeline.encoder import EncoderInfo
from tclr.pipeline.export.au_source import AuSource
from tclr.pipeline.export.neutral import NeutralFrames
from tclr.pipeline.features import PARTITION
from tclr.pipeline.geometry import GAZE_VERSION
from tclr.pipeline.store import ClipInfo
from tclr.pipeline.system import read_metadata
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import StoreError
from tclr.schemas.features import FORMAT, FORMAT_VERSION, HIDDEN_BELOW


@dataclass(frozen=True)
class ExportJob:
    """What the exports of all clips share. It is sent to the workers, so it has no encoder.

    ``store`` is read and ``features`` written; ``run`` holds ``features``, see ``lock_folder``. Every file has the
    columns of ``schema``; ``labelled_aus`` have an ``AUxx_true`` column, and ``source`` is where AUs come from.
    ``encoder``, with the digest of its weights, is None if no column needs one; ``precision`` is its arithmetic: that
    of ``config``, or the measured one. ``neutral`` are frames that someone says show people at rest.
    ``sees`` says whether a column needs what can be seen on the crops.
    """

    store: Path
    features: Path
    run: str
    schema: pa.Schema
    labelled_aus: tuple[str, ...]
    source: AuSource
    encoder: EncoderInfo | None
    encoder_digest: str
    config: EmbedConfig
    precision: str = "fp32"
    neutral: tuple[NeutralFrames, ...] = ()
    sees: bool = False

    def path(self, info: ClipInfo) -> Path:
        """Return the clip's file."""
        return subject_folder(self.features, info.subject) / f"{info.clip}.parquet"

    def metadata(self, info: ClipInfo) -> dict[str, Any]:
        """Return the metadata of the clip's file, as JSON can hold them."""
        encoder = None
        if self.encoder is not None:
            encoder = {"digest": self.encoder_digest, **json.loads(json.dumps(self.encoder.brief()))}
            encoder |= {} if self.precision == "fp32" else {"precision": self.precision}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tclr_version": version("tclr-face"),
            "dataset": info.dataset,
            "subject": info.subject,
            "clip": info.clip,
            **{name: getattr(info.attrs, name) for name in ("source", "source_sha256", "fps", "detector")},
            **({"start_s": info.attrs.start_s} if info.attrs.start_s else {}),
            "detect_hash": info.root.detect_hash,
            "align_hash": info.root.align_hash,
            **info.root.settings,
            "pose": "landmarks:v1",
            "gaze": GAZE_VERSION,
            "encoder": encoder,
            "sight": {"judge": SIGHT_VERSION, "hidden_below": HIDDEN_BELOW} if self.sees else None,
            **self.source.provenance(),
            "settings": self.config.model_dump(mode="json", exclude={"batch_size", "precision"}),
            "neutral": [asdict(frames) for frames in self.neutral if frames.subject == info.subject],
            "columns": self.schema.names,
        }

    def is_done(self, info: ClipInfo) -> bool:
        """Return whether the clip's file exists and is what this job would write."""
        path = self.path(info)
        try:
            return path.is_file() and read_metadata(path) == self.metadata(info)
        except StoreError:
            return False


def subject_folder(features: Path, subject: str) -> Path:
    """Return the folder of a subject's files."""
    return features / f"{PARTITION}{subject}"
