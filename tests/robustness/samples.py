"""One small recording of each format, made here, and pieces of real ones.

A reader needs an entry in `MADE`; `test_readers` fails for one that has none, so that no format goes untested. Real
pieces (`REAL`) are kept to some 48 kB, because a sweep reads each of them thousands of times.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import loadmat, savemat

from gazepipe.live.beside import EYE_EVENT, EYE_EVENTS
from gazepipe.live.recording import SessionWriter
from gazepipe.live.source import SampleBatch

__all__ = ["CLOSED", "MADE", "MADE_DATASETS", "REAL", "REAL_DATASETS", "Sample"]

_PIECE = 48_000
_T0 = 1_726_564_011_084_656_664


@dataclass(frozen=True)
class Sample:
    """The files of one recording.

    `files` has unpacked content by relative path (a name that ends in .gz is packed when written); the ones in
    `spoilt` are damaged, one at a time, the first most often. `target` is what is named to the reader. `config` are
    sections of the study's configuration, `options` those of a data set's loader. Only one in `sparse` cases is tried,
    where a reader takes long to start.
    """

    files: dict[str, bytes]
    target: str
    spoilt: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    sparse: int = 1
    options: dict[str, Any] = field(default_factory=dict)


def _single(name: str, content: str | bytes, **config: Any) -> Sample:
    data = content.encode() if isinstance(content, str) else content
    return Sample({name: data}, name, (name,), config)


def _looks(n: int, step_ms: float) -> list[tuple[float, float, float]]:
    """Times in ms and gaze: four places, one after another, with noise and a hole."""
    rng = np.random.default_rng(7)
    places = [(200, 150), (600, 450), (400, 300), (150, 500)]
    rows = []
    for k in range(n):
        x, y = places[4 * k // n]
        lost = n // 2 < k < n // 2 + 8
        rows.append((k * step_ms, *((np.nan, np.nan) if lost else (x + rng.normal(), y + rng.normal()))))
    return rows


def _or(value: float, missing: str, form: str = ".1f") -> str:
    return missing if np.isnan(value) else format(value, form)


def _asc() -> Sample:
    lines = [
        "** CONVERTED FROM a.edf",
        "** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED",
        "MSG\t90 DISPLAY_COORDS 0 0 799 599",
        "MSG\t91 !CAL VALIDATION HV9 LR LEFT  GOOD ERROR 0.27 avg. 0.83 max  OFFSET 0.13 deg. 1.5,-4.8 pix.",
    ]
    for start in (100, 5000):
        lines += [
            f"START\t{start} \tLEFT\tRIGHT\tSAMPLES\tEVENTS",
            "PRESCALER\t1",
            "EVENTS\tGAZE\tLEFT\tRIGHT\tRATE\t 250.00\tTRACKING\tCR\tFILTER\t2",
            "SAMPLES\tGAZE\tLEFT\tRIGHT\tRATE\t 250.00\tTRACKING\tCR\tFILTER\t2\tINPUT",
            f"MSG\t{start} TRIALID 1",
            f"MSG\t{start} SYNCTIME",
            f"MSG\t{start + 1} -1 !V IMGLOAD CENTER images/a.jpg 400 300",
            f"SFIX L   {start}",
        ]
        for t, x, y in _looks(120, 4):
            left = f"{_or(x, '.')}\t{_or(y, '.')}\t{_or(x, '0.0')}"
            lines.append(f"{start + t:.0f}\t{left}\t{left}\t0.0\t.....")
        lines += [
            f"EFIX L   {start}\t{start + 116}\t120\t  200.0\t  150.0\t    501",
            f"SBLINK L {start + 240}",
            f"EBLINK L {start + 240}\t{start + 268}\t32",
            f"ESACC L  {start + 116}\t{start + 120}\t8\t  200.0\t  150.0\t  600.0\t  450.0\t  12.50\t    300",
            f"MSG\t{start + 478} TRIAL_RESULT 0",
            f"END\t{start + 480} \tSAMPLES\tEVENTS\tRES\t  36.93\t  37.03",
        ]
    return _single("a.asc", "\n".join(lines) + "\n")


def _csv() -> Sample:
    rows = [
        f"{t:.0f},{_or(x, '')},{_or(y, '')},3.1,{1 + (k > 60)},{'ab'[k > 60]}.png,{'IMAGE_ON' if k == 3 else ''}"
        for k, (t, x, y) in enumerate(_looks(120, 4))
    ]
    text = "time_ms,x_px,y_px,pupil,trial,image,message\n" + "\n".join(rows) + "\n"
    columns = {"pupil": "pupil", "trial": "trial", "stimulus": "image", "message": "message"}
    return _single("a.csv", text, csv=columns)


def _csv_ns() -> Sample:
    rows = [
        f"{_T0 + round(t * 1e6)};{_or(x / 800, '', '.4f')};{_or(y / 600, '', '.4f')};{_or(x / 800, '', '.4f')};0.5;3"
        for t, x, y in _looks(120, 4)
    ]
    eyes = {"left_x": "lx", "left_y": "ly", "right_x": "rx", "right_y": "ry", "right_pupil": "p"}
    text = "t;lx;ly;rx;ry;p\n" + "\n".join(rows) + "\n"
    return _single("a.csv", text, csv={"time": "t", "time_unit": "ns", "position_unit": "normalised", **eyes})


def _csv_seconds() -> Sample:
    rows = [f"{t / 1000:.4f}\t{_or(x, '-1')}\t{_or(y, '-1')}" for t, x, y in _looks(120, 4)]
    named = {"header": False, "delimiter": "\\t", "time": "1", "x": "2", "y": "3", "missing": (-1.0,)}
    return _single("a.txt", "\n".join(rows) + "\n", csv={"time_unit": "s", **named})


def _zipped() -> Sample:
    """Two people's recordings would be two targets; this is an archive of one."""
    inner = _csv()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"study/{inner.target}"), inner.files[inner.target])
    return _single("a.zip", out.getvalue(), **inner.config)


