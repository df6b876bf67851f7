import numpy as np

from tclr.pipeline.tools.bench import check_alignment
from tclr.pipeline.tools.bench.alignment import FPS, SIZE_PX, _lag_ms, true_motion
from tclr.schemas.config import AlignConfig


def test_check_alignment_finds_still_crops_and_the_blur_of_too_much_smoothing():
    none, default, much = check_alignment([0.0, AlignConfig().smooth_s, 0.3], n_frames=60)
    assert default.jitter_px <= none.jitter_px < 0.3
    assert default.error_px <= 1.2 * none.error_px < 0.8
    assert much.error_px > 3 * default.error_px
    assert abs(default.lag_ms) < 5  # mediapipe's own filter, which makes it 17, is out of action


def test_lag_of_a_known_delay():
    motion, align = true_motion(200, moving=True), AlignConfig(size=224)
    point = np.array([SIZE_PX / 2, SIZE_PX / 2, 1.0])
    path = motion @ point
    late = np.column_stack([np.interp(np.arange(200) - 0.5, np.arange(200), path[:, axis]) for axis in (0, 1)])
    places = 224 / SIZE_PX * (path - late)  # what slips ahead of a crop that is half a frame late
    assert abs(_lag_ms(places, motion, align) - 0.5 * 1000 / FPS) < 1.5
