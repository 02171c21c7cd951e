"""Agreement with an expert at 1000 Hz: the figures `benchmarks/bench_irf.py` prints.

The bounds are a guard against getting worse, a little below what was measured; they are no claim.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gazepipe.config import IvtConfig

_path = Path(__file__).parents[1] / "benchmarks" / "bench_irf.py"
_spec = importlib.util.spec_from_file_location("bench_irf", _path)
bench = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)


@pytest.fixture(scope="module")
def data(data_dir):
    folder = data_dir / "raw" / "irf"
    if not folder.is_dir():
        pytest.skip(f"no labelled recordings in {folder}")
    return bench.load(folder)


@pytest.mark.parametrize(
    ("name", "fixation", "saccade"),
    [
        ("olsen, 30 °/s", (0.871, 0.862), (0.845, 0.788)),
        ("olsen, adaptive", (0.869, 0.878), (0.803, 0.775)),
        ("savgol, 30 °/s", (0.874, 0.867), (0.866, 0.795)),
        ("savgol, adaptive", (0.875, 0.885), (0.821, 0.796)),
        ("fivepoint, 30 °/s", (0.887, 0.895), (0.885, 0.803)),
        ("fivepoint, adaptive", (0.881, 0.895), (0.869, 0.772)),
    ],
)
def test_agreement_with_the_expert(data, name, fixation, saccade):
    (kf, ff, _, n_fix, ks, fs, _, n_sac), thresholds = bench.compare(data, IvtConfig(**bench.SETTINGS[name]))
    assert (n_fix, n_sac) == (424, 372)
    assert (kf, ff) == pytest.approx(fixation, abs=0.02)
    assert (ks, fs) == pytest.approx(saccade, abs=0.02)
    assert all(10 <= t <= 100 for t in thresholds)
