"""Image files keep the values of their samples, whatever these are, or are refused."""

from __future__ import annotations

import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from rambit.cli.rex.image_files import ImageFiles

pillow = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 65536, (6, 9)).astype(np.uint16)
COLOURS = RNG.integers(0, 65536, (6, 9, 4)).astype(np.uint16)


def read(path, **options):
    return ImageFiles(options).source(Path(path), "image").read().x[0].numpy()


def write_png(path, samples, colour):
    """16 bits a sample; each row with another of three filters."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = samples.shape
    rows = [row.astype(">u2").tobytes() for row in samples]
    data = b""
    for y, row in enumerate(rows):
        before = [bytes(len(row)), bytes(2 * channels) + row, rows[y - 1] if y else bytes(len(row))][y % 3]
        data += bytes([y % 3]) + bytes((a - b) % 256 for a, b in zip(row, before, strict=False))
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def write_tiff(path, samples, order, photometric):
    """One strip without compression, of the samples' own type."""
    height, width, channels = samples.shape
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits, kind = 8 * samples.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    begin = 8 + 2 + 12 * 10 + 4
    each = [struct.pack(order + "H" * channels, *[number] * channels) for number in (bits, kind)]
    many = channels > 2  # more than four bytes stand elsewhere
    tags = {
        256: (4, 1, struct.pack(order + "I", width)),
        257: (4, 1, struct.pack(order + "I", height)),
        258: (3, channels, struct.pack(order + "I", begin) if many else each[0].ljust(4, b"\0")),
        259: (3, 1, struct.pack(order + "HH", 1, 0)),
        262: (3, 1, struct.pack(order + "HH", photometric, 0)),
        273: (4, 1, struct.pack(order + "I", begin + 4 * channels)),
        277: (3, 1, struct.pack(order + "HH", channels, 0)),
        278: (4, 1, struct.pack(order + "I", height)),
        279: (4, 1, struct.pack(order + "I", len(data))),
        339: (3, channels, struct.pack(order + "I", begin + 2 * channels) if many else each[1].ljust(4, b"\0")),
    }
    head = ("II" if order == "<" else "MM").encode() + struct.pack(order + "HI", 42, 8)
    entries = b"".join(struct.pack(order + "HHI", tag, *rest[:2]) + rest[2] for tag, rest in tags.items())
    path.write_bytes(head + struct.pack(order + "H", 10) + entries + bytes(4) + each[0] + each[1] + data)


def test_grey_of_16_bits(tmp_path):
    for name in ("a.png", "a.tif"):
        pillow.fromarray(GREY).save(tmp_path / name)
        expected = (GREY / 65535).astype(np.float32)
        assert np.array_equal(read(tmp_path / name, grey=True), expected[None])
        assert np.array_equal(read(tmp_path / name), np.stack([expected] * 3))
    for name in ("tiff_lzw", "tiff_adobe_deflate"):
        pillow.fromarray(GREY).save(tmp_path / "a.tif", compression=name)
        assert np.array_equal(read(tmp_path / "a.tif", grey=True), expected[None])


@pytest.mark.parametrize(("channels", "colour"), [(3, 2), (4, 6)])
def test_colours_of_16_bits(tmp_path, channels, colour):
    expected = (COLOURS[..., :3] / 65535).astype(np.float32).transpose(2, 0, 1)
    write_png(tmp_path / "a.png", COLOURS[..., :channels], colour)
    assert np.allclose(read(tmp_path / "a.png"), expected, rtol=1e-6, atol=0)
    luma = 0.299 * expected[0] + 0.587 * expected[1] + 0.114 * expected[2]
    assert np.allclose(read(tmp_path / "a.png", grey=True), luma[None], rtol=1e-6, atol=0)
    if channels == 3:
        for order in "<>":
            write_tiff(tmp_path / "a.tif", COLOURS[..., :3], order, 2)
            assert np.allclose(read(tmp_path / "a.tif"), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("order", "kind"),  # pillow knows no 32 bits without sign the other way round
    [("<", "u4"), *itertools.product("<>", ["u1", "u2", "i1", "i2", "i4", "f4"])],
)
def test_tiff_of_any_type(tmp_path, order, kind):
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        samples = RNG.normal(0, 100, (6, 9)).astype(dtype)
    else:
        samples = RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (6, 9), dtype, endpoint=True)
    write_tiff(tmp_path / "a.tif", samples[..., None], order, 1)
    scale = {"u1": 255, "u2": 65535}.get(kind, 1)
    expected = (samples / np.float64(scale)).astype(np.float32)[None]
    assert np.array_equal(read(tmp_path / "a.tif", grey=True), expected)
    mean, std = 0.5, max(0.25, float(np.abs(expected).max()) / 100)  # on the scale of the pixels, or there is a warning
    found = read(tmp_path / "a.tif", grey=True, mean=(mean,), std=(std,))
    assert np.allclose(found, (expected - mean) / std, rtol=1e-6, atol=1e-6)


