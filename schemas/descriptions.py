"""What the fields of a store and its manifest mean, one line each, for the reference in the documentation."""

from __future__ import annotations

from pydantic import TypeAdapter

from tclr.schemas.store import ClipAttrs, RootAttrs

STATUSES = {
    "ok": "A face was found, and nothing speaks against it.",
    "interpolated": "The face was lost for a moment and found again in the same place; landmarks lie between.",
    "no_face": "No face of this person was found.",
    "low_confidence": "There is a crop, but it is doubted: by an independent face detector, by its size or its looks.",
    "unreadable": "The frame could not be decoded.",
}

DATASETS = {
    "frames": "Aligned crops, S x S pixels; absent with codec jpeg.",
    "frames_jpeg": "Aligned crops as JPEG files, with codec jpeg.",
    "timestamp": "Time from the clip's start, as the container has it.",
    "source_frame": "Number of the frame in the video, from 0, or the number in the image's name.",
    "source_name": "File name, for stills without numbers.",
    "status": "What became of the frame; the names are in the attribute names.",
    "track": "Number of the face's track.",
    "score": "How sure the face detector is that the crop shows a face.",
    "sharpness": "Blur brings it down; compare within a clip.",
    "bbox": "Box around the landmarks.",
    "landmarks": "Landmarks as the detector gives them, not smoothed; 478 of mediapipe, 68 of face-alignment.",
    "transform": "Maps a pixel of the source, (x, y, 1), to one of the crop.",
    "pose": "Head pose: + is down, to the right of the picture, anticlockwise.",
    "blendshapes": "Blendshapes of mediapipe; other detectors have none.",
    "au": "AU labels; the AUs are in the attribute names.",
    "au_intensity": "AU labels with an intensity; the AUs are in the attribute names.",
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
    "reason": "Error of a failed clip, warning of one that is done; null if there is none.",
    "share_ok": "n_ok / n_frames.",
    "detect_hash": FILE_ATTRIBUTES["detect_hash"],
    "align_hash": FILE_ATTRIBUTES["align_hash"],
}
"""Columns that are not attributes of a clip."""
