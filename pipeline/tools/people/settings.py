"""What determines photo people."""

from __future__ import annotations

from dataclasses import dataclass

from tclr.schemas.errors import SettingError

RANGES: dict[str, tuple[float, float]] = {
    "people": (1, 10_000),
    "clips": (1, 26),
    "frames": (10, 100_000),
    "width": (96, 2160),
    "height": (96, 2160),
    "seed": (0, 2**32 - 1),
    "occluded": (0, 1),
}


@dataclass(frozen=True)
class PeopleSettings:
    """The same settings give the same labels and geometry.

    Raises
    ------
    SettingError
        If a value is outside its range.
    """

    people: int = 202
    clips: int = 2
    """Of each person."""
    frames: int = 75
    """Of each clip, at 25 frames/s."""
    width: int = 240
    height: int = 300
    seed: int = 0
    occluded: float = 0.25
    """Share of clips in which something comes before the face."""
    all_portraits: bool = False
    """Whether people are also made of the portraits that judge models."""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingError(
                    f"Expected '{name}' between {low} and {high}, but got {value}. Choose a value in this range."
                )
        if self.width % 2 or self.height % 2:
            raise SettingError(f"Expected an even width and height, but got {self.width}x{self.height}. Add one.")
