"""Recordings that are folders, or that are made of several files: how a study finds, digests and refuses them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from gazepipe.config import CONFIG_NAME
from gazepipe.discovery import plan
from gazepipe.errors import RecordingError
from gazepipe.ingest import ingest
from gazepipe.readers import is_recording_folder, read_recording
from gazepipe.recipe import digest_folder
from gazepipe.study import Study

T0 = 1_754_690_230_077_095_946
SURFACE = (
    "recording id,timestamp [ns],gaze position on surface x [normalized],gaze position on surface y [normalized]\n"
)
SCENE = "timestamp [ns],gaze x [px],gaze y [px]\n"


def put_mapped(folder: Path, n: int = 200) -> None:
    folder.mkdir(parents=True)
    rows = (f"r,{T0 + 5_000_000 * k},{0.25 + 0.5 * (k > n / 2)},0.5\n" for k in range(n))
    (folder / "gaze.csv").write_text(SURFACE + "".join(rows))
    (folder / "events.csv").write_text(f"recording id,timestamp [ns],name\nr,{T0},IMAGE_ON a.png\n")
    (folder / "aoi_metrics.csv").write_text("not,a,recording\n")


def put_scene(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "gaze.csv").write_text(SCENE + "".join(f"{T0 + 5_000_000 * k},1,2\n" for k in range(50)))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / CONFIG_NAME).write_text('recordings = "recordings"\n[screen]\nwidth_px = 800\nheight_px = 600\n')
    (tmp_path / "recordings").mkdir()
    (tmp_path / "stimuli").mkdir()
    cv2.imwrite(str(tmp_path / "stimuli" / "a.png"), np.zeros((60, 80), np.uint8))
    return Study.open(tmp_path)


def names(study: Study) -> list[tuple[str, str, str]]:
    jobs, failures = plan(study)
    assert not failures
    return sorted((j.source.relative_to(study.recordings).as_posix(), j.user, j.session) for j in jobs)


def test_a_folder_is_one_recording(study: Study) -> None:
    put_mapped(study.recordings / "ann")
    put_mapped(study.recordings / "group" / "bob_ses-2")
    put_mapped(study.recordings / "cyd.export")
    put_mapped(study.recordings / "ann" / "inside")  # part of ann's, whatever it is
    (study.recordings / "dan.csv").write_text("time_ms,x_px,y_px\n0,1,2\n4,3,4\n")
    assert names(study) == [
        ("ann", "ann", ""),
        ("cyd.export", "cyd", ""),
        ("dan.csv", "dan", ""),
        ("group/bob_ses-2", "bob", "ses-2"),
    ]
    assert is_recording_folder(study.recordings / "ann")
    assert not is_recording_folder(study.recordings / "group")


def test_the_recordings_folder_itself(tmp_path: Path, study: Study) -> None:
    study.recordings.rmdir()
    put_mapped(study.recordings)
    assert names(study) == [(".", "recordings", "")]


def test_excluded_folders(study: Study) -> None:
    put_mapped(study.recordings / "ann")
    put_mapped(study.recordings / "bad")
    config = study.config.model_copy(
        update={"ingest": study.config.ingest.model_copy(update={"exclude": ("bad",)})},
    )
    other = Study(config, study.root, study.recordings, study.stimuli, study.store)
    assert names(other) == [("ann", "ann", "")]


def test_parts_of_a_bids_recording_are_none(study: Study) -> None:
    folder = study.recordings / "sub-01"
    folder.mkdir()
    for name in ("recording-eye1_physio.tsv.gz", "recording-eye2_physio.tsv.gz", "events.tsv"):
        (folder / f"sub-01_task-x_{name}").write_bytes(b"")
    (study.recordings / "participants.tsv").write_bytes(b"")
    assert [path for path, _, _ in names(study)] == ["sub-01/sub-01_task-x_recording-eye1_physio.tsv.gz"]


def test_ingest_a_folder_and_only_what_changed(study: Study) -> None:
    folder = study.recordings / "ann"
    put_mapped(folder)
    report = ingest(study, jobs=1)
    assert (report.written, report.failures) == (["ann"], [])
    assert ingest(study, jobs=1).current == ["ann"]
    (folder / "aoi_metrics.csv").write_text("of no account\n")
    assert ingest(study, jobs=1).current == ["ann"]
    # The events are not in gaze.csv, but part of the recording.
    (folder / "events.csv").write_text(f"recording id,timestamp [ns],name\nr,{T0 + 5_000_000},IMAGE_ON a.png\n")
    assert ingest(study, jobs=1).written == ["ann"]


def test_moved_folder_is_the_same_recording(study: Study) -> None:
    put_mapped(study.recordings / "ann")
    ingest(study, jobs=1)
    shutil.move(study.recordings / "ann", study.recordings / "sub" / "ann")
    assert ingest(study, jobs=1).current == ["ann"]


def test_gaze_in_the_scene_is_refused(study: Study) -> None:
    put_scene(study.recordings / "ann")
    assert read_recording(study.recordings / "ann", study.config).meta["coordinates"] == "scene"
    (failure,) = ingest(study, jobs=1).failures
    for text in ("ann: its gaze is in pixels of the scene camera", "expected gaze on the screen", "Marker Mapper"):
        assert text in failure.message


def test_digest_of_a_folder(tmp_path: Path) -> None:
    a, b, above = tmp_path / "r" / "a", tmp_path / "r" / "b", tmp_path / "c"
    a.parent.mkdir()
    for path in (a, b, above):
        path.write_bytes(b"1")
    whole = digest_folder(a.parent, [a, b, above])
    assert whole == digest_folder(a.parent, [above, b, a])
    shutil.copytree(a.parent, tmp_path / "moved")
    assert whole == digest_folder(tmp_path / "moved", [tmp_path / "moved" / "a", tmp_path / "moved" / "b", above])
    assert whole != digest_folder(a.parent, [a, b])
    assert digest_folder(a.parent, [a]) != digest_folder(a.parent, [b])  # the name counts
    b.write_bytes(b"2")
    assert whole != digest_folder(a.parent, [a, b, above])
    with pytest.raises(RecordingError, match="no such file"):
        digest_folder(a.parent, [a.with_name("z")])


def test_reference_image_of_another_size_than_the_screen(study: Study) -> None:
    folder = study.recordings / "ann"
    put_mapped(folder)
    text = (folder / "gaze.csv").read_text().replace("gaze position on surface", "gaze position in reference image")
    (folder / "gaze.csv").write_text(text.replace("[normalized]", "[px]"))
    cv2.imwrite(str(folder / "reference_image.jpeg"), np.zeros((60, 80), np.uint8))
    report = ingest(study)
    (failure,) = report.failures
    assert (
        "its gaze is in the 80 × 60 px of a reference image; expected the 800 × 600 px of [screen]" in failure.message
    )
