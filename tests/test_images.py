"""Image sizes from headers against OpenCV's and Pillow's own writers, and pictures that cannot be used."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gazepipe.errors import StimulusError
from gazepipe.images import MAX_PIXELS, image_size, read_rgb

WIDTH, HEIGHT = 37, 21


def picture() -> np.ndarray:
    """Red to the left, blue to the right, as OpenCV has it (blue first)."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, :18, 2] = 255
    pixels[:, 18:, 0] = 255
    return pixels


def write(path: Path, pixels: np.ndarray | None = None, *options: int) -> Path:
    assert cv2.imwrite(str(path), picture() if pixels is None else pixels, list(options))
    return path


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        pytest.fail(f"{path} was decoded")

    monkeypatch.setattr("gazepipe.images._decode", refuse)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.gif"])
def test_size_from_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "a.gif":  # written by hand: OpenCV has no GIF writer in every build
        path = tmp_path / name
        path.write_bytes(b"GIF89a" + struct.pack("<HH", WIDTH, HEIGHT) + bytes(20))
    else:
        path = write(tmp_path / name)
    no_decoding(monkeypatch)
    assert image_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("quality", [50, 101], ids=["lossy", "lossless"])
def test_webp(tmp_path: Path, quality: int) -> None:
    assert image_size(write(tmp_path / "a.webp", None, cv2.IMWRITE_WEBP_QUALITY, quality)) == (WIDTH, HEIGHT)


def test_progressive_jpeg_and_extended_webp(tmp_path: Path) -> None:
    assert image_size(write(tmp_path / "a.jpg", None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == (WIDTH, HEIGHT)
    path = tmp_path / "b.webp"
    sides = (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    path.write_bytes(b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + sides)
    assert image_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("order", ["<", ">"])
def test_jpeg_on_its_side(tmp_path: Path, order: str) -> None:
    path = write(tmp_path / "a.jpg")
    tiff = (
        (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0) + bytes(4)
    )
    exif = b"Exif\0\0" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert image_size(path) == (HEIGHT, WIDTH)
    assert read_rgb(path).shape == (WIDTH, HEIGHT, 3)


def test_format_without_a_header_reader_is_decoded(tmp_path: Path) -> None:
    assert image_size(write(tmp_path / "a.ppm")) == (WIDTH, HEIGHT)


def test_pixels_are_red_green_blue(tmp_path: Path) -> None:
    rgb = read_rgb(write(tmp_path / "b\u00e4r.png"))
    assert (rgb.shape, rgb.dtype, rgb.flags.c_contiguous) == ((HEIGHT, WIDTH, 3), np.uint8, True)
    assert rgb[0, 0].tolist() == [255, 0, 0]
    assert rgb[-1, -1].tolist() == [0, 0, 255]


def test_grey_and_transparent_images_have_three_channels(tmp_path: Path) -> None:
    grey = read_rgb(write(tmp_path / "a.png", np.full((4, 5), 77, np.uint8)))
    assert grey.shape == (4, 5, 3)
    assert (grey == 77).all()
    assert read_rgb(write(tmp_path / "b.png", np.full((4, 5, 4), 9, np.uint8))).shape == (4, 5, 3)


def test_shrinking_takes_the_mean(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = 60
    pixels[0, 0] = 0
    small = read_rgb(write(tmp_path / "a.png", pixels), (2, 2))
    assert small[0, 0].tolist() == [45, 45, 45]  # of 0, 60, 60, 60
    assert small[1, 1].tolist() == [0, 0, 0]
    assert read_rgb(tmp_path / "a.png", (8, 6)).shape == (6, 8, 3)


def test_missing(tmp_path: Path) -> None:
    for read in (image_size, read_rgb):
        with pytest.raises(StimulusError, match=r"a\.png: there is no such image; check"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp"])
def test_cut_anywhere(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name).read_bytes()
    path = tmp_path / f"cut-{name}"
    for n in range(0, len(data), max(1, len(data) // 64)):
        path.write_bytes(data[:n])
        try:
            assert read_rgb(path).shape == (HEIGHT, WIDTH, 3)  # decoders forgive a missing end
        except StimulusError as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(StimulusError, match=r"a\.png: "):
        image_size(path)


def test_header_of_no_size(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89a" + bytes(26))
    with pytest.raises(StimulusError, match="0 x 0 pixels"):
        image_size(path)


def test_claimed_size_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(write(tmp_path / "a.png").read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    (tmp_path / "a.png").write_bytes(data)
    no_decoding(monkeypatch)
    with pytest.raises(StimulusError, match=f"100000 x 100000 pixels; expected at most {MAX_PIXELS:,}"):
        read_rgb(tmp_path / "a.png")


def test_import_is_light() -> None:
    code = "import sys, gazepipe.images; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_real_images(data_dir: Path) -> None:
    for path in sorted((data_dir / "osie" / "stimuli").glob("*.jpg"))[:20]:
        height, width = cv2.imread(str(path)).shape[:2]
        assert image_size(path) == (width, height) == (800, 600)
