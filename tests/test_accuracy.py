"""Accuracy and precision at known targets: by hand, and the numbers of ETDQualitizer on its own recordings."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from gazepipe.accuracy import accuracy_precision, fick_deg
from gazepipe.geometry import Screen

SCREEN = Screen(2000, 1000, 2000.0, 1000.0, 1000.0)
NAN = math.nan

_path = Path(__file__).parents[1] / "benchmarks" / "bench_validation.py"
_spec = importlib.util.spec_from_file_location("bench_validation", _path)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


def at(azimuth, elevation):
    """Pixels of a direction in degrees (right and up positive)."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return 1000 + 1000 * np.tan(a), 500 - 1000 * np.tan(e) / np.cos(a)


def one(azimuth, elevation, target=(0.0, 0.0), dt=1.0, **options):
    azimuth, elevation = np.broadcast_arrays(np.asarray(azimuth, float), np.asarray(elevation, float))
    x, y = at(azimuth, elevation)
    n = len(x)
    tx, ty = (np.full(n, float(v)) for v in at(*target))
    return accuracy_precision(dt * np.arange(n), x, y, np.ones(n, int), tx, ty, SCREEN, **options).iloc[0]


def test_fick_angles():
    azimuth, elevation = fick_deg(SCREEN, *at([10.0, -20.0], [5.0, -3.0]))
    np.testing.assert_allclose(azimuth, [10, -20])
    np.testing.assert_allclose(elevation, [5, -3])


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_offset_of_steady_gaze(centre):
    row = one(np.full(10, 1.0), 0.0, centre=centre)
    assert [row.accuracy_deg, row.accuracy_x_deg, row.accuracy_y_deg] == pytest.approx([1, 1, 0], abs=1e-9)
    row = one(np.zeros(10), -2.0, target=(0.0, 3.0), centre=centre)
    assert [row.accuracy_deg, row.accuracy_x_deg, row.accuracy_y_deg] == pytest.approx([5, 0, -5], abs=1e-9)
    assert row.rms_s2s_deg == pytest.approx(0, abs=1e-9)
    assert row.std_deg == pytest.approx(0, abs=1e-9)
    assert row.bcea_deg2 == pytest.approx(0, abs=1e-9)


def test_precision_by_hand():
    # azimuth 1, −1, 1, −1 and elevation 2, 2, −2, −2: uncorrelated
    row = one([1.0, -1, 1, -1], [2.0, 2, -2, -2])
    assert row.rms_s2s_deg == pytest.approx(math.sqrt((4 + (4 + 16) + 4) / 3))
    assert row.std_deg == pytest.approx(math.sqrt(1 + 4))
    k = math.log(1 / 0.32)
    assert row.bcea_deg2 == pytest.approx(2 * k * math.pi * math.sqrt(4 / 3) * math.sqrt(16 / 3))
    assert row.samples == 4


def test_loss_and_rate():
    row = one([0.0, NAN, NAN, 0, 0.3, 0.3, NAN, 0.3], 0.0, dt=2.0)
    assert row.data_loss == 3 / 8
    assert row.effective_rate_hz == pytest.approx(5 / 0.016)
    # only steps between samples that follow one another: 0 → 0.3 and 0.3 → 0.3
    assert row.rms_s2s_deg == pytest.approx(math.sqrt(0.09 / 2))


def test_the_median_does_not_follow_outliers():
    azimuth = np.r_[np.full(19, 1.0), 20.0]
    assert one(azimuth, 0.0, centre="median").accuracy_deg == pytest.approx(1, abs=1e-6)
    # the mean of the vectors: a little less than the mean of the angles, 1.95
    sine, cosine = (19 * f(math.radians(1)) + f(math.radians(20)) for f in (math.sin, math.cos))
    assert one(azimuth, 0.0).accuracy_deg == pytest.approx(math.degrees(math.atan2(sine, cosine)))


def test_median_has_the_smallest_sum_of_angles():
    r = np.random.default_rng(0)
    azimuth, elevation = r.normal(3, 1, 51), r.normal(-2, 2, 51)
    row = one(azimuth, elevation, target=(0.0, 0.0), centre="median")
    x, y = at(azimuth, elevation)

    def total(a, e):
        return SCREEN.angle_deg(x, y, *at(a, e)).sum()

    best = total(row.accuracy_x_deg, row.accuracy_y_deg)
    for da, de in r.normal(0, 0.01, (50, 2)):
        assert total(row.accuracy_x_deg + da, row.accuracy_y_deg + de) > best - 1e-9