def _parquet() -> list[Sample]:
    """With and without compression, so that damage reaches the numbers, too."""
    time, x, y = zip(*_looks(300, 4.0), strict=True)
    frame = pd.DataFrame({"time_ms": time, "x_px": x, "y_px": y})
    frame["trial"] = np.arange(300) // 75
    frame["image"] = pd.Series([f"image{k // 75}.png" for k in range(300)], dtype="category")
    config = {"csv": {"trial": "trial", "stimulus": "image"}}
    packed, plain = (frame.to_parquet(compression=c) for c in ("snappy", None))
    return [_single("a.parquet", content, **config) for content in (packed, plain)]


def _table(columns: dict[str, Callable[[int, float, float, float], Any]], step_ms: float, sep: str = "\t") -> str:
    rows = [sep.join(str(make(k, *row)) for make in columns.values()) for k, row in enumerate(_looks(100, step_ms))]
    return "\n".join([sep.join(columns), *rows, ""])


def _pro_lab() -> Sample:
    columns: dict[str, Callable[[int, float, float, float], Any]] = {
        "Recording timestamp [μs]": lambda k, t, x, y: round(t * 1000),
        "Sensor": lambda k, t, x, y: "" if k == 5 else "Eye Tracker",
        "Participant name": lambda k, t, x, y: "P1",
        "Recording name": lambda k, t, x, y: "Recording1",
        "Recording resolution width [px]": lambda k, t, x, y: 800,
        "Recording resolution height [px]": lambda k, t, x, y: 600,
        "Event": lambda k, t, x, y: "ImageStimulusStart" if k == 5 else "",
        "Event value": lambda k, t, x, y: "a" if k == 5 else "",
        "Gaze point left X [DACS px]": lambda k, t, x, y: _or(x, ""),
        "Gaze point left Y [DACS px]": lambda k, t, x, y: _or(y, ""),
        "Gaze point right X [DACS px]": lambda k, t, x, y: _or(x, ""),
        "Gaze point right Y [DACS px]": lambda k, t, x, y: _or(y, ""),
        "Pupil diameter left [mm]": lambda k, t, x, y: 3.25,
        "Validity left": lambda k, t, x, y: "Invalid" if np.isnan(x) else "Valid",
        "Validity right": lambda k, t, x, y: "Invalid" if np.isnan(x) else "Valid",
        "Presented Stimulus name": lambda k, t, x, y: "a" if k > 5 else "",
        "Presented Media name": lambda k, t, x, y: "a.jpg" if k > 5 else "",
        "Presented Media width": lambda k, t, x, y: 800 if k > 5 else "",
        "Presented Media height": lambda k, t, x, y: 600 if k > 5 else "",
        "Eye movement type": lambda k, t, x, y: "Fixation" if k % 25 > 2 else "Saccade",
        "Eye movement type index": lambda k, t, x, y: k // 25 + 1,
        "Eye position left Z (DACSmm)": lambda k, t, x, y: 600.5,
    }
    return _single("a.tsv", _table(columns, 1000 / 120))


