"""What reading stored files costs: the look before it, sealing, and what one packed file of all maps would save.

``python benchmarks/bench_reading.py``

CPU time of one process, medians of interleaved rounds. Maps are of 12 fixations each on the grid of the default study.
"""

from __future__ import annotations

import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from gazepipe import sealing, store
from gazepipe.hdf5_audit import audited
from gazepipe.recipe import Recipe

USERS, MAPS, HEIGHT, WIDTH, ROUNDS = 40, 100, 120, 160, 7


def maps(rng: np.random.Generator, count: int) -> np.ndarray:
    """Maps with a maximum of one, the tails cut off, as `build-psm` makes them."""
    y, x = np.arange(HEIGHT)[:, None], np.arange(WIDTH)
    out = np.zeros((count, HEIGHT, WIDTH))
    for one in out:
        for v, u, w in zip(rng.uniform(0, HEIGHT, 12), rng.uniform(0, WIDTH, 12), rng.uniform(0.2, 1, 12), strict=True):
            blob = np.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * 6**2))
            one += w * np.where(blob > np.exp(-8), blob, 0)
        one /= one.max()
    return out.astype(np.float16)


def recording(rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
    """Seventy columns, one of them as long as the others."""
    return {f"samples/left/c{k}": rng.normal(400, 90, samples).round(2) for k in range(6)} | {
        f"table/c{k}": rng.normal(0, 1, 200) for k in range(64)
    }


def medians(**ways: Callable[[], object]) -> dict[str, float]:
    """CPU milliseconds of each way, taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            found[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values)) for name, values in found.items()}


def main() -> None:
    """Print a table."""
    os.environ["GAZEPIPE_PASSPHRASE"] = "benchmark of reading"
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        plain, closed = Path(folder, "plain"), Path(folder, "sealed")
        sealing.prepare(closed, _settings(), Path(folder))
        with store.lock(closed):
            pass
        content, recipe = recording(rng, 60_000), Recipe("b", 1, {}, {})
        for root in (plain, closed):
            store.save(root / "recordings/r.h5", "gazepipe.recording", content, recipe=recipe, attrs={"user": "u"})
        one = plain / "recordings/r.h5"

        def look() -> None:
            with h5py.File(one) as file:
                audited(file)

        def unchecked() -> None:
            with h5py.File(one) as file:
                names: list[str] = []
                file.visititems(lambda n, i: names.append(n) if isinstance(i, h5py.Dataset) else None)
                for name in names:
                    file[name].attrs.get("text")
                    file[name][()]

        found = medians(
            look=look,
            read=lambda: store.load(one, "gazepipe.recording"),
            unchecked=unchecked,
            sealed=lambda: store.load(closed / "recordings/r.h5", "gazepipe.recording"),
            write=lambda: store.save(plain / "recordings/w.h5", "gazepipe.recording", content, recipe=recipe, attrs={}),
            write_sealed=lambda: store.save(
                closed / "recordings/w.h5", "gazepipe.recording", content, recipe=recipe, attrs={"user": "u"}
            ),
        )
        print(f"recording of 70 columns, {one.stat().st_size / 1e6:.1f} MB:", _told(found))

        every = np.concatenate([maps(rng, MAPS) for _ in range(USERS)])
        for root in (plain, closed):
            for user in range(USERS):
                part = {"maps": every[user * MAPS : (user + 1) * MAPS]}
                store.save(root / f"psm/u{user}.h5", "gazepipe.psm", part, recipe=recipe, attrs={"user": f"u{user}"})
        pack = Path(folder, "maps.npy")
        np.save(pack, np.round(every.astype(np.float32) * 255).astype(np.uint8))
        check = zlib.crc32(pack.read_bytes())

        def from_files(root: Path) -> np.ndarray:
            return np.concatenate(
                [store.load(root / f"psm/u{k}.h5", "gazepipe.psm").arrays["maps"] for k in range(USERS)]
            )

        def packed() -> np.ndarray:
            data = pack.read_bytes()
            assert zlib.crc32(data) == check
            return np.frombuffer(data, np.uint8, offset=128)

        def mapped() -> None:
            np.load(pack, mmap_mode="r")[rng.integers(0, len(every), 256)]

        found = medians(
            files=lambda: from_files(plain), sealed=lambda: from_files(closed), packed=packed, mapped_batch=mapped
        )
        size = sum(p.stat().st_size for p in (plain / "psm").iterdir()) / 1e6
        print(f"{len(every)} maps, files {size:.0f} MB, pack {pack.stat().st_size / 1e6:.0f} MB:", _told(found))
        error = np.abs(np.round(every.astype(np.float32) * 255) / 255 - every.astype(np.float32)).max()
        print(
            f"largest change of a cell by eight bits: {error:.4f}; per map {found['files'] / len(every):.3f} ms to read"
        )


def _settings() -> object:
    from gazepipe.config import EncryptionConfig

    return EncryptionConfig(enabled=True)


def _told(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} ms" for name, value in found.items())


if __name__ == "__main__":
    main()
