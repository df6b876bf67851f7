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

    def existing(self, info: ClipInfo) -> dict[str, Any] | None:
        """Return the metadata of the clip's file; None if there is no readable one."""
        path = self.path(info)
        try:
            return read_metadata(path) if path.is_file() else None
        except StoreError:
            return None


def describe_choices(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return in words which choices of the user made a file what it is and differ from those of now; [] if none does.

    What follows from the store is no choice: a clip that was preprocessed again, labels that were added, a new version
    of tclr that gives the same numbers.

    >>> describe_choices({"au_source": "box:1", "settings": {"hidden": "keep"}}, {"au_source": "face:2"})
    ['AUs from box', "hidden 'keep'"]
    """
    told = []
    encoder, other = before.get("encoder") or {}, now.get("encoder") or {}
    if encoder.get("digest") != other.get("digest"):
        told.append(f"another encoder ({encoder.get('arch', 'unknown')})" if encoder else "no encoder")
    elif encoder.get("precision", "fp32") != other.get("precision", "fp32"):
        told.append(f"precision {encoder.get('precision', 'fp32')}")
    if any(before.get(name) != now.get(name) for name in ("au_source", "au_thresholds", "au_smooth_s")):
        told.append(_describe_source(before, now))
    settings, wanted = before.get("settings") or {}, now.get("settings") or {}
    names = [name for name in sorted({*settings, *wanted}) if settings.get(name) != wanted.get(name)]
    names = [name for name in names if name != "smooth_s"]  # what is in effect is compared above
    told += [
        "all columns" if (name, settings.get(name)) == ("columns", "") else f"{name} {settings.get(name)!r}"
        for name in names
    ]
    told += ["other neutral frames"] if before.get("neutral", []) != now.get("neutral", []) else []
    if not told and _chosen_columns(before) != _chosen_columns(now):
        told.append("other columns")
    return told


def _describe_source(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the AUs' source of a file, or what differs of it if it has the same name."""
    name, other = (str(metadata.get("au_source", "none")).partition(":")[0] for metadata in (before, now))
    if name != other:
        return f"AUs from {name}" if name != "none" else "no AUs"
    if before.get("au_source") != now.get("au_source"):
        return f"AUs from another {name}" if name == "head" else f"AUs from another version of {name}"
    return f"smoothing over {before.get('au_smooth_s')} s"


def _chosen_columns(metadata: dict[str, Any]) -> set[str]:
    """Return the columns but for those that depend on what the store has: labels and names of pictures."""
    return {name for name in metadata.get("columns") or () if not name.endswith("_true") and name != "source_name"}


def subject_folder(features: Path, subject: str) -> Path:
    """Return the folder of a subject's files."""
    return features / f"{PARTITION}{subject}"