def _studio() -> Sample:
    columns: dict[str, Callable[[int, float, float, float], Any]] = {
        "ParticipantName": lambda k, t, x, y: "P1",
        "RecordingName": lambda k, t, x, y: "Rec 01",
        "RecordingResolution": lambda k, t, x, y: "800 x 600",
        "MediaName": lambda k, t, x, y: "a.jpg" if k > 3 else "",
        "MediaPosX (ADCSpx)": lambda k, t, x, y: 0,
        "MediaPosY (ADCSpx)": lambda k, t, x, y: 0,
        "MediaWidth": lambda k, t, x, y: 800,
        "MediaHeight": lambda k, t, x, y: 600,
        "RecordingTimestamp": lambda k, t, x, y: round(t),
        "StudioEvent": lambda k, t, x, y: "ImageStart" if k == 4 else "",
        "StudioEventData": lambda k, t, x, y: "a.jpg" if k == 4 else "",
        "FixationIndex": lambda k, t, x, y: k // 25 + 1,
        "GazeEventType": lambda k, t, x, y: "Fixation" if k % 25 > 2 else "Saccade",
        "FixationPointX (MCSpx)": lambda k, t, x, y: 20,
        "FixationPointY (MCSpx)": lambda k, t, x, y: 30,
        "GazePointLeftX (ADCSpx)": lambda k, t, x, y: _or(x, ""),
        "GazePointLeftY (ADCSpx)": lambda k, t, x, y: _or(y, ""),
        "GazePointRightX (ADCSpx)": lambda k, t, x, y: _or(x, ""),
        "GazePointRightY (ADCSpx)": lambda k, t, x, y: _or(y, ""),
        "DistanceLeft": lambda k, t, x, y: 600,
        "PupilLeft": lambda k, t, x, y: 3.1,
        "ValidityLeft": lambda k, t, x, y: 4 if np.isnan(x) else 0,
        "ValidityRight": lambda k, t, x, y: 4 if np.isnan(x) else 0,
    }
    return _single("a.tsv", _table(columns, 1000 / 300))


