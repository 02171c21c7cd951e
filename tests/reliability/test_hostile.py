"""Files made to do harm: each is refused in one sentence, and nothing outside the store is read, written or deleted."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from survival import told

from gazepipe import store
from gazepipe.config import StudyConfig, template
from gazepipe.documents import write_json
from gazepipe.enrol import load_gallery
from gazepipe.errors import GazepipeError
from gazepipe.images import image_size, read_rgb
from gazepipe.integrity import check_store
from gazepipe.map_folder import MapFolder
from gazepipe.models import check_weights, read_model
from gazepipe.predicted import SUMMARY, predicted_rows
from gazepipe.readers import read_recording, recordings_in_archive
from gazepipe.recipe import Recipe
from gazepipe.study import Study, check_label

KIND = "gazepipe.psm"
SECRET = b"TOP-SECRET-BYTES" * 4

Build = Callable[[Path], Callable[[], object]]
HOSTILE: dict[str, Build] = {}


def hostile(build: Build) -> Build:
    """A file to be tried: given a folder, writes it and returns what reads it."""
    HOSTILE[build.__name__] = build
    return build


# ---- HDF5 ------------------------------------------------------------------------------------------------------------


def hdf5(change: Callable[[h5py.File, Path], None]) -> None:
    """A stored file with something more in it."""

    def build(folder: Path) -> Callable[[], object]:
        path = folder / "u.h5"
        store.save(path, KIND, {"maps": np.ones((2, 3, 4), np.float16)}, recipe=Recipe("t", 1, {}, {}))
        with h5py.File(path, "r+") as file:
            change(file, folder)
        return lambda: store.load(path, KIND)

    HOSTILE[f"hdf5 {change.__name__}"] = build


def at(name: str) -> Callable[[Callable[[h5py.File, Path], None]], None]:
    def named(change: Callable[[h5py.File, Path], None]) -> None:
        change.__name__ = name
        hdf5(change)

    return named


@at("link into another file")
def _(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.arange(4)
    file["table/n"] = h5py.ExternalLink(str(folder / "other.h5"), "/x")


@at("soft link")
def _(file: h5py.File, folder: Path) -> None:
    file["again"] = h5py.SoftLink("/maps")


@at("soft link in a circle")
def _(file: h5py.File, folder: Path) -> None:
    file["self"] = h5py.SoftLink("/")


@at("data kept in another file")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("steal", (64,), "u1", external=[(str(folder.parent / "victim" / "secret"), 0, 64)])


@at("virtual data set")
def _(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((64,), "u1")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (64,))
    file.create_virtual_dataset("virtual", layout)


@at("filter that is a plug-in")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("lzf", data=np.arange(100), compression="lzf")


@at("filter of HDF5 that no store uses")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("so", data=np.arange(100), chunks=(100,), scaleoffset=0)


@at("text of variable length")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())


@at("lists of variable length")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("lists", (3,), h5py.vlen_dtype(np.int32))


@at("references to objects")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("refs", (3,), h5py.ref_dtype)


@at("compound type")
def _(file: h5py.File, folder: Path) -> None:
    file["rows"] = np.zeros(3, [("a", "i4"), ("b", "f4")])


@at("opaque type")
def _(file: h5py.File, folder: Path) -> None:
    file["raw"] = np.zeros(3, "V16")


@at("named type")
def _(file: h5py.File, folder: Path) -> None:
    file["type"] = np.dtype("f8")


@at("groups in groups")
def _(file: h5py.File, folder: Path) -> None:
    file["/".join("abcdefghijkl")] = 1


@at("half a gigabyte of zeros")
def _(file: h5py.File, folder: Path) -> None:
    chunk = zlib.compress(bytes(1 << 26), 9)
    bomb = file.create_dataset("bomb", (8 << 26,), "u1", chunks=(1 << 26,), compression="gzip")
    for k in range(8):
        bomb.id.write_direct_chunk((k << 26,), chunk)


@at("eight terabytes that were never written")
def _(file: h5py.File, folder: Path) -> None:
    file.create_dataset("huge", (1 << 20, 1 << 20), "f8", chunks=(1024, 1024), compression="gzip")


@at("a bomb under many names")
def _(file: h5py.File, folder: Path) -> None:
    bomb = file.create_dataset("bomb", (1 << 24,), "u1", chunks=(1 << 24,), compression="gzip")
    bomb.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 24), 9))
    for k in range(40):
        file[f"b{k}"] = np.zeros(0)
        file.create_dataset(f"c{k}", (1 << 24,), "u1", chunks=(1 << 24,), compression="gzip")


@at("ten thousand groups")
def _(file: h5py.File, folder: Path) -> None:
    for k in range(10_001):
        h5py.h5g.create(file.id, b"g%d" % k)


@at("attribute that is a reference")
def _(file: h5py.File, folder: Path) -> None:
    file.attrs["ref"] = file["maps"].ref


@at("attribute of 80 MB")
def _(file: h5py.File, folder: Path) -> None:
    file["maps"].attrs.create("big", np.zeros(80 << 17), dtype="f8")


# ---- archives --------------------------------------------------------------------------------------------------------


def archive(name: str, fill: Callable[[zipfile.ZipFile], None]) -> None:
    def build(folder: Path) -> Callable[[], object]:
        path = folder / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("p/gaze.csv", "time_ms,x_px,y_px\n0,1,1\n4,1,1\n")
            fill(file)
        return lambda: recordings_in_archive(path)

    HOSTILE[f"zip {name}"] = build


def _member(name: str, **fields: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


archive("name with ..", lambda file: file.writestr("../../victim/escaped.csv", "x"))
archive("absolute name", lambda file: file.writestr("/escaped.csv", "x"))
archive("name with a backslash", lambda file: file.writestr(_member("..\\..\\victim\\b.csv"), "x"))
archive("link", lambda f: f.writestr(_member("l.csv", create_system=3, external_attr=0o120777 << 16), "/etc/passwd"))
archive("bomb", lambda file: file.writestr("b.csv", b"0," * (25 << 20)))
archive("archive in the archive", lambda file: file.writestr("b.zip", b"PK"))
archive("one name twice", lambda file: (file.writestr("b.csv", "x"), file.writestr("B.csv", "y"))[0])
archive("too many files", lambda file: [file.writestr(f"{k}.csv", "") for k in range(5001)].clear())


@hostile
def zip_that_lies_about_its_sizes(folder: Path) -> Callable[[], object]:
    """The table says 100 bytes; 50 MB come out."""
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("b.csv", b"time_ms,x_px,y_px\n" + b"0,1,1\n" * (8 << 20))
    data = path.read_bytes().replace(struct.pack("<I", 18 + 6 * (8 << 20)), struct.pack("<I", 100))
    path.write_bytes(data)
    return lambda: read_recording(path / "b.csv", StudyConfig())


# ---- images and maps -------------------------------------------------------------------------------------------------


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes((width + 7) // 8 + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def image(name: str, data: Callable[[], bytes]) -> None:
    def build(folder: Path) -> Callable[[], object]:
        path = folder / name
        path.write_bytes(data())
        return lambda: read_rgb(path)

    HOSTILE[f"image {name}"] = build


image("gigapixel.png", lambda: _png(20_000, 20_000))
image("claims.jpg", lambda: b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65535, 65535, 3) + bytes(40))
image("claims.gif", lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(40))
image("claims.bmp", lambda: b"BM" + bytes(12) + struct.pack("<Iii", 40, 1 << 20, -(1 << 20)) + bytes(40))
image("claims.webp", lambda: b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + b"\xff" * 6 + bytes(10))
image("empty.png", lambda: b"")


@hostile
def image_whose_header_is_not_known_here(folder: Path) -> Callable[[], object]:
    """A TIFF of 50000 x 50000 pixels: OpenCV itself has to refuse it."""
    path = folder / "claims.tif"
    tags = [(256, 50_000), (257, 50_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 50_000), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4))
    return lambda: image_size(path)


@hostile
def map_that_is_a_pickle(folder: Path) -> Callable[[], object]:
    class Opened:
        def __reduce__(self) -> Any:
            return Path.write_text, (folder.parent / "victim" / "escaped", "x")

    np.save(folder / "i.npy", np.array([Opened()], object), allow_pickle=True)
    return lambda: MapFolder(folder, (3, 4), "--usm").find(Path("i.png"))


@hostile
def map_that_fills_the_memory(folder: Path) -> Callable[[], object]:
    """A MATLAB file of some kilobytes, 16 GB of zeros."""
    body = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 1 << 16, 1 << 15)
    body += struct.pack("<HHI", 1, 1, ord("x")) + struct.pack("<II", 9, 0xFFFFFFF0)
    packed = zlib.compress(struct.pack("<II", 14, len(body)) + body + bytes(1 << 20))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (folder / "i.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    return lambda: MapFolder(folder, (3, 4), "--usm").find(Path("i.png"))


# ---- weights ---------------------------------------------------------------------------------------------------------


def weights(name: str, data: Callable[[], bytes], read: Callable[[Path], object] = check_weights) -> None:
    def build(folder: Path) -> Callable[[], object]:
        path = folder / "embedding.safetensors"
        path.write_bytes(data())
        return lambda: read(path)

    HOSTILE[f"weights {name}"] = build


def _header(header: str, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + rest


def _bomb() -> bytes:
    """A description of a network of 4 TB with weights of 4 bytes."""
    about = {"format_version": "1.0", "network": "refiner", "arguments": {"widths": [1 << 20, 1 << 20, 8]}}
    meta = {"gazepipe": json.dumps(about)}
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return _header(json.dumps({"__metadata__": meta, "x": tensor}), bytes(4))


weights("header longer than the file", lambda: struct.pack("<Q", 1 << 60) + b"{}")
weights("header nested", lambda: _header("[" * 200_000))
weights("metadata nested", lambda: _header(json.dumps({"__metadata__": {"gazepipe": "[" * 200_000, "digest": "0"}})))
weights("no header", lambda: _header("true"))
weights(
    "tensor outside", lambda: _header(json.dumps({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}))
)
weights("pickle", lambda: b"\x80\x04cposix\nsystem\n(S'true'\ntR.")
weights("network of terabytes", _bomb, lambda path: read_model(path, "refiner"))


# ---- names -----------------------------------------------------------------------------------------------------------


def user_name(name: str) -> None:
    HOSTILE[f"user {name!r}"] = lambda folder: lambda: check_label(name, "--user")


for _name in (
    "../../x",
    "a/b",
    "..",
    "",
    "CON",
    "nul",
    "a\0b",
    "x" * 300,
    "u\u202etxt",
    "-rf",
    "u:1",
    "a ",
    "é",
    "$HOME",
):
    user_name(_name)


@hostile
def manifest_that_names_another_place(folder: Path) -> Callable[[], object]:
    study = _study(folder)
    study.write_manifest("ingest", {"recordings": {"../../victim/secret": {"user": "a"}}})
    return lambda: [study.recording_file(name) for name in study.known_recordings()]


@hostile
def gallery_that_names_another_place(folder: Path) -> Callable[[], object]:
    study = _study(folder)
    texts = {"user": "../../victim", "role": "test", "nearest": ""}
    numbers = dict.fromkeys(("n_pairs", "dispersion", "nearest_cosine", "margin", "d_prime"), 1.0)
    table = {f"table/{k}": np.array([v]) for k, v in (texts | numbers).items()}
    arrays = {"embedding": np.ones((1, 4), np.float32), **table}
    store.save(study.gallery_file, "gazepipe.gallery", arrays, recipe=Recipe("enrol", 1, {}, {}), attrs={"model": "0"})
    return lambda: load_gallery(study)


@hostile
def summary_of_predictions_that_names_another_place(folder: Path) -> Callable[[], object]:
    row = {"user": "gone", "array": "../../victim/secret", "overlay": "../../victim/secret", "recipe": ""}
    write_json(folder / "predictions" / SUMMARY, {"predictions": [row]})

    def read() -> None:
        if predicted_rows(folder / "predictions") == {}:
            msg = "taken as damaged: no map is known"
            raise GazepipeError(msg)

    return read


@hostile
def folder_that_is_a_link(folder: Path) -> Callable[[], object]:
    study = _study(folder)
    study.store.mkdir()
    (study.store / "predictions").symlink_to(folder.parent / "victim")

    def read() -> None:
        for finding in check_store(study, apart=True).bad:
            raise GazepipeError(finding.message)

    return read


def _study(folder: Path) -> Study:
    (folder / "gazepipe.toml").write_text(template(), encoding="utf-8")
    return Study.open(folder)


# ---- all of them -----------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A folder that must stay as it is, beside those where hostile files are."""
    folder = tmp_path / "root" / "victim"
    folder.mkdir(parents=True)
    (folder / "secret").write_bytes(SECRET)
    yield folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"secret": SECRET}


