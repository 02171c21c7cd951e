"""Quality over several recordings equals that of one recording with all of their samples, where that can be."""

from __future__ import annotations

import json
import math

import pytest
from click.testing import CliRunner

from gazepipe.cli import main
from gazepipe.errors import NothingToDoError
from gazepipe.ingest import ingest
from gazepipe.user_quality import pooled, stored_quality, user_quality

A = {
    **{"samples": 1000, "duration_s": 1.0, "data_loss": 0.1, "effective_rate_hz": 900.0, "nominal_rate_hz": 1000.0},
    **{
        "n_gaps": 2,
        "longest_gap_ms": 60.0,
        "rms_s2s_deg": 0.1,
        "std_deg": 0.2,
        "bcea_deg2": math.nan,
        "off_screen": 0.0,
    },
    **{"n_fixations": 3, "mean_fixation_ms": 200.0, "median_fixation_ms": 210.0, "accuracy_deg": 0.5},
    "accuracy_max_deg": 0.9,
}
B = {
    **{"samples": 3000, "duration_s": 12.0, "data_loss": 0.5, "effective_rate_hz": 125.0, "nominal_rate_hz": 250.0},
    **{"n_gaps": 1, "longest_gap_ms": 900.0, "rms_s2s_deg": 0.3, "std_deg": 0.4, "bcea_deg2": 0.7, "off_screen": 0.2},
    **{"n_fixations": 9, "mean_fixation_ms": 300.0, "median_fixation_ms": 310.0, "accuracy_deg": math.nan},
    "accuracy_max_deg": math.nan,
}


def test_each_figure_has_its_weight():
    q = pooled([A, B])
    assert (q["samples"], q["duration_s"], q["n_gaps"], q["n_fixations"]) == (4000, 13, 3, 12)
    assert q["data_loss"] == pytest.approx((100 + 1500) / 4000)
    assert q["effective_rate_hz"] == pytest.approx((900 + 1500) / 13)
    assert q["off_screen"] == pytest.approx(0.2 * 1500 / 2400)
    assert q["mean_fixation_ms"] == pytest.approx((3 * 200 + 9 * 300) / 12)
    assert (q["nominal_rate_hz"], q["longest_gap_ms"]) == (250, 900)
    assert (q["rms_s2s_deg"], q["std_deg"], q["bcea_deg2"], q["median_fixation_ms"]) == (0.3, 0.4, 0.7, 310)
    assert (q["accuracy_deg"], q["accuracy_max_deg"]) == (0.5, 0.9)
    for name, value in pooled([A]).items():
        assert value == pytest.approx(A[name], nan_ok=True), name


def test_half_of_the_weight_on_either_side():
    q = pooled([{**A, "n_fixations": 9}, B])
    assert q["rms_s2s_deg"] == pytest.approx(0.2)


def test_users_are_kept_apart():
    found = user_quality({"a_1": "a", "a_2": "a", "b": "b"}, {"a_1": A, "a_2": B, "b": A})
    assert [(u, f["recordings"]) for u, f in found.items()] == [("a", 2), ("b", 1)]
    assert found["b"]["bcea_deg2"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_two_sessions_are_as_one_recording(small_study):
    looks = [("a.png", [(200, 150, 300), (600, 450, 300)]), ("b.png", [(400, 300, 400)])]
    small_study.recording("anna_ses-1.csv", looks)
    small_study.recording("anna_ses-2.csv", looks[:1])
    small_study.recording("ben.csv", [*looks, looks[0]])
    with pytest.raises(NothingToDoError, match="no raw recordings"):
        stored_quality(small_study.open())
    ingest(small_study.open())
    found = stored_quality(small_study.open())
    assert found == small_study.open().manifest("ingest")["users"]
    anna, ben = found["anna"], found["ben"]
    assert anna["recordings"] == 2
    for name in ("samples", "duration_s", "data_loss", "effective_rate_hz", "n_fixations", "mean_fixation_ms"):
        assert anna[name] == pytest.approx(ben[name]), name
    result = CliRunner().invoke(main, ["quality", str(small_study.root)])
    assert result.exit_code == 0
    assert result.output.splitlines()[1].split()[:2] == ["anna", "2"]
    result = CliRunner().invoke(main, ["quality", str(small_study.root), "--by", "recording", "--json"])
    assert sorted(json.loads(result.output)) == ["anna_ses-1", "anna_ses-2", "ben"]
