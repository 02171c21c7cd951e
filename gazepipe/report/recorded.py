"""What a recording tells about how it was made: tracker, eyes, steps of time, calibration.

Facts only, each as the file states it or as its samples show it. Of the messages those are kept that an EyeLink writes
by itself: how it was set (``RECCFG``: mode, rate, filters, eyes; ``ELCLCFG``: mount), calibrations, validations and
drift checks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gazepipe import store
from gazepipe.words import counted, grouped

__all__ = ["LOOKED_THROUGH", "Recorded", "among", "recorded_of"]

#: Prefixes of what is read of each stored recording besides its blocks, and not kept.
LOOKED_THROUGH = ("samples/", "messages/text", "messages/offset_ms")

#: Reader → what its files are called, and who made the software (and so the tracker) that writes them.
_FORMATS = {
    "eyelink-asc": ("EyeLink ASC", "SR Research (EyeLink)"),
    "eyelink-edf": ("EyeLink EDF", "SR Research (EyeLink)"),
    "tobii-pro-lab": ("Tobii Pro Lab", "Tobii"),
    "tobii-studio": ("Tobii Studio", "Tobii"),
    "tobii-sdk": ("Tobii SDK", "Tobii"),
    "smi": ("SMI text", "SensoMotoric Instruments (SMI)"),
    "neon-native": ("Pupil Labs native", "Pupil Labs"),
    "neon-timeseries": ("Pupil Cloud", "Pupil Labs"),
    "marker-mapper": ("Pupil Cloud Marker Mapper", "Pupil Labs"),
    "pupil-core": ("Pupil Core", "Pupil Labs"),
    "bids": ("BIDS", ""),
    "csv": ("CSV", ""),
    "parquet": ("Parquet", ""),
    "live-session": ("gazepipe session", ""),
}
_VIDEO = {"SR Research (EyeLink)", "Tobii", "SensoMotoric Instruments (SMI)"}
#: Readers of formats that give pupils in mm.
_IN_MM = ("live-session", "marker-mapper", "neon-")
_MODES = {"CR": "pupil and corneal reflection", "P": "pupil alone"}
#: EyeLink's names of mounts (``ELCLCFG``): where the camera is, and how the head is.
_MOUNTS = {
    "MTABLER": ("on the desk", "to be kept still"),
    "BTABLER": ("on the desk", "to be kept still"),
    "RTABLER": ("on the desk", "free, found by a target sticker"),
    "RBTABLER": ("on the desk", "free, found by a target sticker"),
    "AMTABLER": ("on an arm", "to be kept still"),
    "ABTABLER": ("on an arm", "to be kept still"),
    "ARTABLER": ("on an arm", "free, found by a target sticker"),
    "ABRTABLE": ("on an arm", "free, found by a target sticker"),
    "TOWER": ("in a tower", "to be kept still"),
    "BTOWER": ("in a tower", "to be kept still"),
    "MLRR": ("far away (long range)", "to be kept still"),
    "BLRR": ("far away (long range)", "to be kept still"),
}
_OWN = re.compile(r"(?:RECCFG|ELCLCFG|DRIFTCORRECT|!CAL (?:CALIBRATION|VALIDATION)) ")
_CALIBRATION = re.compile(r"!CAL CALIBRATION (\S+)\s+\S+\s+(LEFT|RIGHT)\s+(\S+)")
_VALIDATION = re.compile(r"!CAL VALIDATION (\S+)\s+\S+\s+(LEFT|RIGHT)\s+(\S+)")
_DRIFT = re.compile(r"DRIFTCORRECT \S+ (LEFT|RIGHT)\s.*OFFSET (\d+(?:\.\d+)?) deg")
_TARGETS = re.compile(r"HV?(\d+)")
#: Keys of `meta` that name software or firmware, and what they are called.
_SOFTWARE = {
    "tracker": "host software",
    "Recording software version": "recording software",
    "SoftwareVersions": "software",
    "IView X Version": "iView X",
    "Version": "",
    "app_version": "app",
    "pipeline_version": "pipeline",
    "software": "session by",
}


#: What of a session's device is told.
_DEVICE = ("manufacturer", "model", "firmware_version", "version")
#: Sources of a session that are no eye trackers.
_NO_TRACKER = {
    "fake": "none (simulated gaze)",
    "replay": "none (a recording played again)",
    "mouse": "none (the pointer of a mouse)",
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """How one recording was made.

    Parameters
    ----------
    format
        Name of the reader.
    eyes
        Whose gaze is in the file, of ``"left", "right", "cyclopean"``.
    pupil
        Whether there is a pupil size anywhere.
    steps_ms
        5th percentile, median and 95th percentile of the time from a sample to the next in the same block; empty where
        there are no two.
    rates_hz
        Nominal rates of its blocks.
    meta
        What else the file states.
    own
        Messages that the tracker wrote of itself.
    delays_ms
        Shortest, median and longest of the delays that messages state of what they tell of; empty where none does.
    gazepipe
        Version that read it.
    """

    format: str
    eyes: tuple[str, ...]
    pupil: bool
    steps_ms: tuple[float, ...]
    rates_hz: tuple[float, ...]
    meta: Mapping[str, Any]
    own: tuple[str, ...]
    gazepipe: str
    delays_ms: tuple[float, ...] = ()

    @property
    def maker(self) -> str:
        """Who made the tracker, and its model where the file names one; empty where nothing does."""
        if self.format == "bids":
            return " ".join(str(self.meta[k]) for k in ("Manufacturer", "ManufacturersModelName") if self.meta.get(k))
        if self.format == "live-session":
            # Not all that a device says of itself: names of phones, streams and files can be people's.
            source = str(self.meta.get("source") or "")
            device = self.meta.get("device")
            told = [str(device[k]) for k in _DEVICE if device.get(k)] if isinstance(device, dict) else []
            return _NO_TRACKER.get(source) or ", ".join([source, *told]).strip(", ")
        made_by = _FORMATS.get(self.format, ("", ""))[1]
        camera = str(self.meta.get("camera") or "")
        return f"{made_by}, camera {camera}" if made_by and camera not in ("", "none") else made_by

    @property
    def software(self) -> str:
        """Versions that the file names."""
        found = [f"{name} {self.meta[key]}".strip() for key, name in _SOFTWARE.items() if self.meta.get(key)]
        return ", ".join(found)

    @property
    def technique(self) -> str:
        """How the tracker works, as its maker's files imply and state it."""
        parts = []
        made_by = _FORMATS.get(self.format, ("", ""))[1] or str(self.meta.get("Manufacturer") or "")
        if any(made_by.split(" (")[0] == known.split(" (")[0] for known in _VIDEO):
            parts.append("video of the eyes")
        elif made_by == "Pupil Labs":
            parts.append("video of the eyes from glasses")
        modes = dict.fromkeys(m.split()[1] for m in self.own if m.startswith("RECCFG") and len(m.split()) > 1)
        parts += [f"{_MODES.get(mode, mode)} (recording mode {mode})" for mode in modes]
        parts += [str(self.meta[k]) for k in ("EyeTrackingMethod",) if self.meta.get(k)]
        return ", ".join(parts)

    @property
    def head(self) -> str:
        """Where the camera is and how the head is, as an EyeLink says it was set."""
        mounts = dict.fromkeys(m.split()[1] for m in self.own if m.startswith("ELCLCFG") and len(m.split()) > 1)
        said = []
        for mount in mounts:
            camera, head = _MOUNTS.get(mount, ("", ""))
            said.append(f"camera {camera}, head {head} (mount {mount})" if camera else f"mount {mount}")
        if self.maker == "Pupil Labs":
            said.append("the tracker is worn on the head")
        return ", ".join(said)

    @property
    def pupil_kind(self) -> str:
        """How the pupil is measured, where the file says it."""
        if self.format.startswith(_IN_MM):
            return "pupil diameter in mm"
        kind = str(self.meta.get("pupil") or self.meta.get("PupilFitMethod") or "")
        return f"pupil size ({kind.lower()})" if kind else "pupil size in the tracker's unit"

    @property
    def clock(self) -> str:
        """On whose clock a session's gaze and events are, and how the tracker's was brought to it."""
        if self.format != "live-session":
            return ""
        text = "gaze and the onsets of images are in the time of the session's computer"
        offsets = self.meta.get("clock_offsets", ())
        if offsets:
            times = counted(len(offsets), "measurement")
            fastest = min(float(offset[2]) for offset in offsets) / 1e6
            return f"{text}, to which the tracker's clock was brought by {times} (fastest round trip {fastest:.2f} ms)"
        if self.meta.get("own_clock"):
            return f"{text}, gaze by when samples arrived, for the tracker's clock was not measured"
        return text

    @property
    def clock_offsets_ms(self) -> npt.NDArray[np.float64]:
        """Time in the session (s) and offset of the tracker's clock then (ms), a row a measurement, ``(n, 2)``."""
        measured = [[float(t) / 1e9, float(offset) / 1e6] for t, offset, _ in self.meta.get("clock_offsets", ())]
        return np.array(measured, np.float64).reshape(-1, 2)

    @property
    def transfer_ms(self) -> float | None:
        """Median time from a sample's time stamp to its arrival in a session; None where it is not known."""
        if not (self.meta.get("own_clock") and self.meta.get("clock_offsets")):
            return None  # by one clock alone a sample's time is when it arrived
        found = _number(self.meta.get("latency_ms", {}).get("tracker to arrival", (None,))[0])
        return found[0] if found else None

    @property
    def uncertain_ms(self) -> float:
        """By how much times of samples may be off where the tracker's clock was set; 0 where all are known."""
        return max((float(part[2]) for part in self.meta.get("clock_uncertain", ())), default=0.0)

    def calibrations(self, what: str = "CALIBRATION") -> list[tuple[str, str, str]]:
        """Kind, eye and result of each calibration (or ``VALIDATION``) of the tracker's own, in order."""
        pattern = _CALIBRATION if what == "CALIBRATION" else _VALIDATION
        return [(m[1], m[2].lower(), m[3]) for text in self.own if (m := pattern.match(text))]

    @property
    def drifts_deg(self) -> list[float]:
        """Offset that each drift check found, one an eye."""
        return [float(m[2]) for text in self.own if (m := _DRIFT.match(text))]

    @property
    def errors_deg(self) -> list[float]:
        """Mean error of each validation of an eye that the file states."""
        stated = [e for v in self.meta.get("validations", ()) for e in _number(v.get("error_avg_deg"))]
        return stated or _number(self.meta.get("Average validation accuracy [°]"))

    @property
    def targets(self) -> list[int]:
        """Numbers of calibration targets."""
        kinds = [kind for kind, _, _ in self.calibrations()]
        found = {int(m[1]) for kind in kinds if (m := _TARGETS.fullmatch(kind))}
        points = sum(key.startswith("Calibration Point ") for key in self.meta)
        return sorted(found | ({points} if points else set()))


