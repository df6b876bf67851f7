import cv2
import numpy as np
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from tclr.pipeline.sources import is_image
from tclr.pipeline.system import read_image_header
from tclr.pipeline.video.images import read_image


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((4, 4), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 4), 200 * 256 + 99, np.uint16), (200, 200, 200)),
        (np.full((4, 4, 3), 200 * 256, np.uint16), (200, 200, 200)),
        (np.dstack([np.full((4, 4), v, np.uint8) for v in (30, 20, 10, 128)]), (10, 20, 30)),
        (np.dstack([np.full((4, 4), 256 * v, np.uint16) for v in (30, 20, 10, 128)]), (10, 20, 30)),
    ],
    ids=["grey", "16-bit grey", "16-bit", "alpha", "16-bit alpha"],
)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_read_image_gives_8_bit_rgb(tmp_path, suffix, pixels, expected):
    path = tmp_path / f"still{suffix}"
    cv2.imwrite(str(path), pixels)
    image, reduction = read_image(path)
    assert image.dtype == np.uint8 and image.shape == (4, 4, 3) and reduction == 1
    assert np.abs(image.astype(int) - expected).max() <= 1  # TIFF and PNG round 16 bits differently


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff"])
def test_read_image_tells_what_cannot_be_decoded(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert read_image(path)[0] is None and read_image(path, 2)[0] is None
    assert read_image(tmp_path / "missing.jpg")[0] is None


def gradient(height=75, width=101):
    return np.dstack(np.broadcast_arrays(np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None], 90.0))


TURNS = {
    1: lambda image: image,
    3: lambda image: np.rot90(image, 2),
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    8: np.rot90,
}


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", TURNS)
def test_reduced_jpeg_is_the_same_picture_upright(tmp_path, reduction, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(gradient().astype(np.uint8)).save(path, quality=95, exif=exif)
    image, applied = read_image(path, reduction)
    # one pixel of the reduced image is the mean of reduction x reduction, the last ones of what is left
    height, width = (-(-side // reduction) for side in (75, 101))
    padded = np.pad(gradient(), ((0, height * reduction - 75), (0, width * reduction - 101), (0, 0)), "edge")
    means = padded.reshape(height, reduction, width, reduction, 3).mean(axis=(1, 3))
    expected = TURNS[orientation](means)
    assert applied == reduction and image.shape == expected.shape
    assert np.abs(image - expected).mean() < 2


def test_grey_jpeg_is_reduced_to_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((75, 101), 100, np.uint8))
    image, reduction = read_image(tmp_path / "a.jpg", 4)
    assert image.shape == (19, 26, 3) and reduction == 4 and np.abs(image.astype(int) - 100).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_only_jpeg_is_reduced(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), gradient().astype(np.uint8))
    path = path.rename(tmp_path / "really-no-jpeg.jpg")
    image, reduction = read_image(path, 4)
    assert image.shape == (75, 101, 3) and reduction == 1


def test_read_image_refuses_other_reductions(tmp_path):
    with pytest.raises(ValueError, match=r"one of \[1, 2, 4, 8\], but got 3"):
        read_image(tmp_path / "a.jpg", 3)


def test_complaints_of_the_decoder_are_logged_by_file_and_not_written(tmp_path, caplog, capfd):
    path = tmp_path / "a.jpg"
    data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1]
    data[3000:3100] = 0
    data.tofile(path)
    with caplog.at_level("INFO", "tclr"):
        assert read_image(path)[0].shape == (64, 64, 3)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(f"{path}: Corrupt JPEG data: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_heic_and_avif_are_upright(tmp_path, suffix, orientation):
    register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    picture = gradient(76, 102)
    Image.fromarray(picture.astype(np.uint8)).save(path, quality=95, exif=exif.tobytes())
    image, reduction = read_image(path, 4)
    expected = TURNS[orientation](picture)
    assert reduction == 1 and image.shape == expected.shape and image.flags.c_contiguous
    assert np.abs(image - expected).mean() < 4
    header = read_image_header(path)
    assert (header.height, header.width) == expected.shape[:2]


def test_a_damaged_heic_is_no_image(tmp_path):
    register_heif_opener()
    Image.fromarray(gradient(76, 102).astype(np.uint8)).save(tmp_path / "a.heic")
    whole = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "a.heic").write_bytes(whole[: len(whole) * 2 // 3])
    assert read_image(tmp_path / "a.heic")[0] is None


@pytest.mark.parametrize("suffix", [".jp2", ".ppm", ".gif", ".jfif", ".pgm"])
def test_other_pictures_are_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(gradient().astype(np.uint8))
    (picture.convert("L") if suffix == ".pgm" else picture).save(path)
    assert is_image(path) and read_image(path)[0].shape == (75, 101, 3)