def _sdk() -> Sample:
    columns: dict[str, Callable[[int, float, float, float], Any]] = {
        "Time": lambda k, t, x, y: 2_619_771_723 + round(t * 1000),
        "LEyePos3dz": lambda k, t, x, y: 600.5,
        "LGazePos2dx": lambda k, t, x, y: _or(x / 800, "-1.0", ".4f"),
        "LGazePos2dy": lambda k, t, x, y: _or(y / 600, "-1.0", ".4f"),
        "LPupilDm": lambda k, t, x, y: 3.5,
        "LValidity": lambda k, t, x, y: 4 if np.isnan(x) else 0,
        "REyePos3dz": lambda k, t, x, y: 600.5,
        "RGazePos2dx": lambda k, t, x, y: _or(x / 800, "-1.0", ".4f"),
        "RGazePos2dy": lambda k, t, x, y: _or(y / 600, "-1.0", ".4f"),
        "RPupilDm": lambda k, t, x, y: 3.5,
        "RValidity": lambda k, t, x, y: 4 if np.isnan(x) else 0,
        "RelTimestamp": lambda k, t, x, y: round(t, 3),
    }
    return _single("a.tsv", _table(columns, 1000 / 300))


def _smi() -> Sample:
    head = (
        "## [iView]\n## Sample Rate:\t500\n## Subject:\tAnna\n## Calibration Area:\t800\t600\n"
        "## Stimulus Dimension [mm]:\t474\t297\n## Head Distance [mm]:\t700\n##\n"
        "Time\tType\tTrial\tL POR X [px]\tL POR Y [px]\tR POR X [px]\tR POR Y [px]\tL Pupil Diameter [mm]\n"
    )
    rows = []
    for k, (t, x, y) in enumerate(_looks(150, 2)):
        if k == 4:
            rows.append(f"{8_000_000_000 + t * 1000 - 1:.0f}\tMSG\t1\t# Message: face 01.jpg")
        point = f"{_or(x, '0.00', '.2f')}\t{_or(y, '0.00', '.2f')}"
        rows.append(f"{8_000_000_000 + t * 1000:.0f}\tSMP\t1\t{point}\t{point}\t3.50")
    return _single("a_Samples.txt", head + "\n".join(rows) + "\n")


def _begaze() -> Sample:
    columns: dict[str, Callable[[int, float, float, float], Any]] = {
        "RecordingTime [ms]": lambda k, t, x, y: round(t, 3),
        "Trial": lambda k, t, x, y: "Trial001",
        "Stimulus": lambda k, t, x, y: "a.jpg" if k > 10 else "-",
        "Participant": lambda k, t, x, y: "P1",
        "Category Left": lambda k, t, x, y: "Fixation" if k % 25 > 2 else "Saccade",
        "Point of Regard Left X [px]": lambda k, t, x, y: _or(x, "-"),
        "Point of Regard Left Y [px]": lambda k, t, x, y: _or(y, "-"),
        "Pupil Diameter Left [mm]": lambda k, t, x, y: "3.5",
    }
    return _single("a.txt", _table(columns, 4, ","))


def _neon_native() -> Sample:
    rows = _looks(120, 5)
    times = [_T0 + round(t * 1e6) for t, _, _ in rows]
    n = len(rows)
    events = struct.pack("<iqq10f", 1, times[3], times[30], *[5.0] * 10)
    files = {
        "gaze ps1.time": struct.pack(f"<{n}Q", *times),
        "gaze ps1.raw": b"".join(struct.pack("<ff", np.nan_to_num(x), np.nan_to_num(y)) for _, x, y in rows),
        "worn ps1.raw": bytes([255] * n),
        "gaze ps2.time": struct.pack("<3Q", *(times[-1] + 10**9 * k for k in (1, 2, 3))),
        "gaze ps2.raw": struct.pack("<6f", *range(6)),
        "eye_state ps1.time": struct.pack(f"<{n}Q", *times),
        "eye_state ps1.raw": struct.pack(f"<{14 * n}f", *([3.1] * 14 * n)),
        "eye_state.dtype": b"[('pupil_diameter_left_mm', 'float32'), "
        + b", ".join(b"('a%d', 'float32')" % k for k in range(6))
        + b", ('pupil_diameter_right_mm', 'float32'), "
        + b", ".join(b"('b%d', 'float32')" % k for k in range(6))
        + b"]",
        "fixations ps1.raw": events,
        "fixations ps1.time": struct.pack("<Q", times[30]),
        "event.txt": b"recording.begin\nIMAGE_ON a.jpg\n",
        "event.time": struct.pack("<2Q", times[0], times[9]),
        "info.json": json.dumps({"recording_id": "ab", "module_serial_number": "1", "duration": 600}).encode(),
        "wearer.json": b'{"uuid": "x", "name": "Ann"}',
    }
    return Sample(files, ".", tuple(files))


