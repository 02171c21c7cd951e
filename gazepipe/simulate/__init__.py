"""A complete study made up from nothing: drawn scenes, observers with known preferences, and their recordings.

It stands in for data that cannot be shipped, and it knows the truth that real recordings hide.
"""

from __future__ import annotations

from gazepipe.simulate.study import simulate_study
from gazepipe.simulate.truth import SimulatedStudy, load_truth

__all__ = ["SimulatedStudy", "load_truth", "simulate_study"]