def test_white_that_is_zero(tmp_path):
    for samples, most in ((GREY, 65535), ((GREY >> 8).astype(np.uint8), 255)):
        write_tiff(tmp_path / "a.tif", samples[..., None], "<", 0)
        assert np.allclose(read(tmp_path / "a.tif", grey=True), 1 - samples[None] / most, atol=1e-7)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", "png"),
        ("1", "tif"),
        ("L", "png"),
        ("P", "png"),
        ("P", "gif"),
        ("CMYK", "tif"),
        ("YCbCr", "tif"),
        ("RGB", "bmp"),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_bytes_are_read_as_pillow_shows_them(tmp_path, mode, suffix, grey):
    pixels = (COLOURS[..., :3] >> 8).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    pillow.fromarray(pixels).convert(mode).save(path)
    with pillow.open(path) as image:
        expected = np.array(image.convert("L" if grey else "RGB"), np.float32).reshape(6, 9, -1) / 255
    assert np.array_equal(read(path, grey=grey), expected.transpose(2, 0, 1))
    if mode == "1":
        assert set(np.unique(expected)) == {0.0, 1.0}


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_told_of(tmp_path, mode):
    image = pillow.fromarray((COLOURS[..., :3] >> 8).astype(np.uint8)).convert(mode)
    image.save(tmp_path / "opaque.png")
    expected = np.array(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
    assert np.array_equal(read(tmp_path / "opaque.png"), expected)
    image.putalpha(128)
    image.save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=r"a\.png is transparent in places"):
        assert np.array_equal(read(tmp_path / "a.png"), expected)


def test_only_the_first_of_several_pictures(tmp_path):
    pages = [pillow.fromarray((GREY >> shift).astype(np.uint8)) for shift in (8, 0)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(UserWarning, match=r"a\.tif holds 2 pictures, of which the first is explained"):
        assert np.array_equal(read(tmp_path / "a.tif", grey=True), np.array(pages[0], np.float32)[None] / 255)


def test_a_size_that_no_image_may_have_is_refused(tmp_path):
    pillow.fromarray(GREY).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="size must have at most 67,108,864 positions, got 10000000 x 100"):
        ImageFiles({"size": (10_000_000, 100)})


def test_what_pillow_would_cut_is_refused(tmp_path):
    write_png(tmp_path / "a.png", COLOURS[..., :2], 4)
    with pytest.raises(ValueError, match=r"a\.png has samples of a kind \(LA;16B.*save it as RGB or grey"):
        read(tmp_path / "a.png")
    write_tiff(tmp_path / "a.tif", COLOURS, "<", 5)
    with pytest.raises(ValueError, match=r"a\.tif has samples of a kind \(CMYK;16L, 16 bits\)"):
        read(tmp_path / "a.tif")
    write_tiff(tmp_path / "a.tif", np.full((2, 3, 1), np.nan, np.float32), "<", 1)
    with pytest.raises(ValueError, match=r"a\.tif holds NaN or infinite values"):
        read(tmp_path / "a.tif")


def test_wide_samples_are_scaled_and_turned_like_bytes(tmp_path):
    from PIL import ImageOps

    upright = (GREY >> 8).astype(np.uint8)
    turned = pillow.Exif()
    turned[0x0112] = 6
    found = {}
    for name, samples in (("wide", upright.astype(np.uint16) * 257), ("narrow", upright)):
        pillow.fromarray(samples).save(tmp_path / f"{name}.png", exif=turned)
        found[name] = read(tmp_path / f"{name}.png", grey=True)
        found[name, "sized"] = read(tmp_path / f"{name}.png", grey=True, size=(12, 5))
    assert found["wide"].shape == (1, 9, 6)
    assert np.allclose(found["wide"], found["narrow"], atol=1e-6)
    assert found["wide", "sized"].shape == (1, 12, 5)
    # Bytes are rounded and cut between the two passes of scaling, floats only at the end.
    exact = np.asarray(ImageOps.fit(pillow.fromarray(found["wide"][0]), (5, 12))).clip(0, 1)
    assert np.array_equal(found["wide", "sized"][0], exact)
    assert found["wide", "sized"].min() >= 0
    assert found["wide", "sized"].max() <= 1
