"""Many recordings: the process that hands them out does not grow with their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from survival import told

from gazepipe.ingest import ingest
from gazepipe.simulate import simulate_study
from gazepipe.study import Study

_STATM = Path("/proc/self/statm")
#: Bytes that the allocator may ask for at any time, whatever the number of recordings.
_NOISE = 1 << 17


@pytest.mark.skipif(not _STATM.exists(), reason="reads memory from /proc")
def test_memory_does_not_grow_with_recordings(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count = int(request.config.getoption("--soak"))
    simulate_study(tmp_path, users=4, images=6, rate_hz=125, seconds=1, seed=3)
    first = sorted(tmp_path.glob("sim*.csv.gz"))
    contents = [path.read_bytes() for path in first]
    for path in tmp_path.glob("sim*"):  # of other formats, too
        path.unlink()
    for k in range(count):
        (tmp_path / f"sim{k:05d}.csv.gz").write_bytes(contents[k % len(contents)])
    memory = []

    def show(done: int, total: int, name: str) -> None:
        memory.append(int(_STATM.read_text().split()[1]) * 4096)

    report = ingest(Study.open(tmp_path), jobs=2, show=show)
    assert len(report.written) == count
    done = np.arange(count)[count // 4 :]
    slope = np.polyfit(done, memory[count // 4 :], 1)[0]
    assert slope * len(done) < 1024 * len(done) + _NOISE
    told("R20", count, count, f"{slope:.0f} bytes of memory a recording")
