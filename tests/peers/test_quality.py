"""Quality figures equal to those of ETDQualitizer on its own recordings (`benchmarks/bench_validation.py`).

`tests/test_accuracy.py` has the numbers of one version written down; here they come from the one that is installed.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ETDQualitizer")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
bench = importlib.import_module("bench_validation")
sys.path.pop(0)

EYES = ("left", "right")


@pytest.fixture(params=["EyeLink_1000+_binocular_1000Hz", "SMI_RED500_500Hz", "Tobii_Spectrum_120Hz"])
def path(data_dir, request):
    found = data_dir / "raw" / "validation" / f"{request.param}.tsv"
    if not found.exists():
        pytest.skip(f"no recording {found}")
    return found


def test_every_eye_and_target(path):
    own, peer = bench.ours(path), bench.theirs(path)
    assert len(peer) == 18  # two eyes, nine targets
    np.testing.assert_allclose(own.loc[peer.index, peer.columns], peer, rtol=1e-9, atol=1e-12)


def test_accuracy_of_the_median(path):
    own, peer = bench.ours(path, "median"), bench.theirs(path, "median")
    columns = ["accuracy_deg", "accuracy_x_deg", "accuracy_y_deg"]
    # it stops its search for the median a little earlier
    np.testing.assert_allclose(own.loc[peer.index, columns], peer[columns], atol=1e-5)


@pytest.mark.parametrize("eye", EYES)
def test_quality_of_a_recording(path, eye):
    own, peer, n = bench.recording_quality(path, eye)
    assert n > 10
    assert own["data_loss"] == pytest.approx(peer["data_loss"], rel=1e-12, abs=1e-15)
    assert own["effective_rate_hz"] == pytest.approx(peer["effective_rate_hz"], rel=1e-11)
    assert own["bcea_deg2"] == pytest.approx(peer["bcea_deg2"], rel=1e-5)  # float32 samples
    # angles at the eye against distances in azimuth and elevation
    assert own["rms_s2s_deg"] == pytest.approx(peer["rms_s2s_deg"], rel=0.01)
    assert own["std_deg"] == pytest.approx(peer["std_deg"], rel=0.01)


def test_one_recording_has_loss(data_dir):
    path = data_dir / "raw" / "validation" / "Tobii_Spectrum_120Hz.tsv"
    if not path.exists():
        pytest.skip(f"no recording {path}")
    assert bench.recording_quality(path, "right")[0]["data_loss"] > 0
