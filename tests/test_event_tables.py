"""What ingesting stores of a recording's events."""

from __future__ import annotations

import numpy as np
import pytest

from gazepipe.analyse import analyse
from gazepipe.blinks import blinks
from gazepipe.config import load_config
from gazepipe.readers import read_recording
from gazepipe.saccades import saccades
from gazepipe.simulate import simulate_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    simulate_study(root, users=2, images=5, seconds=2.0)
    return root


@pytest.mark.parametrize("user", ["sim01", "sim02"])  # ASC of one eye, with native events; CSV without pupil or events
def test_saccades_and_blinks_are_stored(study, user):
    config = load_config(study / "gazepipe.toml")
    (path,) = study.rglob(f"{user}*.gz")
    arrays, attrs = analyse(path, config)
    trace, screen = read_recording(path, config), config.screen.screen()
    for name, expected in (("blinks", blinks(trace, screen, config.ivt)), ("saccades", None)):
        columns = {k.removeprefix(f"{name}/"): v for k, v in arrays.items() if k.startswith(f"{name}/")}
        assert {len(v) for v in columns.values()} == {len(columns["onset_ms"])}
        assert all(v.dtype.kind in "fi" for v in columns.values())
        assert columns["trial"].max(initial=-1) < 5
        if expected is not None:
            np.testing.assert_array_equal(columns["onset_ms"], expected["onset_ms"])
        else:
            # those inside merged fixations are left out
            every = saccades(trace, screen, config.ivt)["onset_ms"]
            assert len(columns["onset_ms"]) > 10
            assert np.isin(columns["onset_ms"], every).all()
    assert any(k.startswith("native_events/") for k in arrays) == (user == "sim01")
    assert attrs["quality"]["velocity_threshold_deg_s"] == 30
    assert attrs["quality"]["bcea_deg2"] > 0
    assert "quality/bcea_deg2" in arrays
    assert "quality/velocity_threshold_deg_s" not in arrays
