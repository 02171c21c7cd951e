"""Samples of gazepipe's readers against other readers, and against a plain reading of the files' own bytes.

    python benchmarks/bench_samples.py [DATA]

DATA is the folder that holds `raw/eyelink_asc` and `raw/neon_native`; otherwise the environment variable GAZEPIPE_DATA,
or `../shared/data`. Peers (mne, pymovements, pupil-labs-neon-recording) are compared where they are installed.

The file decides: `plain_asc` and `plain_neon` read it line by line, record by record, with nothing but `str.split`,
`float` and `struct`. Two values are the same if they are the same float32, in which recordings are stored, or both
missing. Pupils are compared where there is gaze: where there is none, gazepipe has no pupil either, files mostly say 0.

A peer's samples are put beside the file's by their times. Where that fails, they are put there in their order, which
tells whether its values or its times are off.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gazepipe.config import StudyConfig
from gazepipe.errors import RecordingError
from gazepipe.readers import read_recording

COLUMNS = ("x", "y", "pupil")


@dataclass
class Samples:
    """Times in ms, shape (n,), and x, y and pupil of each eye, shape (3, n)."""

    time: np.ndarray
    eyes: dict[str, np.ndarray]


# ---- EyeLink ASC -----------------------------------------------------------------------------------------------------


def plain_asc(path):
    """Samples of an ASC file: what stands between START and END and begins with a digit, times as printed."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    times, rows, eyes, inside = [], [], (), False
    for line in data.decode("utf-8", "replace").split("\n"):
        words = line.split()
        if line.startswith(("START", "END")):
            inside = words[0] == "START"
            eyes = tuple(e for e in ("LEFT", "RIGHT") if e in words) if inside else ()
        elif inside and line[:1].isdigit():
            times.append(float(words[0]))
            numbers = [float("nan") if w == "." else float(w) for w in words[1 : 1 + 3 * len(eyes)]]
            rows.append({eye.lower(): numbers[3 * k : 3 * k + 3] for k, eye in enumerate(eyes)})
    missing = [float("nan")] * 3
    names = [e for e in ("left", "right") if any(e in r for r in rows)]
    return Samples(np.array(times), {e: np.array([r.get(e, missing) for r in rows]).T for e in names})


def own_asc(path):
    recording = read_recording(path, StudyConfig())
    return Samples(recording.time_ms, {name: np.stack([e.x_px, e.y_px, e.pupil]) for name, e in recording.eyes.items()})


@contextlib.contextmanager
def unpacked(path):
    """The path of a plain copy if the file is compressed; peers read no `.gz`."""
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.stem
        copy.write_bytes(gzip.decompress(path.read_bytes()))
        yield copy


def mne_asc(path):
    """MNE lays the samples on an even grid from the first one on, NaN where there is none."""
    import mne

    with unpacked(path) as plain:
        raw = mne.io.read_raw_eyelink(plain, verbose="ERROR")
    data = dict(zip(raw.ch_names, raw.get_data(), strict=True))
    first = plain_asc(path).time[0]  # MNE counts from 0
    eyes = {e: [data[f"{c}_{e}"] for c in ("xpos", "ypos", "pupil")] for e in ("left", "right") if f"xpos_{e}" in data}
    return Samples(first + 1000 * raw.times, {e: np.stack(v) for e, v in eyes.items()})


def pymovements_asc(path):
    import pymovements

    with unpacked(path) as plain:
        table = pymovements.gaze.from_asc(plain).samples
    pixel, pupil = table["pixel"].to_list(), table["pupil"].to_list()
    both = bool(pixel) and len(pixel[0]) == 4
    places = np.array(pixel, np.float64).T
    sizes = np.array(pupil, np.float64).T.reshape(-1, len(pupil))
    names = ("left", "right") if both else tuple(plain_asc(path).eyes)
    eyes = {e: np.stack([places[2 * k], places[2 * k + 1], sizes[k]]) for k, e in enumerate(names)}
    return Samples(table["time"].to_numpy().astype(np.float64), eyes)


PEERS = {"mne": mne_asc, "pymovements": pymovements_asc}


def same_values(a, b):
    """Whether two (3, n) arrays agree, per column; pupils only where `b`, the file, has gaze."""
    gaze = ~np.isnan(b[:2]).any(axis=0)
    with np.errstate(over="ignore"):
        a, b = a.astype(np.float32), b.astype(np.float32)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    same[2] |= ~gaze
    return same


def at_times(samples, times):
    """The samples at these times, in the order of `times`; NaN where there is none within 0.01 ms."""
    order = np.argsort(samples.time, kind="stable")
    have = samples.time[order]
    near = np.clip(np.searchsorted(have, times - 0.01), 0, max(have.size - 1, 0))
    hit = np.abs(have[near] - times) <= 0.01
    return {e: np.where(hit, v[:, order[near]], np.nan) for e, v in samples.eyes.items()}


@dataclass
class Verdict:
    """How many samples of the file a reader has right, beside one another by time and by order."""

    n_file: int
    n_reader: int
    by_time: int
    by_order: int
    error: str = ""

    @property
    def same(self):
        return not self.error and self.by_time == self.n_file

    def __str__(self):
        if self.error:
            return f"not read: {self.error}"
        if self.same:
            return "same"
        return f"{self.by_time} by time, {self.by_order} in order"