def test_hostile_files_are_refused(tmp_path: Path, victim: Path) -> None:
    """R12: one sentence each, and nothing outside the root is touched."""
    survived, failed = 0, []
    outside = sorted(tmp_path.rglob("*"))
    for number, (name, build) in enumerate(HOSTILE.items()):
        folder = tmp_path / "root" / str(number)
        folder.mkdir()
        read = build(folder)
        try:
            result = read()
            failed.append(f"{name}: was taken ({result!r:.80})")
        except GazepipeError as error:
            sentence = str(error)
            if "\n" in sentence or len(sentence) > 1500 or not sentence.isprintable():
                failed.append(f"{name}: no sentence: {sentence!r:.200}")
            else:
                survived += 1
                print(f"{name}: {sentence}")
        shutil.rmtree(folder)
        assert sorted(tmp_path.rglob("*")) == outside, name
    told("R12", survived, len(HOSTILE))
    assert failed == []
    assert len(HOSTILE) >= 30


def test_a_store_from_somebody_else(whole: Study, victim: Path) -> None:
    """`verify --apart` finds what was put into a store, wherever it is, and finds nothing in our own."""
    assert check_store(whole, apart=True).bad == []
    with h5py.File(whole.usm_file, "r+") as file:
        file.create_dataset("steal", (64,), "u1", external=[(str(victim / "secret"), 0, 64)])
    (whole.store / "models" / "x.safetensors").write_bytes(_header("[" * 200_000))
    bad = {f.file: f.message for f in check_store(whole, apart=True).bad}
    assert sorted(bad) == ["models/x.safetensors", "usm.h5"]
    assert "keeps its data in another file" in bad["usm.h5"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the limits of Linux")
def test_what_reads_them_has_limits(tmp_path: Path) -> None:
    from gazepipe.parallel import Aside

    aside = Aside()
    try:
        memory, written = aside(_limits, tmp_path / "written") or (None, None)
    finally:
        aside.close()
    assert memory == "MemoryError"
    assert written == "File too large"


def _limits(path: Path) -> tuple[str, str]:
    found = []
    try:
        np.empty(6 << 30, np.uint8)
        found.append("no limit")
    except MemoryError as error:
        found.append(type(error).__name__)
    try:
        path.write_bytes(b"x")
        found.append("no limit")
    except OSError as error:
        found.append(str(error.strerror))
    return found[0], found[1]
