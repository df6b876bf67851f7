"""Published evaluation protocols: the subjects and Action Units that are tested together.

The subject lists are those of JAA-Net (Shao, Liu, Cai and Ma, ECCV 2018), which later work uses, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tclr.schemas.action_units import BP4D_AUS, DISFA_AUS, EMOTIONET_AUS, au_column


@dataclass(frozen=True)
class FoldProtocol:
    """Cross-validation on fixed parts of a dataset's subjects.

    ``tested`` holds the test subjects of each fold; all others train. Only clips whose names start with ``clip`` are
    used. ``published`` maps methods to their mean F1 in percent.
    """

    name: str
    dataset: str
    au_names: tuple[str, ...]
    tested: tuple[tuple[str, ...], ...]
    clip: str
    published: dict[str, float]

    @property
    def subjects(self) -> frozenset[str]:
        """All subjects."""
        return frozenset(subject for fold in self.tested for subject in fold)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_BP4D_A = _split("F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008")
_BP4D_B = _split("M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005")
_BP4D_C = _split("F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014")
_DISFA_A = _split("SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016")
_DISFA_B = _split("SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024")
_DISFA_C = _split("SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004")

FOLD_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        FoldProtocol(
            "bp4d-3fold",
            "bp4d",
            tuple(map(au_column, BP4D_AUS)),
            (_BP4D_C, _BP4D_B, _BP4D_A),
            "",
            {"FMAE-IAT": 67.1, "AU-Net": 65.0},
        ),
        FoldProtocol(
            "disfa-3fold",
            "disfa",
            tuple(map(au_column, DISFA_AUS)),
            (_DISFA_C, _DISFA_B, _DISFA_A),
            "left",  # published results use the 130,788 frames of one camera
            {"FMAE-IAT": 70.1, "AU-Net": 66.1},
        ),
    )
}
"""Protocols by name."""

EMOTIONET = "emotionet"
EMOTIONET_AU_NAMES = tuple(map(au_column, EMOTIONET_AUS))
CROSS = "cross:"
AUS_OF_DATASET = {protocol.dataset: protocol.au_names for protocol in FOLD_PROTOCOLS.values()}
AUS_OF_DATASET[EMOTIONET] = EMOTIONET_AU_NAMES
"""Scored AUs by dataset; a dataset may have labels of more."""