def judge(reader, path):
    """Compare a reader with the file."""
    truth = plain_asc(path)
    n = truth.time.size
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            got = reader(path)
    except ImportError:
        raise
    except Exception as error:  # whatever a peer raises is what the table tells
        return Verdict(n, 0, 0, 0, f"{type(error).__name__}: {' '.join(str(error).split())[:70]}")
    if set(got.eyes) != set(truth.eyes):
        return Verdict(n, got.time.size, 0, 0)
    right = []
    wanted = file_times(truth)
    for beside in (at_times(got, wanted), got.eyes):
        fits = all(v.shape[1] == n for v in beside.values())
        right.append(
            int(np.all([same_values(beside[e], truth.eyes[e]).all(axis=0) for e in truth.eyes], axis=0).sum())
            if fits
            else 0
        )
    return Verdict(n, got.time.size, *right)


def file_times(samples):
    """Times as printed; where whole milliseconds stand twice (2000 Hz), the second is half a millisecond later."""
    time = samples.time.copy()
    time[1:][time[1:] == time[:-1]] += 0.5
    return time


def asc_files(root):
    return sorted(p for p in (root / "raw" / "eyelink_asc").glob("*.asc*") if "HREF" not in p.name)


# ---- Neon ------------------------------------------------------------------------------------------------------------


def plain_neon(folder):
    """Gaze of a folder: time in ns, x, y, and whether the glasses were worn."""
    ns = [t for (t,) in struct.iter_unpack("<Q", (folder / "gaze_200hz.time").read_bytes())]
    points = list(struct.iter_unpack("<ff", (folder / "gaze_200hz.raw").read_bytes()))
    worn = [w > 0 for w in (folder / "worn_200hz.raw").read_bytes()]
    return np.array(ns, np.int64), np.array(points, np.float32), np.array(worn)


def own_neon(folder):
    recording = read_recording(folder, StudyConfig())
    eye = recording.eyes["cyclopean"]
    ns = np.round(recording.time_ms * 1e6).astype(np.int64) + recording.meta["time_origin_ns"]
    return ns, np.column_stack([eye.x_px, eye.y_px]), recording


def peer_neon(folder):
    """Gaze, pupils, events and messages as pl-neon-recording has them."""
    from pupil_labs import neon_recording

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its files to the garbage collector
        recording = neon_recording.open(folder)
        streams = {"fixation": recording.fixations, "saccade": recording.saccades, "blink": recording.blinks}
        events = {
            kind: np.column_stack([stream.start_time, stream.stop_time]).astype(np.int64)
            for kind, stream in streams.items()
        }
        pupils = np.column_stack([recording.pupil.diameter_left, recording.pupil.diameter_right])
        messages = list(zip(np.asarray(recording.events.time).tolist(), list(recording.events.event), strict=True))
        gaze = recording.gaze
        return np.asarray(gaze.time), np.asarray(gaze.point), pupils, np.asarray(recording.worn.worn), events, messages


def compare_neon(folder):
    """What → (number compared, whether gazepipe has the same as the file or the peer)."""
    ns, points, worn = plain_neon(folder)
    own_ns, own_points, recording = own_neon(folder)
    points[~worn] = np.nan
    out = {
        "times, file": (ns.size, np.array_equal(own_ns, ns)),
        "gaze, file": (ns.size, np.array_equal(own_points, points, equal_nan=True)),
    }
    peer_ns, peer_points, pupils, peer_worn, events, messages = peer_neon(folder)
    peer_points = np.where((peer_worn > 0)[:, None], peer_points, np.nan).astype(np.float32)
    left_right = np.column_stack([recording.columns[f"pupil_{e}_mm"] for e in ("left", "right")]).astype(np.float32)
    out["times, peer"] = (peer_ns.size, np.array_equal(own_ns, peer_ns))
    out["gaze, peer"] = (peer_ns.size, np.array_equal(own_points, peer_points, equal_nan=True))
    seen = ~np.isnan(left_right)
    out["pupils, peer"] = (int(seen.sum()), np.array_equal(left_right[seen], pupils.astype(np.float32)[seen]))
    native, origin = recording.native_events, recording.meta["time_origin_ns"]
    for kind, spans in events.items():
        rows = native["kind"] == kind
        own = np.column_stack([native["onset_ms"][rows], native["offset_ms"][rows]])
        own = np.round(own * 1e6).astype(np.int64) + origin
        out[f"{kind}s, peer"] = (len(spans), np.array_equal(own[own[:, 0].argsort()], spans[spans[:, 0].argsort()]))
    own = [(round(m.time_ms * 1e6) + origin, m.text) for m in recording.messages]
    out["messages, peer"] = (len(messages), own == messages)
    return out


def main():
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GAZEPIPE_DATA", default))
    files = asc_files(root)
    if not files:
        sys.exit(f"no recordings in {root / 'raw' / 'eyelink_asc'}")
    print("| file | samples | gazepipe |", " | ".join(PEERS), "|")
    print("| --- | ---: |" + " --- |" * (1 + len(PEERS)))
    for path in files:
        cells = []
        for reader in (own_asc, *PEERS.values()):
            try:
                verdict = judge(reader, path)
            except ImportError:
                cells.append("not installed")
                continue
            cells.append(str(verdict))
        print(f"| {path.name} | {plain_asc(path).time.size:,} |", " | ".join(cells), "|")
    href = root / "raw" / "eyelink_asc" / "test_eyelink_HREF.asc"
    if href.exists():
        try:
            own_asc(href)
        except RecordingError as error:
            print(f"\n{href.name}: gazepipe refuses it ({error.found})")
    folder = root / "raw" / "neon_native" / "demo_recording"
    if folder.is_dir():
        print("\n| Neon | compared | gazepipe |\n| --- | ---: | --- |")
        try:
            for what, (n, same) in compare_neon(folder).items():
                print(f"| {what} | {n:,} | {'same' if same else 'differs'} |")
        except ImportError:
            print("pupil-labs-neon-recording is not installed")


if __name__ == "__main__":
    main()
