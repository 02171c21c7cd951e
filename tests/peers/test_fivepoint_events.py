"""Events of five-point I-VT equal to those of pymovements (`benchmarks/bench_fivepoint.py`)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymovements")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
bench = importlib.import_module("bench_fivepoint")
sys.path.pop(0)


@pytest.fixture(scope="module")
def data(data_dir):
    found = bench.load(data_dir / "raw")
    if len(found) < 3:
        pytest.skip(f"data1.asc, irf and lund2013 are not all in {data_dir / 'raw'}")
    return found


def test_shared_by_hand():
    assert bench.shared(np.array([[0, 4], [6, 9]]), np.array([[0, 4], [6, 8], [20, 30]])) == 1


# Least numbers of events, so that nothing is equal for want of events
@pytest.mark.parametrize(("name", "least"), [("data1.asc", 30), ("irf", 600), ("lund2013", 400)])
def test_same_events(data, name, least):
    blocks = data[name]
    sums = bench.total(blocks)
    for way in ("same", "flat"):
        own, theirs, both = sums[way]
        assert own == theirs == both > least, way
    # All that is set aside: two samples at either end of a trace, and lone missing samples
    assert sums["ends"] <= 4 * len(blocks)
    assert sums["gaps"] <= {"data1.asc": 0, "irf": 0, "lund2013": 8}[name]
    assert sums["known_differs"] == 0
    assert sums["largest"] < 1e-5


def test_pymovements_has_velocities_at_the_ends_and_at_a_lone_missing_sample():
    time = np.arange(40.0)
    x = np.cumsum(np.ones(40))
    x[20] = np.nan
    velocity, ends, gaps = bench.peer_velocity(time, np.column_stack([x, np.zeros(40)]))
    assert (ends, gaps) == (4, 1)
    known = np.flatnonzero(~np.isnan(velocity[:, 0]))
    assert known.tolist() == [i for i in range(2, 38) if not 18 <= i <= 22]
    # one degree a millisecond
    np.testing.assert_allclose(velocity[known, 0], 1000)


def test_the_shortest_fixation_lasts_60_samples_at_1000_hz(data):
    own, theirs = (np.concatenate([bench.compare(b)["same"][k] for b in data["irf"]]) for k in (0, 1))
    assert (own[:, 1] - own[:, 0]).min() == (theirs[:, 1] - theirs[:, 0]).min() == 59
