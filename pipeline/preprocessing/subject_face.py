"""The picture of the subject's face that a setting names: read once, before any worker needs it.

Workers get its texture. Settings that are stored have its digest in place of its path.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from tclr.pipeline.faces import detect_image
from tclr.pipeline.sources import Pseudonyms
from tclr.pipeline.tracking import describe_texture
from tclr.pipeline.video import read_image
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import InputError


def read_subject_face(config: PreprocessConfig, pseudonyms: Pseudonyms | None = None) -> PreprocessConfig:
    """Return the settings with the picture of ``detect.subject_face`` read; the same if there is none.

    With ``pseudonyms`` the digest is keyed: without the key nobody can confirm which picture it was.

    Raises
    ------
    InputError
        If the picture cannot be read, or does not show one face.

    Examples
    --------
    >>> from tclr.schemas.config import DetectConfig
    >>> config = PreprocessConfig(DetectConfig(subject_face="clips/2D+3D/F001/T1/0966.jpg"))
    >>> ready = read_subject_face(config)
    >>> len(ready.detect.subject_face), ready.subject_texture.shape
    (64, (4356,))
    """
    if not config.detect.subject_face:
        return config
    path = Path(config.detect.subject_face)
    image = read_image(path, limits=config.limits)[0]
    if image is None:
        raise InputError(f"Expected a picture of the subject's face, but cannot read {path}. Check --subject-face.")
    faces = detect_image(image, config.detect)
    if len(faces) != 1:
        raise InputError(
            f"Expected one face in the picture of the subject, but found {len(faces) or 'none'} in {path}. "
            "Cut the subject's head out of it, with some room around, or name the subject with --subject-at."
        )
    digest = hashlib.sha256(path.read_bytes()).digest()
    name = pseudonyms.seal(digest) if pseudonyms else digest.hex()
    detect = config.detect.model_copy(update={"subject_face": name})
    return replace(config, detect=detect, subject_texture=describe_texture(image, faces[0].landmarks))