def _number(value: Any) -> list[float]:
    """A number as some exports write it, with a comma; none where it is not one."""
    try:
        number = float(str(value).replace(",", "."))
    except ValueError:
        return []
    return [number] if np.isfinite(number) else []


def recorded_of(contents: store.Contents) -> Recorded:
    """Look through a stored recording that was read with `LOOKED_THROUGH`."""
    gaze = {n.split("/")[1]: x for n, x in contents.arrays.items() if n.endswith("/x_coordinate")}
    eyes = tuple(eye for eye, x in gaze.items() if np.isfinite(x).any())
    pupil = any(
        bool(np.isfinite(values).any()) for name, values in contents.arrays.items() if name.endswith("/pupil_size")
    )
    steps = np.diff(contents.arrays["samples/timestamp"])
    starts = np.asarray(contents.arrays["blocks/first_sample"], np.int64)
    steps = np.delete(steps, starts[(starts > 0) & (starts <= steps.size)] - 1)
    low, middle, high = np.percentile(steps, [5, 50, 95]).tolist() if steps.size else (0.0, 0.0, 0.0)
    meta = contents.attrs["meta"]
    delays = contents.arrays.get("messages/offset_ms", np.zeros(0))
    delays = np.abs(delays[np.isfinite(delays) & (delays != 0)])
    return Recorded(
        format=str(contents.attrs["format"]),
        eyes=eyes,
        pupil=pupil,
        steps_ms=(low, middle, high) if steps.size else (),
        rates_hz=tuple(np.unique(contents.arrays["blocks/sampling_rate_hz"]).tolist()),
        meta=json.loads(meta) if isinstance(meta, str) else dict(meta),
        own=tuple(t for t in map(str, contents.arrays["messages/text"]) if _OWN.match(t)),
        gazepipe=str(contents.attrs["gazepipe_version"]),
        delays_ms=(float(delays.min()), float(np.median(delays)), float(delays.max())) if delays.size else (),
    )


def among(values: Iterable[str], *, most: int = 4, silent: str = "nothing about it") -> str:
    """Say what recordings state and how many do: ``A in 5 of 13 recordings, B in 2; nothing about it in the other 6``.

    One value that all state stands alone; empty texts state nothing.
    """
    stated: Sequence[str] = list(values)
    counts = Counter(v for v in stated if v)
    if not counts:
        return ""
    if len(counts) == 1 and counts.total() == len(stated):
        return next(iter(counts))
    shown = counts.most_common(most)
    first = [
        f"{value} in {grouped(n)}" + (f" of {grouped(len(stated))} recordings" if k == 0 else "")
        for k, (value, n) in enumerate(shown)
    ]
    others = counts.total() - sum(n for _, n in shown)
    if others:
        first.append(f"others in {grouped(others)}")
    missing = len(stated) - counts.total()
    return ", ".join(first) + (f"; {silent} in the other {grouped(missing)}" if missing else "")
