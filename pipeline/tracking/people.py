"""The people of a clip, told apart by position and looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tclr.pipeline.faces import Face, compute_overlap
from tclr.pipeline.tracking.appearance import JUMP, OTHER_PERSON, SAME_PERSON, compare_looks
from tclr.pipeline.tracking.scouting import Scouted
from tclr.schemas.store import NO_TRACK

MIN_OVERLAP = 0.3
"""Overlap with the last box that continues a track. Heads move far less than it allows in one frame."""
PLACE_AFTER_JUMP = 0.05
"""Weight of place against looks where a face is suddenly another: it settles what looks leave open."""
MAX_PEOPLE = 32
"""Most people per clip; faces of others are ignored. Nobody studies a crowd face by face in one clip."""

Owners = list[int | None]
"""The number of the person that each face belongs to; ``None`` for nobody."""


def _assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs of row and column of an (n, m) matrix of costs, at the least total cost."""
    if cost.size and 1 in cost.shape:
        return [divmod(int(cost.argmin()), cost.shape[1])]
    from scipy.optimize import linear_sum_assignment  # half a second, and most clips show one face

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


class Followed:
    """One person followed through a clip: looks, last position, and the last check."""

    def __init__(self, look: np.ndarray) -> None:
        self.looks = [look]
        self.latest = look
        self.bbox: np.ndarray | None = None
        self.last_s = -np.inf
        self.shot = 0
        self.is_absent = False
        self.is_here = False
        self.track = NO_TRACK
        self.is_like = True
        self.checked = -1

    def compare(self, look: np.ndarray) -> float:
        """Return the difference between a look and the nearer of this person's first and last looks."""
        return min(compare_looks(own, look) for own in self.looks)

    def remember(self, look: np.ndarray) -> None:
        """Keep a look as the last one, beside the first."""
        self.looks = [*self.looks[:1], look]

    def jumps(self, look: np.ndarray) -> bool:
        """Return whether a look in this person's place is too far from the one just before to be the same face."""
        return compare_looks(self.latest, look) >= JUMP

    def overlap(self, face: Face) -> float:
        """Return the overlap of a face with this person's last position, 0 after a cut or a longer loss."""
        return compute_overlap(face.bbox, self.bbox) if self.is_here and self.bbox is not None else 0.0


class People:
    """The people of a clip: those scouted, the subject first, then those seen later."""

    def __init__(self, scouted: Scouted | None, *, everyone: bool) -> None:
        known = scouted.people[:MAX_PEOPLE] if scouted is not None else ()
        self.all = [Followed(person.look) for person in known]
        self._n_known = max(len(known), 1)
        self._everyone = everyone

    def at_place(self, face: Face) -> list[int]:
        """Return the people whose last position a face overlaps."""
        return [i for i, person in enumerate(self.all) if person.overlap(face) >= MIN_OVERLAP]

    def assign(self, faces: list[Face], looks: list[np.ndarray]) -> Owners:
        """Return the owner of each face of a frame; add people not seen before."""
        owners: Owners = [None] * len(faces)
        if not faces:
            return owners
        if not self.all:
            first = max(range(len(faces)), key=lambda i: faces[i].size_px)
            self.all.append(Followed(looks[first]))
        overlap = np.array([[person.overlap(face) for face in faces] for person in self.all])
        apart = np.array([[person.compare(look) for look in looks] for person in self.all])
        at_place = overlap >= MIN_OVERLAP
        allowed = (apart < SAME_PERSON) | (at_place & (apart < OTHER_PERSON))
        # scouted people take precedence: one added later may be one of them in another light
        known = np.arange(len(self.all))[:, None] < self._n_known
        # after a jump, looks decide, and place only where they cannot
        jumps = np.array([[person.jumps(look) for look in looks] for person in self.all])
        cost = np.where(allowed, apart - known * (1 + np.where(jumps, PLACE_AFTER_JUMP, 1) * overlap), OTHER_PERSON)
        for i, j in _assign(cost):
            if allowed[i, j]:
                owners[j] = i
        self._assign_unlike(owners, at_place)
        for j, look in enumerate(looks):
            if owners[j] is None and len(self.all) < MAX_PEOPLE and not _hides(faces, owners, j):
                self.all.append(Followed(look))
                owners[j] = len(self.all) - 1
        return owners

    def _assign_unlike(self, owners: Owners, at_place: np.ndarray) -> None:
        """Give faces that look like nobody to the person last seen in that position, or to the only person.

        Light and pose change looks, too: such frames are marked, not lost.
        """
        for j in [j for j, owner in enumerate(owners) if owner is None]:
            free = [i for i in np.flatnonzero(at_place[:, j]).tolist() if i not in owners]
            if not free and not self._everyone and len(owners) == len(self.all) == 1:
                free = [0]
            if free:
                owners[j] = free[0]


def _hides(faces: Sequence[Face], owners: Owners, j: int) -> bool:
    """Return whether a face without an owner is a second detection of one that has an owner."""
    return any(
        owner is not None and compute_overlap(faces[i].bbox, faces[j].bbox) >= MIN_OVERLAP
        for i, owner in enumerate(owners)
    )
