"""The simulated study: what it writes, read by plain Python, against what it says is true."""

from __future__ import annotations

import csv
import gzip
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from gazepipe.config import load_config
from gazepipe.errors import ConfigError, StorageError
from gazepipe.simulate import SimulatedStudy, load_truth, simulate_study
from gazepipe.simulate.observers import SCREEN, angles_to_pixels, pixels_to_angles, saccade_duration_ms
from gazepipe.simulate.scenes import CLASSES
from gazepipe.simulate.trace import saccade_profile

RATE_HZ, SECONDS = 500.0, 2.0


@dataclass
class Block:
    """One START … END of an ASC file."""

    eyes: tuple[str, ...]
    rate_hz: float = 0.0
    start: float = 0.0
    end: float = 0.0
    samples: list[tuple[float, ...]] = field(default_factory=list)
    events: list[list[str]] = field(default_factory=list)
    messages: dict[str, float] = field(default_factory=dict)


def read_text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def read_asc(path: Path) -> list[Block]:
    """Read the lines of an ASC file, one after the other; an unknown line fails."""
    blocks: list[Block] = []
    for line in read_text(path).splitlines():
        words = line.split()
        if not words or line.startswith(("**", ">>>", "PRESCALER", "VPRESCALER", "PUPIL", "EVENTS")):
            continue
        if words[0] == "START":
            blocks.append(Block(tuple(w for w in words if w in ("LEFT", "RIGHT")), start=float(words[1])))
        elif words[0] == "SAMPLES":
            blocks[-1].rate_hz = float(words[words.index("RATE") + 1])
        elif words[0] == "END":
            blocks[-1].end = float(words[1])
        elif words[0] == "MSG":
            if blocks and not blocks[-1].end:
                blocks[-1].messages[" ".join(words[2:])] = float(words[1])
        elif re.match(r"[SE](FIX|SACC|BLINK)$", words[0]):
            blocks[-1].events.append(words)
        else:
            assert line[0].isdigit(), line
            assert words[-1] in ("...", ".C.", ".....", ".C.C.")
            blocks[-1].samples.append(tuple(math.nan if w == "." else float(w) for w in words[:-1]))
    return blocks


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SimulatedStudy:
    """Six users are one of each format."""
    out = tmp_path_factory.mktemp("study")
    return simulate_study(out, users=6, images=8, rate_hz=RATE_HZ, seconds=SECONDS, seed=3, repeats=2)


@pytest.fixture(scope="module")
def blocks(study: SimulatedStudy) -> dict[str, list[Block]]:
    """The blocks of every user recorded as ASC, sessions joined."""
    found: dict[str, list[Block]] = {}
    for path in sorted(study.path.glob("*.asc*")):
        found.setdefault(path.name[:5], []).extend(read_asc(path))
    return found