def _live_session() -> Sample:
    rows = _looks(120, 5)
    n = len(rows)
    time = _T0 + np.rint([t * 1e6 for t, _, _ in rows]).astype(np.int64)
    x, y = np.array([[a, b] for _, a, b in rows], np.float32).T
    flags = np.where(np.arange(n) % 40 == 39, 1, 0).astype(np.uint8)
    batch = SampleBatch(time + 5_000_000, time + 8_000_000, x, y, np.full(n, 3.1, np.float32), flags)
    about = {
        "rate_hz": 200.0,
        "space": "screen",
        "own_clock": True,
        "source": "made",
        "screen": {"width_px": 800, "height_px": 600},
    }
    with tempfile.TemporaryDirectory() as folder:
        writer = SessionWriter(Path(folder) / "session", about)
        writer.log("start", int(time[0]))
        writer.log("clock", int(time[0]), offset_ns=5_000_000, round_trip_ns=300_000, n=10)
        writer.put(batch, time, x, y)
        told = np.zeros(3, EYE_EVENT)
        told["device_ns"], told["received_ns"] = time[[30, 60, 90]] + 5_000_000, time[[30, 60, 90]] + 9_000_000
        told["start_ns"], told["end_ns"], told["kind"] = told["device_ns"] - 90_000_000, told["device_ns"], [0, 1, 4]
        writer.put_beside(EYE_EVENTS, told)
        writer.log("event", int(time[9]), name="IMAGE_ON a.jpg", stimulus="a.jpg", place=[0, 0, 800, 600])
        writer.log("end", int(time[-1]))
        writer.close()
        files = {p.name: p.read_bytes() for p in sorted((Path(folder) / "session").iterdir())}
    return Sample(files, ".", ("eye_events.bin", "samples.bin", "session.json", "session.jsonl"))


def _pupil_cloud(names: str, scale: tuple[float, float]) -> bytes:
    rows = [
        f"s,r,{_T0 + round(t * 1e6)},{_or(x * scale[0], '')},{_or(y * scale[1], '')},1.0,1,"
        for t, x, y in _looks(120, 5)
    ]
    return (f"section id,recording id,timestamp [ns],{names}\n" + "\n".join(rows) + "\n").encode()


def _neon_timeseries() -> Sample:
    files = {
        "gaze.csv": _pupil_cloud("gaze x [px],gaze y [px],worn,fixation id,blink id", (1, 1)),
        "events.csv": f"recording id,timestamp [ns],name,type\nr,{_T0},recording.begin,recording\n".encode(),
        "blinks.csv": (
            "section id,recording id,blink id,start timestamp [ns],end timestamp [ns],duration [ms]\n"
            f"s,r,1,{_T0},{_T0 + 10**8},100\n"
        ).encode(),
        "fixations.csv": (
            "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],"
            f"fixation x [px],fixation y [px]\ns,r,1,{_T0},{_T0 + 10**8},100,5,6\n"
        ).encode(),
        "3d_eye_states.csv": (
            "section id,recording id,timestamp [ns],pupil diameter left [mm],pupil diameter right [mm]\n"
            + "".join(f"s,r,{_T0 + 5_000_000 * k},3.1,3.2\n" for k in range(120))
        ).encode(),
        "info.json": b'{"recording_id": "r", "module_serial_number": "1", "duration": 600}',
    }
    return Sample(files, ".", tuple(files))