def test_targets_in_order_and_none_for_the_rest():
    target = np.r_[np.full(5, 3), np.full(5, -1), np.full(5, 1), np.full(1, 2)]
    x = np.r_[np.full(10, 1000.0), np.full(5, NAN), 1000.0]
    centre = np.full(16, 1000.0), np.full(16, 500.0)
    table = accuracy_precision(np.arange(16.0), x, centre[1], target, *centre, SCREEN)
    assert table["target"].tolist() == [1, 2, 3]
    assert table["data_loss"].tolist() == [1, 0, 0]
    assert np.isnan(table["accuracy_deg"]).tolist() == [True, False, False]
    assert np.isnan(table["effective_rate_hz"]).tolist() == [False, True, False]
    assert np.isnan(table["bcea_deg2"]).tolist() == [True, True, False]


#: File, eye, target → accuracy, its x and y, RMS-S2S, STD (deg), BCEA (deg²), loss, rate (Hz); accuracy of the median.
#: ETDQualitizer 1.2.0 on its recordings, with the screen of its example script: `benchmarks/bench_validation.py`.
ETDQ = {
    ("EyeLink_1000+_binocular_1000Hz", "left", 1): (
        *(0.9198685554, -0.3356236255, 0.8564597662, 0.05123482121, 0.2090351456, 0.08067674952, 0.0, 1000.0),
        0.9454726,
    ),
    ("EyeLink_1000+_binocular_1000Hz", "right", 9): (
        *(1.240418626, 0.1615167931, 1.229859626, 0.0604887302, 0.07136429256, 0.01700415129, 0.0, 1000.0),
        1.241316,
    ),
    ("SMI_RED500_500Hz", "left", 1): (
        *(0.686617101, 0.5786016361, 0.3696861316, 0.07021976941, 0.5053631012, 0.7797622491, 0.0, 484.7542296),
        0.6290429,
    ),
    ("SMI_RED500_500Hz", "right", 9): (
        *(2.9880907, 2.479924129, -1.667452827, 0.3333597628, 1.089514686, 3.081194358, 0.0, 484.7513226),
        2.829077,
    ),
    ("Tobii_Spectrum_120Hz", "left", 1): (
        *(1.56554363, 0.5011342426, -1.483188265, 0.1127709686, 0.1033509815, 0.02765263668, 0.0, 119.9994),
        1.572116,
    ),
    ("Tobii_Spectrum_120Hz", "right", 9): (
        *(0.2882514397, -0.08273674953, 0.2761223927, 0.07530863002, 0.07680442656, 0.02036806726, 0.0, 119.99904),
        0.2907534,
    ),
}
#: Means over the nine targets, left and right eye: accuracy, RMS-S2S, STD, BCEA.
ETDQ_MEANS = {
    "EyeLink_1000+_binocular_1000Hz": (
        (0.977299803455, 0.0550374664093, 0.109214918823, 0.0307536447259),
        (1.24032367801, 0.0580153756417, 0.121910304294, 0.0416490869953),
    ),
    "SMI_RED500_500Hz": (
        (0.991846311759, 0.177195627789, 0.675244854836, 1.54742976386),
        (1.2287162595, 0.143931039489, 0.660364602015, 1.34584938531),
    ),
    "Tobii_Spectrum_120Hz": (
        (0.623779815226, 0.0872787121997, 0.100437222919, 0.0318303073835),
        (0.668856225577, 0.100045398598, 0.0967566786781, 0.0325962649623),
    ),
}
NUMBERS = ("accuracy_deg", "accuracy_x_deg", "accuracy_y_deg", "rms_s2s_deg", "std_deg", "bcea_deg2", "data_loss")


@pytest.fixture(scope="module")
def folder(data_dir):
    return data_dir / "raw" / "validation"


@pytest.mark.parametrize(("name", "eye", "target"), list(ETDQ))
def test_same_numbers_as_etdqualitizer(folder, name, eye, target):
    *expected, median = ETDQ[name, eye, target]
    path = folder / f"{name}.tsv"
    row = bench.ours(path).loc[(eye, target)]
    assert [row[k] for k in (*NUMBERS, "effective_rate_hz")] == pytest.approx(expected, rel=1e-8)
    # its search for the median stops a little earlier
    assert bench.ours(path, "median").loc[(eye, target), "accuracy_deg"] == pytest.approx(median, abs=5e-6)


@pytest.mark.parametrize("name", list(ETDQ_MEANS))
def test_same_means_as_etdqualitizer(folder, name):
    means = bench.ours(folder / f"{name}.tsv").groupby(level=0).mean()
    for eye, expected in zip(("left", "right"), ETDQ_MEANS[name], strict=True):
        got = [means.loc[eye, k] for k in ("accuracy_deg", "rms_s2s_deg", "std_deg", "bcea_deg2")]
        assert got == pytest.approx(expected, rel=1e-9)
