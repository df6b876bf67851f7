"""One-line descriptions of the fields of store and manifest, for the reference in the documentation."""

from __future__ import annotations

from pydantic import TypeAdapter

from tclr.schemas.store import ClipAttrs, RootAttrs

STATUSES = {
    "ok": "A face was detected, and no check doubts it.",
    "interpolated": "The face was lost briefly and found again in the same place; landmarks are interpolated.",
    "no_face": "No face of this person was detected.",
    "low_confidence": "There is a crop, but its score, size or appearance makes it doubtful.",
    "unreadable": "The frame could not be decoded.",
}

DATASETS = {
    "frames": "Aligned crops, S x S pixels; absent with codec jpeg.",
    "frames_jpeg": "Aligned crops as JPEG files, with codec jpeg.",
    "timestamp": "Time from the clip's start, from the container.",
    "source_frame": "Index of the frame in the video, from 0, or the number in the image's name.",
    "source_name": "File name, for stills without numbers.",
    "status": "Status of the frame; the attribute names lists all statuses.",
    "track": "Number of the face's track.",
    "score": "Confidence of the face detector that the crop shows a face.",
    "sharpness": "Sharpness of the crop; blur lowers it. Compare within a clip only.",
    "bbox": "Box around the landmarks.",
    "landmarks": "Landmarks of the detector, unsmoothed: 478 from mediapipe, 68 from face-alignment.",
    "transform": "Affine map from a source pixel (x, y, 1) to a crop pixel.",
    "pose": "Head pose; + is down, to the right of the picture, anticlockwise.",
    "blendshapes": "Blendshapes of mediapipe; other detectors give none.",
    "au": "AU labels; the attribute names lists the AUs.",
    "au_intensity": "AU labels with intensity; the attribute names lists the AUs.",
}

CLIP_ATTRIBUTES, FILE_ATTRIBUTES = (
    {name: str(field["description"]) for name, field in TypeAdapter(kind).json_schema()["properties"].items()}
    for kind in (ClipAttrs, RootAttrs)
)

MANIFEST = {
    "dataset": FILE_ATTRIBUTES["dataset"],
    "subject": "The person.",
    "clip": "One continuous recording of the person.",
    "state": "done or failed.",
    "reason": "Error of a failed clip, or warning of one that is done; null if none.",
    "share_ok": "n_ok / n_frames.",
    "detect_hash": FILE_ATTRIBUTES["detect_hash"],
    "align_hash": FILE_ATTRIBUTES["align_hash"],
}
"""Columns of the manifest that are not attributes of a clip."""