def _marker_mapper() -> Sample:
    names = "gaze position on surface x [normalized],gaze position on surface y [normalized],on surface,x,y"
    files = {
        "gaze.csv": _pupil_cloud(names, (1 / 800, 1 / 600)),
        "sections.csv": (
            "section id,recording id,recording name,wearer name,section start time [ns],section end time [ns],"
            f"start event name,end event name\ns,r,one,Ann,{_T0},{_T0 + 10**9},recording.begin,recording.end\n"
        ).encode(),
        "fixations.csv": (
            "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],"
            "fixation detected on surface,fixation x [normalized],fixation y [normalized]\n"
            f"s,r,1,{_T0},{_T0 + 10**8},100,true,0.5,0.6\n"
        ).encode(),
    }
    return Sample(files, ".", tuple(files))


def _pupil_core() -> Sample:
    gaze = "gaze_timestamp,world_index,confidence,norm_pos_x,norm_pos_y,base_data\n" + "".join(
        f"{1216.2 + t / 1000:.6f},{k // 4},0.99,{_or(x / 800, '', '.5f')},{_or(y / 600, '', '.5f')},a b\n"
        for k, (t, x, y) in enumerate(_looks(120, 4))
    )
    surface = (
        "world_timestamp,world_index,gaze_timestamp,x_norm,y_norm,x_scaled,y_scaled,on_surf,confidence\n"
        + "".join(
            f"1,1,{1216.2 + t / 1000:.6f},{_or(x / 800, '', '.5f')},{_or(y / 600, '', '.5f')},1,1,True,0.9\n"
            for t, x, y in _looks(120, 4)
        )
    )
    files = {
        "surfaces/gaze_positions_on_surface_screen.csv": surface.encode(),
        "gaze_positions.csv": gaze.encode(),
        "annotations.csv": b"index,timestamp,label,duration\n1,1216.3,IMAGE_ON a.jpg,0\n",
        "blinks.csv": b"id,start_timestamp,duration,end_timestamp\n1,1216.3,0.1,1216.4\n",
    }
    return Sample(files, ".", tuple(files))


