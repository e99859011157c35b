import os

import numpy as np
import pytest
from PIL import Image

from vfijax.media import MediaError, read_image, write_image

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
GREY = PICTURE[..., 0]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".ppm", ".PNG"])
def test_lossless_formats_give_back_every_pixel(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", PICTURE)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), PICTURE)


def test_grey_becomes_rgb(tmp_path):
    write_image(tmp_path / "grey.png", GREY)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.stack([GREY] * 3, -1))


def test_sixteen_bits_are_reduced_to_the_upper_eight(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png")[..., 0], GREY)


def test_palettes_become_rgb(tmp_path):
    Image.fromarray(PICTURE).quantize(256).save(tmp_path / "palette.png")
    image = read_image(tmp_path / "palette.png")
    assert image.shape == PICTURE.shape
    assert np.array_equal(image, np.asarray(Image.open(tmp_path / "palette.png").convert("RGB")))


def with_alpha(value: int) -> Image.Image:
    return Image.fromarray(np.dstack([PICTURE, np.full((9, 13), value, np.uint8)]))


def test_an_opaque_alpha_channel_is_accepted(tmp_path):
    with_alpha(255).save(tmp_path / "opaque.png")
    assert np.array_equal(read_image(tmp_path / "opaque.png"), PICTURE)


@pytest.mark.parametrize("value", [0, 254])
def test_transparency_is_refused_by_name(tmp_path, value):
    with_alpha(value).save(tmp_path / "glass.png")
    with pytest.raises(MediaError, match=r"glass\.png: has an alpha channel with transparent pixels"):
        read_image(tmp_path / "glass.png")


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(PICTURE).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(PICTURE, -1))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    write_image(path, PICTURE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cut\.\w+: cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    (tmp_path / "text.png").write_bytes(content)
    with pytest.raises(MediaError, match=r"text\.png: cannot be read as an image"):
        read_image(tmp_path / "text.png")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")


def test_floating_point_samples_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(MediaError, match=r"float\.tif: has floating-point samples"):
        read_image(tmp_path / "float.tif")


UNWRITABLE = {
    "unknown suffix": ("a.xyz", PICTURE, r"cannot write \.xyz; use one of \.png"),
    "no suffix": ("a", PICTURE, "cannot write a name without suffix"),
    "floats": ("a.png", PICTURE / 255, r"image is float64 \[9, 13, 3\]; give uint8"),
    "four channels": ("a.png", np.zeros((4, 4, 4), np.uint8), r"image is uint8 \[4, 4, 4\]"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_cannot_be_written_is_refused(tmp_path, case):
    name, image, message = UNWRITABLE[case]
    with pytest.raises(MediaError, match=message):
        write_image(tmp_path / name, image)
    assert not os.listdir(tmp_path)


def test_a_failed_write_keeps_the_older_image(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, PICTURE)
    before = path.read_bytes()

    def fail(self, target, **_):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match=r"cannot write .*a\.png: No space left on device"):
        write_image(path, PICTURE)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_image(tmp_path / "none" / "a.png", PICTURE)
