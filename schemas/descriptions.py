"""What the fields of a store and its manifest mean, one line each, for the reference in the documentation."""

from __future__ import annotations

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

CLIP_ATTRIBUTES = {
    "n_ok": "Frames with status ok.",
    "n_interpolated": "Frames with status interpolated.",
    "n_no_face": "Frames with status no_face.",
    "n_low_confidence": "Frames with status low_confidence.",
    "n_unreadable": "Frames with status unreadable.",
    "n_tracks": "Tracks: one more than there are cuts and losses.",
    "duration_s": "Time from the first frame to the last, in seconds.",
    "median_score": "Median score of the frames with a face; NaN without any.",
    "median_sharpness": "Median sharpness of the frames with a face; NaN without any.",
    "median_face_px": "Median larger side of the face's box in source pixels; NaN without any face.",
    "median_abs_yaw": "Median of the head's turn to either side in radians; NaN without any face.",
    "source": "Path of the video or folder of images, below the source folder.",
    "source_sha256": "SHA-256 of the source's bytes.",
    "source_fingerprint": "Digest of the clip's files, labels included: tells whether it must be done again.",
    "source_clip": "The clip's name in the source; clips of --faces all have one in common.",
    "n_people": "Clips that this recording gave: people, with --faces all, else 1.",
    "reduction": "2 where JPEG images were decoded at half size, 4 at a quarter, else 1.",
    "fps": "Frames a second of the source.",
    "width": "Width of the picture as shown, in pixels.",
    "height": "Height of the picture as shown, in pixels.",
    "n_frames": "Frames of the clip: rows of each dataset.",
    "detector": "Detector and the weights it had.",
    "warning": "What is odd about the clip; empty if nothing is.",
}

FILE_ATTRIBUTES = {
    "format": "tclr-store.",
    "format_version": "Version of the format; newer ones are refused.",
    "dataset": "Layout of the source: bp4d, disfa, emotionet, voxceleb2 or folder.",
    "subject": "The person.",
    "created": "When the file was assembled, in UTC (ISO 8601).",
    "tclr_version": "Version of tclr that assembled it.",
    "detect_config": "Settings of detection, as JSON.",
    "align_config": "Settings of alignment, as JSON.",
    "detect_hash": "Digest of detect_config.",
    "align_hash": "Digest of align_config.",
    "complete": "Written last: a file without it is not read.",
}

MANIFEST = {
    "dataset": FILE_ATTRIBUTES["dataset"],
    "subject": "The person.",
    "clip": "One continuous recording of the person.",
    "state": "done or failed.",
    "reason": "Error of a failed clip, warning of one that is done; null if there is none.",
    "share_ok": "n_ok / n_frames.",
    "detect_hash": FILE_ATTRIBUTES["detect_hash"],
    "align_hash": FILE_ATTRIBUTES["align_hash"],
    "tclr_version": "Version of tclr that made the clip.",
}
"""Columns that are not attributes of a clip."""