def gaze(study: SimulatedStudy, blocks: dict[str, list[Block]], user: str) -> np.ndarray:
    """Time, x, y of all samples of a user, the mean of both eyes where there are two; columns of the result."""
    if user in blocks:
        rows = np.array([s for b in blocks[user] for s in b.samples])
        x, y = rows[:, 1::3].mean(axis=1), rows[:, 2::3].mean(axis=1)
        return np.column_stack([rows[:, 0], x, y])
    lines = csv.DictReader(read_text(study.path / f"{user}.csv.gz").splitlines())
    return np.array([[float(r[k] or "nan") for k in ("time_ms", "x_px", "y_px")] for r in lines])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    small = {"users": 5, "images": 2, "seconds": 0.5}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        simulate_study(tmp_path / name, seed=seed, **small)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a["sim02.csv.gz"] != c["sim02.csv.gz"]
    assert a["stimuli/scene01.png"] != c["stimuli/scene01.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_user_and_scene_do_not_depend_on_the_others(tmp_path: Path) -> None:
    for name, users in (("few", 2), ("more", 4)):
        simulate_study(tmp_path / name, users=users, images=2, seconds=0.5)
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    for name in ("sim01.asc.gz", "sim02.csv.gz", "stimuli/scene02.png", "truth/objects.csv"):
        assert few[name] == more[name]


def test_default_study_fits_a_repository(tmp_path: Path) -> None:
    simulate_study(tmp_path / "out", store="../store")
    made = contents(tmp_path / "out")
    shipped = Path(__file__).parents[2] / "recordings"
    for name in ("gazepipe.toml", "README.md"):
        assert made[name].decode() == (shipped / name).read_text()
    sizes = {name: len(data) for name, data in made.items()}
    assert sum(sizes.values()) < 3_000_000
    assert sum(size for name, size in sizes.items() if name.startswith("stimuli/")) < 500_000
    assert sum(name.startswith("sim") for name in sizes) == 13
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_configuration_fits(study: SimulatedStudy) -> None:
    config = load_config(study.path / "gazepipe.toml")
    assert config.screen.screen() == SCREEN
    for name in (config.csv.time, config.csv.x, config.csv.y, config.csv.trial, config.csv.stimulus):
        assert name in read_text(study.path / "sim02.csv.gz").splitlines()[0].split(",")
    names = {p.name for p in study.path.iterdir()}
    users = {re.match(config.ingest.user_pattern, n)["user"] for n in names if n.startswith("sim")}  # type: ignore[index]
    assert users == set(study.users["user"])
    shown = [re.match(config.trials.stimulus, "!V IMGLOAD FILL scene03.png"), re.match(config.trials.start, "SYNCTIME")]
    assert all(shown)
    assert re.match(config.trials.stop, "blank_screen")


def test_formats(study: SimulatedStudy, blocks: dict[str, list[Block]]) -> None:
    eyes = {user: found[0].eyes for user, found in blocks.items()}
    assert eyes == {"sim01": ("RIGHT",), "sim03": ("LEFT", "RIGHT"), "sim05": ("LEFT",)}
    assert {p.name for p in study.path.glob("sim05*")} == {"sim05_ses-1.asc", "sim05_ses-2.asc.gz"}
    head = read_text(study.path / "sim01.asc.gz").split("START")[0]
    assert re.search(r"MSG\t\d+ DISPLAY_COORDS 0 0 1279 1023\n", head)
    assert re.search(r"!CAL VALIDATION HV9 R RIGHT +GOOD ERROR \d\.\d\d avg\.", head)


def test_samples_of_each_block_are_complete(blocks: dict[str, list[Block]]) -> None:
    for user, found in blocks.items():
        assert len(found) == 16, user
        for block in found:
            times = np.array([s[0] for s in block.samples])
            assert block.rate_hz == RATE_HZ
            assert np.all(np.diff(times) == 1000 / RATE_HZ)
            assert (times[0], times[-1] + 1000 / RATE_HZ) == (block.start, block.end)
            assert block.messages["blank_screen"] - block.messages["SYNCTIME"] == SECONDS * 1000
            shown = (times >= block.messages["SYNCTIME"]) & (times < block.messages["blank_screen"])
            assert shown.sum() == RATE_HZ * SECONDS
            assert any(text.startswith("!V IMGLOAD FILL scene") for text in block.messages)


def test_online_events_agree_with_samples(blocks: dict[str, list[Block]]) -> None:
    checked = {"EFIX": 0, "ESACC": 0, "EBLINK": 0}
    for block in (b for found in blocks.values() for b in found):
        rows = np.array(block.samples)
        opened = [w[:3] for w in block.events if w[0].startswith("S")]
        for words in (w for w in block.events if w[0].startswith("E")):
            kind, eye, *numbers = words
            assert ["S" + kind[1:], eye, numbers[0]] in opened
            begin, end, duration = (float(v) for v in numbers[:3])
            assert duration == end - begin + 1000 / RATE_HZ
            part = rows[(rows[:, 0] >= begin) & (rows[:, 0] <= end)]
            assert len(part) == duration * RATE_HZ / 1000
            column = 1 + 3 * block.eyes.index("LEFT" if eye == "L" else "RIGHT")
            x, y, pupil = part[:, column : column + 3].T
            if kind == "EBLINK":
                assert np.isnan(x).all()
                assert (pupil == 0).all()
                assert 70 <= duration <= 250
            elif kind == "EFIX":
                assert float(numbers[3]) == pytest.approx(np.nanmean(x), abs=0.1)
                assert float(numbers[4]) == pytest.approx(np.nanmean(y), abs=0.1)
            checked[kind] += 1
    assert checked["EFIX"] > 200
    assert checked["ESACC"] > 150
    assert checked["EBLINK"] > 5


def test_saccades_follow_the_main_sequence(blocks: dict[str, list[Block]]) -> None:
    rows = [w for found in blocks.values() for b in found for w in b.events if w[0] == "ESACC"]
    amplitude, peak, duration = (np.array([float(w[k]) for w in rows]) for k in (9, 10, 4))
    bare = duration < 100
    amplitude, peak, duration = amplitude[bare], peak[bare], duration[bare]
    # Bahill et al. (1975): some 2.2 ms a degree on top of 20 to 25 ms, peaks of 250-500 °/s at 5-15°.
    slope, intercept = np.polyfit(amplitude, duration, 1)
    assert slope == pytest.approx(2.2, abs=0.2)
    assert intercept == pytest.approx(21, abs=2.5)
    bins = [peak[(amplitude >= a) & (amplitude < b)] for a, b in ((1, 3), (3, 6), (6, 10), (10, 20))]
    medians = [np.median(b) for b in bins]
    assert medians == sorted(medians)
    assert 100 < medians[0] < 220
    assert 380 < medians[3] < 600


def test_saccade_profile() -> None:
    phase = np.linspace(0, 1, 1001)
    way = saccade_profile(phase)
    assert (way[0], way[-1]) == (0, pytest.approx(1))
    speed = np.diff(way) * 1000
    assert (speed >= 0).all()
    # A minimum-jerk movement peaks at 15/8 of its mean velocity (Flash & Hogan 1985); ours a little before half way.
    assert speed.max() == pytest.approx(15 / 8, abs=0.05)
    assert speed.argmax() < 500
    assert saccade_duration_ms(10) == pytest.approx(43)


def test_gaze_is_where_the_truth_has_it(study: SimulatedStudy, blocks: dict[str, list[Block]]) -> None:
    for user, rows in study.fixations.groupby("user"):
        samples = gaze(study, blocks, str(user))
        assert len(rows) > 60
        for fixation in rows.itertuples():
            inside = (samples[:, 0] >= fixation.onset_ms) & (samples[:, 0] < fixation.offset_ms)
            assert inside.sum() >= 0.059 * RATE_HZ
            x, y = samples[inside, 1], samples[inside, 2]
            error = SCREEN.angle_deg(np.nanmedian(x), np.nanmedian(y), fixation.x_px, fixation.y_px)
            # Drift has a standard deviation of 0.05° along each axis.
            assert error < 0.3
            assert np.nanpercentile(np.hypot(x - np.nanmean(x), y - np.nanmean(y)), 90) < 12


def test_noise_and_losses(study: SimulatedStudy, blocks: dict[str, list[Block]]) -> None:
    for user in study.users.itertuples():
        samples = gaze(study, blocks, str(user.user))
        rows = study.fixations[study.fixations["user"] == user.user]
        steps = []
        for fixation in rows.itertuples():
            inside = (samples[:, 0] >= fixation.onset_ms) & (samples[:, 0] < fixation.offset_ms)
            x, y = pixels_to_angles(SCREEN, samples[inside, 1], samples[inside, 2])
            steps.append(np.diff(x) ** 2 + np.diff(y) ** 2)
        eyes = 1 if user.eyes in ("left", "right") else 2
        assert math.sqrt(np.nanmean(np.concatenate(steps))) * eyes**0.5 == pytest.approx(user.noise_deg, rel=0.1)
        assert 0 < np.isnan(samples[:, 1]).mean() < 0.15


def test_pixels_and_angles_agree_with_the_geometry() -> None:
    x, y = angles_to_pixels(SCREEN, [0.0, 5.0, 0.0], [0.0, 0.0, -3.0])
    assert SCREEN.angle_deg(x[0], y[0], x[1:], y[1:]) == pytest.approx([5, 3])
    assert np.allclose(pixels_to_angles(SCREEN, x, y), [[0, 5, 0], [0, 0, -3]])


def test_class_is_that_of_the_box(study: SimulatedStudy) -> None:
    scale, bar = 4.0, 32.0
    shift = study.users.set_index("user")
    for row in study.fixations.sample(100, random_state=0).to_dict("records"):
        x, y = pixels_to_angles(SCREEN, row["x_px"], row["y_px"])
        user = shift.loc[row["user"]]
        px, py = (float(v) for v in angles_to_pixels(SCREEN, x - user["offset_x_deg"], y - user["offset_y_deg"]))
        boxes = study.objects[study.objects["stimulus"] == row["stimulus"]]
        dx, dy = px / scale - boxes["x"], (py - bar) / scale - boxes["y"]
        inside = (dx > 0.1) & (dx < boxes["width"] - 0.1) & (dy > 0.1) & (dy < boxes["height"] - 0.1)
        if inside.any():
            assert boxes["class"][inside].tolist() == [row["class"]]


def test_people_look_at_what_they_prefer(tmp_path: Path) -> None:
    study = simulate_study(tmp_path / "s", users=8, images=24, rate_hz=125, seed=2)
    looks = study.fixations[study.fixations["class"] != "background"]
    share = looks.groupby("user")["class"].value_counts(normalize=True).unstack(fill_value=0)[list(CLASSES)]
    taste = study.users.set_index("user")[list(CLASSES)]
    # Relative to what everybody looks at: objects of some classes stand in better places.
    assert np.corrcoef(np.ravel(share - share.mean()), np.ravel(taste - taste.mean()))[0, 1] > 0.85
    keen = taste.max(axis=1) > 0.45
    assert keen.sum() >= 2
    assert (share.idxmax(axis=1) == taste.idxmax(axis=1))[keen].all()


def test_scenes(study: SimulatedStudy) -> None:
    for name, boxes in study.objects.groupby("stimulus"):
        assert 5 <= len(boxes) <= 8
        assert set(boxes["class"]) <= set(CLASSES)
        image = cv2.imread(str(study.path / "stimuli" / str(name)))
        assert image is not None
        assert image.shape == (240, 320, 3)
        for a in boxes.itertuples():
            assert 0 <= a.x <= a.x + a.width <= 320
            assert 0 <= a.y <= a.y + a.height <= 240
    assert study.objects.groupby("class")["stimulus"].nunique().min() >= 6


def test_truth_reads_back(study: SimulatedStudy) -> None:
    read = load_truth(study.path)
    for name in ("users", "objects", "fixations"):
        assert getattr(read, name).astype(object).equals(getattr(study, name).astype(object))
    assert set(read.fixations["repeat"]) == {1, 2}


def test_truth_of_another_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a simulated study"):
        load_truth(tmp_path)


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="choose an empty"):
            simulate_study(tmp_path, users=1, images=1, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_overwriting_replaces_what_was_simulated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    simulate_study(out, users=2, images=3, seconds=0.5)
    (out / "notes.txt").write_text("kept")
    with pytest.raises(ConfigError, match="already"):
        simulate_study(out, users=1, images=2, seconds=0.5)
    simulate_study(out, users=1, images=2, seconds=0.5, overwrite=True)
    assert not (out / "sim02.csv.gz").exists()
    assert len(list((out / "stimuli").iterdir())) == 2
    assert (out / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"users": 0}, "users"), ({"images": 0}, "images"), ({"rate_hz": 60}, "rate_hz"), ({"seconds": 0.1}, "seconds")],
)
def test_wrong_arguments(tmp_path: Path, wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        simulate_study(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_2000_hz_has_half_milliseconds(tmp_path: Path) -> None:
    simulate_study(tmp_path / "out", users=2, images=1, seconds=0.5, rate_hz=2000)
    (block,) = read_asc(tmp_path / "out" / "sim01.asc.gz")
    assert np.all(np.diff([s[0] for s in block.samples]) == 0.5)
    lines = read_text(tmp_path / "out" / "sim02.csv.gz").splitlines()
    assert float(lines[3].split(",")[0]) - float(lines[2].split(",")[0]) == 0.5


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        simulate_study(tmp_path / "file" / "out", users=1, images=1)
    with pytest.raises(ConfigError, match="is a file"):
        simulate_study(tmp_path / "file", users=1, images=1)
