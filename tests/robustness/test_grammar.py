"""Texts made of a format's own lines, names and separators, in any order: refused in a sentence, or sound."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from child import check_refusal, write
from corruptions import HOSTILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invariants import check_recording
from samples import MADE, Sample
from survival import told

from gazepipe.config import StudyConfig
from gazepipe.errors import GazepipeError
from gazepipe.readers import read_recording, readers

NAMES = [r.name for r in readers() if r.name in MADE and r.name != "neon-native"]
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def _numbers() -> st.SearchStrategy[bytes]:
    whole = st.integers(-(2**70), 2**70).map(lambda v: str(v).encode())
    real = st.floats(width=64).map(lambda v: repr(v).encode())
    small = st.floats(-10, 2000, width=32).map(lambda v: f"{v:.2f}".encode())
    return st.one_of(small, small, whole, real, st.sampled_from([t for t in HOSTILE if len(t) < 100]))


@st.composite
def texts(draw: st.DrawFn, content: bytes) -> bytes:
    """Lines of a file, most in order; some numbers, words and whole lines are others; any text may stand between."""
    lines = content.splitlines()
    top = lines[: draw(st.integers(0, 12))]
    rows = lines[len(top) :]
    kept = draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=30)) if rows else []
    if draw(st.booleans()):
        kept.sort()
    body = []
    for k in kept:
        line = rows[k]
        if draw(st.integers(0, 3)) == 0:
            found = list(_NUMBER.finditer(line))
            if found:
                match = found[draw(st.integers(0, len(found) - 1))]
                line = line[: match.start()] + draw(_numbers()) + line[match.end() :]
        if draw(st.integers(0, 9)) == 0:
            line = draw(st.text(max_size=40)).encode("utf-8", "surrogatepass")
        body.append(line)
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\n", b"\r", b"\n\n"]))
    return end.join(top + body) + draw(st.sampled_from([end, b""]))


@pytest.mark.parametrize("name", NAMES)
def test_texts_in_the_grammar(name: str, tmp_path_factory: pytest.TempPathFactory, corruptions: int) -> None:
    folder = tmp_path_factory.mktemp("text")
    sample: Sample = MADE[name]()[0]
    main = sample.spoilt[0]
    write(folder, sample.files)
    outcomes = {"read": 0, "refused": 0}

    @settings(
        max_examples=max(corruptions // 2, 20),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(texts(sample.files[main]))
    def reads(content: bytes) -> None:
        write(folder, {main: content or b"\n"})
        path: Path = folder / sample.target
        try:
            recording = read_recording(path, StudyConfig(**sample.config))
        except GazepipeError as error:
            outcomes["refused"] += 1
            check_refusal(error)
        else:
            outcomes["read"] += 1
            check_recording(recording, 1_000_000)

    reads()
    told(
        "R8", sum(outcomes.values()), sum(outcomes.values()), f"texts in the grammar of {name}, {outcomes['read']} read"
    )
