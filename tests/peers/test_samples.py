"""Samples identical to those of other readers, where these agree with the file (`benchmarks/bench_samples.py`).

A plain reading of the file's bytes decides. Known deviations of the peers are listed with their reason: a peer need
not deviate for ever, but a file that is not listed has to be the same.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
bench = importlib.import_module("bench_samples")
sys.path.pop(0)

FILES = (
    "bino500.asc.gz",
    "binoRemote250.asc.gz",
    "data1.asc",
    "eyelink_binocular_example.asc",
    "eyelink_monocular_2khz_example.asc",
    "eyelink_monocular_example.asc",
    "eyelink_monocular_no_dummy_example.asc",
    "mono1000.asc.gz",
    "mono2000.asc.gz",
    "mono250.asc.gz",
    "monoRemote250.asc.gz",
    "test_eyelink.asc",
)
MODULES = {"mne": "mne", "pymovements": "pymovements"}
DEVIATIONS = {
    ("mne", "binoRemote250.asc.gz"): "expects the head target's columns, which the file announces and does not have",
    ("mne", "eyelink_monocular_no_dummy_example.asc"): "finds no samples where a block has no END",
    ("mne", "eyelink_monocular_2khz_example.asc"): "lays samples on an even grid although minutes are missing",
    ("mne", "eyelink_monocular_example.asc"): "lays samples on an even grid although minutes are missing",
    ("mne", "mono2000.asc.gz"): "whole milliseconds that stand twice are both put in one place of the grid",
    ("pymovements", "mono2000.asc.gz"): "keeps whole milliseconds that stand twice as they are printed",
    ("pymovements", "binoRemote250.asc.gz"): "does not know HTARGET in the line SAMPLES and then finds no rate",
    ("pymovements", "monoRemote250.asc.gz"): "does not know HTARGET in the line SAMPLES and then finds no rate",
}

ASC = """** CONVERTED FROM x.edf
START\t100 \tLEFT\tRIGHT\tSAMPLES\tEVENTS
SAMPLES\tGAZE\tLEFT\tRIGHT\tRATE\t 500.00
100\t  10.5\t  20.0\t 300.0\t  30.0\t  40.0\t 400.0\t.....
102\t  10.6\t  20.1\t 301.0\t   .\t   .\t 0.0\t.....
END\t104 \tSAMPLES\tEVENTS
200\t  1.0\t  2.0\t 3.0\t  1.0\t  2.0\t 3.0\t.....
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.asc"
    path.write_text(ASC, encoding="utf-8")
    return path


@pytest.fixture
def file(data_dir, request):
    path = data_dir / "raw" / "eyelink_asc" / request.param
    if not path.exists():
        pytest.skip(f"no recording {path}")
    return path


def test_plain_reading_by_hand(small):
    found = bench.plain_asc(small)
    assert found.time.tolist() == [100, 102]
    np.testing.assert_array_equal(found.eyes["left"], [[10.5, 10.6], [20, 20.1], [300, 301]])
    np.testing.assert_array_equal(found.eyes["right"], [[30, np.nan], [40, np.nan], [400, 0]])


@pytest.mark.parametrize("row", [0, 1, 2])
def test_one_wrong_value_is_seen(small, row):
    def wrong(path):
        samples = bench.plain_asc(path)
        samples.eyes["left"][row, 1] += 0.1
        return samples

    assert bench.judge(bench.own_asc, small).same
    verdict = bench.judge(wrong, small)
    assert not verdict.same
    assert (verdict.by_time, verdict.by_order) == (1, 1)


def test_wrong_times_and_missing_samples_are_seen(small):
    def late(path):
        samples = bench.plain_asc(path)
        return bench.Samples(samples.time + 1, samples.eyes)

    def short(path):
        samples = bench.plain_asc(path)
        return bench.Samples(samples.time[:1], {e: v[:, :1] for e, v in samples.eyes.items()})

    assert (bench.judge(late, small).by_time, bench.judge(late, small).by_order) == (0, 2)
    assert bench.judge(short, small).by_time == 1


def test_every_recording_is_listed(data_dir):
    found = {p.name for p in bench.asc_files(data_dir)}
    if not found:
        pytest.skip(f"no recordings in {data_dir / 'raw' / 'eyelink_asc'}")
    assert found == set(FILES)


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_same_samples_as_the_file(file):
    verdict = bench.judge(bench.own_asc, file)
    assert verdict.same, str(verdict)
    assert verdict.n_reader == verdict.n_file > 0


@pytest.mark.parametrize("peer", list(MODULES))
@pytest.mark.parametrize("file", FILES, indirect=True)
def test_same_samples_as_peer(file, peer):
    pytest.importorskip(MODULES[peer])
    verdict = bench.judge(bench.PEERS[peer], file)
    if (peer, file.name) not in DEVIATIONS:
        assert verdict.same, str(verdict)


def test_same_as_neon_recording(data_dir):
    folder = data_dir / "raw" / "neon_native" / "demo_recording"
    if not folder.is_dir():
        pytest.skip(f"no recording in {folder}")
    pytest.importorskip("pupil_labs.neon_recording")
    found = bench.compare_neon(folder)
    assert {what: n for what, (n, same) in found.items() if not same} == {}
    assert {what: n for what, (n, _) in found.items() if "gaze" in what} == {"gaze, file": 1788, "gaze, peer": 1788}
    assert found["pupils, peer"][0] > 3000
    assert [found[f"{kind}s, peer"][0] for kind in ("fixation", "saccade", "blink", "message")] == [23, 22, 2, 2]