def _bids() -> Sample:
    about = {
        "PhysioType": "eyetrack",
        "SamplingFrequency": 500,
        "StartTime": 0,
        "Columns": ["timestamp", "x_coordinate", "y_coordinate", "pupil_size"],
        "RecordedEye": "left",
        "SampleCoordinateSystem": "gaze-on-screen",
        "timestamp": {"Units": "ms"},
        "x_coordinate": {"Units": "pixel"},
        "y_coordinate": {"Units": "pixel"},
    }
    screen = {"ScreenDistance": 0.65, "ScreenResolution": [800, 600], "ScreenSize": [0.53, 0.3]}
    eye = "sub-01_task-x_recording-eye1_physio"
    rows = "".join(f"{100 + t:.0f}\t{_or(x, 'n/a')}\t{_or(y, 'n/a')}\t3\n" for t, x, y in _looks(150, 2))
    files = {
        f"{eye}.tsv.gz": rows.encode(),
        f"{eye}.json": json.dumps(about).encode(),
        f"{eye}events.tsv.gz": b"110\t0\tn/a\tn/a\tIMAGE_ON a.jpg\n120\t40\tfixation\t0\tn/a\n",
        f"{eye}events.json": json.dumps(
            {"Columns": ["onset", "duration", "trial_type", "blink", "message"], "OnsetSource": "timestamp"}
        ).encode(),
        "sub-01_task-x_events.tsv": b"onset\tduration\ttrial_type\tstim_file\n0.01\t0.2\tshow\ta.jpg\n",
        "sub-01_task-x_events.json": json.dumps({"StimulusPresentation": screen}).encode(),
        "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    }
    return Sample(files, f"{eye}.tsv.gz", tuple(files))


def _boxed(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _mat(name: str, variable: str, values: Any, *, packed: bool) -> Sample:
    """A MATLAB file; an unpacked one has no checksums, so that damage reaches the numbers."""
    file = io.BytesIO()
    savemat(file, {variable: values}, do_compression=packed)
    return Sample({name: file.getvalue()}, ".", (name,))


def _osie() -> list[Sample]:
    def eye(k: int) -> dict[str, Any]:
        return {"fix_duration": [200.0 + k, 300.0], "fix_x": [10.0, 20.0 + k], "fix_y": [30.0, 40.0]}

    structs = _boxed([{"img": f"{k}.jpg", "subjects": _boxed([eye(0), eye(1)])} for k in range(3)])
    return [_mat("eye/fixations.mat", "fixations", structs, packed=p) for p in (True, False)]


def _ps() -> list[Sample]:
    about = {"testID": [1.0, 1.0, 2.0], "fix_X": [5.0, 6.0, 7.0], "fix_Y": [8.0, 9.0, 10.0]}
    structs = _boxed([{"im_name": f"{k}.jpg", **about, "duration": [0.2, 0.3, 0.4]} for k in range(3)])
    return [_mat("fixData/ImfixData_Sub_1.mat", "ImfixDataALL", structs, packed=p) for p in (True, False)]


def _fixation_table() -> list[Sample]:
    rows = [f"p{k % 3},{k % 2}.jpg,{10 + k}.5,{20 + 2 * k},{200 + k}" for k in range(40)]
    text = "user,stimulus,x_px,y_px,duration_ms\n" + "\n".join(rows) + "\n"
    options = {"pixels_per_degree": 24.0, "frame": (800, 600)}
    return [Sample({"f.csv": text.encode()}, "f.csv", ("f.csv",), options=options)]


#: Data set's name → samples of its files, made here.
MADE_DATASETS: dict[str, Callable[[], list[Sample]]] = {
    "osie": _osie,
    "crowd": _osie,  # of the same layout
    "ps": _ps,
    "table": _fixation_table,
}


def _real_mat(source: Path, name: str, variable: str) -> list[Sample]:
    """The first structs of a real file, packed and unpacked."""
    structs = loadmat(source)[variable][:, :4]
    return [_mat(name, variable, structs, packed=p) for p in (True, False)]


#: Data set's name → pieces of the real one, from the folder of real data.
REAL_DATASETS: dict[str, Callable[[Path], list[Sample]]] = {
    "osie": lambda data: _real_mat(data / "osie" / "eye" / "fixations.mat", "eye/fixations.mat", "fixations"),
    "ps": lambda data: _real_mat(
        data / "ps" / "fixData" / "ImfixData_Sub_1.mat", "fixData/ImfixData_Sub_1.mat", "ImfixDataALL"
    ),
}


#: Reader's name → samples of its format, made here.
MADE: dict[str, Callable[[], list[Sample]]] = {
    "eyelink-asc": lambda: [_asc()],
    "csv": lambda: [_csv(), _csv_ns(), _csv_seconds(), _zipped()],
    "tobii-pro-lab": lambda: [_pro_lab()],
    "tobii-studio": lambda: [_studio()],
    "tobii-sdk": lambda: [_sdk()],
    "smi": lambda: [_smi(), _begaze()],
    "live-session": lambda: [_live_session()],
    "neon-native": lambda: [_neon_native()],
    "neon-timeseries": lambda: [_neon_timeseries()],
    "marker-mapper": lambda: [_marker_mapper()],
    "pupil-core": lambda: [_pupil_core()],
    "bids": lambda: [_bids()],
    "parquet": _parquet,
}

#: Readers of closed formats, which only their makers' software writes; a real recording must do.
CLOSED = {"eyelink-edf"}


# ---- real ones ------------------------------------------------------------------------------------------------------


def _piece(path: Path, size: int = _PIECE, skip: int = 0) -> bytes:
    """The first lines of a file, unpacked; the first one and those after `skip` bytes."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix not in (".csv", ".tsv", ".asc", ".gz", ".txt") or len(data) <= size:
        return data
    head = data[: data.find(b"\n") + 1] if skip else b""
    start = data.find(b"\n", skip) + 1 if skip else 0
    return head + data[start : data.rfind(b"\n", start, start + size) + 1]


def _real(raw: Path, name: str, as_name: str, size: int = _PIECE, skip: int = 0, **config: Any) -> Sample:
    return _single(as_name, _piece(raw / name, size, skip), **config)


def _folder(folder: Path, spoilt: tuple[str, ...], target: str = ".") -> Sample:
    files = {p.name: _piece(p) for p in sorted(folder.iterdir()) if p.is_file() and p.stat().st_size < 3_000_000}
    return Sample(files, target, tuple(name for name in spoilt if name in files))


def _real_asc(raw: Path) -> list[Sample]:
    names = ("eyelink_monocular_2khz_example.asc", "bino500.asc.gz", "monoRemote250.asc.gz", "data1.asc")
    return [_real(raw, f"eyelink_asc/{name}", "a.asc", 64_000) for name in names]


def _real_native(raw: Path) -> list[Sample]:
    folder = raw / "neon_native" / "demo_recording"
    streams = (
        "gaze_200hz",
        "worn_200hz",
        "eye_state",
        "fixations",
        "blinks",
        "gaze",
        "worn",
        "event",
        "info",
        "wearer",
    )
    names = [p.name for p in sorted(folder.iterdir()) if p.name.startswith(streams) and "right" not in p.name]
    return [_folder(folder, tuple(sorted(names, key=lambda n: not n.startswith("gaze"))))]


def _real_bids(raw: Path) -> list[Sample]:
    name = "satf_search_recording-eye1_physio"
    files = {f"{name}.tsv.gz": _piece(raw / "bids" / f"{name}.tsv.gz", skip=40_000)}
    files[f"{name}.json"] = (raw / "bids" / f"{name}.json").read_bytes()
    return [Sample(files, f"{name}.tsv.gz", tuple(files))]


_COMMA = {"header": False, "time": "1", "x": "2", "y": "3", "trial": "4"}

#: Reader's name → pieces of real recordings, from the folder of real data.
REAL: dict[str, Callable[[Path], list[Sample]]] = {
    "eyelink-asc": _real_asc,
    "csv": lambda raw: [_real(raw, "csv_generic/dec_C1_P107_Exp6.csv", "a.csv", csv=_COMMA)],
    "tobii-pro-lab": lambda raw: [
        _single("a.tsv", _piece(p, skip=200_000)) for p in sorted((raw / "tobii_pro_lab").glob("*export_short.tsv"))
    ],
    "tobii-studio": lambda raw: [_real(raw, "tobii_studio_fgd/000.csv.gz", "a.csv")],
    "tobii-sdk": lambda raw: [_real(raw, "tobii_sdk/participant1/2.tsv", "a.tsv")],
    "neon-native": _real_native,
    "neon-timeseries": lambda raw: [
        _folder(
            next((raw / "neon_timeseries").iterdir()),
            ("gaze.csv", "events.csv", "blinks.csv", "fixations.csv", "saccades.csv", "3d_eye_states.csv", "info.json"),
        )
    ],
    "marker-mapper": lambda raw: [
        _folder(raw / "neon_marker_mapper", ("gaze.csv", "fixations.csv", "sections.csv", "reference_image.jpeg"))
    ],
    "pupil-core": lambda raw: [
        _folder(raw / "pupil_core" / "10_merge", ("gaze_positions.csv", "fixations.csv", "blinks.csv"))
    ],
    "bids": _real_bids,
    "eyelink-edf": lambda raw: [
        Sample({"a.edf": (raw / "eyelink_edf" / "test_raw.edf").read_bytes()}, "a.edf", ("a.edf",), sparse=12)
    ],
}
