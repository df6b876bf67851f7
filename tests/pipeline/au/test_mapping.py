from pathlib import Path

import numpy as np
import pytest

from tclr.pipeline.au import MAPPED_AUS, MAPPING_VERSION, THRESHOLD, predict_from_blendshapes
from tclr.pipeline.au.mapping import RULES
from tclr.pipeline.faces import detect_image
from tclr.schemas.action_units import AU_NAMES, BP4D_AUS, DISFA_AUS, EMOTIONET_AUS, au_column
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import InputError


def faces(**values):
    """Return (1, 52): a neutral face with some blendshapes."""
    row = np.zeros((1, 52), np.float32)
    for name, value in values.items():
        row[0, BLENDSHAPE_NAMES.index(name)] = value
    return row


def slow_prediction(row, name):
    """The mapping of one AU, spelt out with loops."""
    total = 0.0
    for stem, weight in RULES[name].weights.items():
        if stem.endswith("L/R"):
            sides = [row[BLENDSHAPE_NAMES.index(stem[:-3] + side)] for side in ("Left", "Right")]
            total += weight * sum(sides) / 2
        else:
            total += weight * row[BLENDSHAPE_NAMES.index(stem)]
    return min(max(total, 0.0), 1.0)


def test_predict_matches_the_mapping_spelt_out():
    rows = np.random.default_rng(0).random((20, 52)).astype(np.float32)
    expected = [[slow_prediction(row, name) for name in MAPPED_AUS] for row in rows]
    predicted = predict_from_blendshapes(rows)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


def test_a_neutral_face_has_no_au():
    assert (predict_from_blendshapes(faces(_neutral=1.0)) == 0).all()


@pytest.mark.parametrize(
    ("au", "moved"),
    [
        ("AU01", {"browInnerUp": 1}),
        ("AU02", {"browOuterUpLeft": 1, "browOuterUpRight": 1}),
        ("AU04", {"browDownLeft": 1, "browDownRight": 1}),
        ("AU05", {"eyeWideLeft": 1, "eyeWideRight": 1}),
        ("AU12", {"mouthSmileLeft": 1, "mouthSmileRight": 1}),
        ("AU15", {"mouthFrownLeft": 1, "mouthFrownRight": 1}),
        ("AU26", {"jawOpen": 1}),
        ("AU43", {"eyeBlinkLeft": 1, "eyeBlinkRight": 1}),
    ],
)
def test_a_full_action_is_present_and_comes_from_its_own_muscle(au, moved):
    predicted = dict(zip(MAPPED_AUS, predict_from_blendshapes(faces(**moved))[0], strict=True))
    assert predicted[au] >= THRESHOLD
    assert max(predicted, key=lambda name: predicted[name]) == au or predicted[au] == 1


def test_every_au_can_be_reached_and_stays_within_bounds():
    everything = predict_from_blendshapes(np.ones((1, 52)))
    assert ((everything >= THRESHOLD) & (everything <= 1)).all()


def test_one_side_counts_half():
    one = predict_from_blendshapes(faces(browOuterUpLeft=0.5))[0, MAPPED_AUS.index("AU02")]
    both = predict_from_blendshapes(faces(browOuterUpLeft=0.5, browOuterUpRight=0.5))[0, MAPPED_AUS.index("AU02")]
    assert one == pytest.approx(both / 2)


def test_frames_without_a_face_stay_missing():
    rows = np.concatenate([np.full((1, 52), np.nan), np.zeros((1, 52))])
    predicted = predict_from_blendshapes(rows)
    assert np.isnan(predicted[0]).all() and (predicted[1] == 0).all()


@pytest.mark.parametrize("shape", [(3, 51), (52,), (2, 2, 52)])
def test_predict_refuses_another_shape(shape):
    with pytest.raises(InputError, match="52"):
        predict_from_blendshapes(np.zeros(shape))


def test_the_mapping_covers_nearly_all_aus_of_the_protocols():
    wanted = {au_column(number) for number in BP4D_AUS + DISFA_AUS + EMOTIONET_AUS}
    assert wanted - set(MAPPED_AUS) == {"AU09", "AU14"}  # their blendshapes hardly move in this model
    assert all(int(name[2:]) in AU_NAMES and rule.reason for name, rule in RULES.items())
    assert list(MAPPED_AUS) == sorted(MAPPED_AUS)


def test_a_smiling_portrait_has_au12(portrait):
    """Scikit-image's astronaut smiles with parted lips, her jaw is not dropped and her eyes are open."""
    (face,) = detect_image(portrait)
    predicted = dict(zip(MAPPED_AUS, predict_from_blendshapes(face.blendshapes[None])[0], strict=True))
    assert predicted["AU12"] >= THRESHOLD
    assert max(predicted["AU26"], predicted["AU43"], predicted["AU15"]) < THRESHOLD


def documented_table():
    """The rows of docs/blendshape-aus.md that say what the mapping is."""
    for name, rule in RULES.items():
        terms = " + ".join(f"{weight:g} {blendshapes}" for blendshapes, weight in rule.weights.items())
        yield f"| {name} {AU_NAMES[int(name[2:])]} | {terms} | {rule.reason} |"


def test_the_documented_table_is_the_mapping():
    text = (Path(__file__).resolve().parents[3] / "docs/blendshape-aus.md").read_text()
    head = "| AU | sum | why |\n|---|---|---|\n"
    assert head + "\n".join(documented_table()) + "\n\n" in text
    assert f"mapping version {MAPPING_VERSION} " in text
