"""Too little memory: one sentence about one file, or exit code 11; what was stored stays and nothing is left about.

`--gigabytes` is the size of recordings that do not fit; a quarter of it is the memory there is for them.
"""

from __future__ import annotations

import errno
import gzip
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from process import Nursery
from survival import told

from gazepipe.config import template
from gazepipe.errors import lacks_memory
from gazepipe.study import Study

sys.path.insert(0, str(Path(__file__).parents[1] / "robustness"))  # for small recordings of every format

from samples import MADE, Sample

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")

_BLOCK = 1 << 20


def swell(path: Path, size: int) -> None:
    """Make a small recording so large, with more of what it ends with."""
    if path.suffix == ".parquet":
        return _swell_parquet(path, size)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            ((name, content),) = ((n, archive.read(n)) for n in archive.namelist())
        with zipfile.ZipFile(path, "w") as archive, archive.open(name, "w", force_zip64=True) as inside:
            inside.write(content)
            for _ in range(size // _BLOCK):
                inside.write(_more(content))
        return None
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    more = _more(content)
    with path.open("wb") as file:
        file.write(gzip.compress(content, 1) if packed else content)
        block = gzip.compress(more, 1) if packed else more  # a file of several members is one of gzip, too
        for _ in range(size // _BLOCK):
            file.write(block)
    return None


def _more(content: bytes) -> bytes:
    """A megabyte of the second half of a file, whole lines (or records of 64 bytes) of it."""
    half = len(content) // 2
    text = all(byte >= 32 or byte in b"\t\r\n" for byte in content[:1000])
    tail = content[content.index(b"\n", half) + 1 :] if text else content[-(half - half % 64) :]
    return tail * (_BLOCK // len(tail))


def _swell_parquet(path: Path, size: int) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    more = table.take(np.arange(_BLOCK) % table.num_rows)
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        for _ in range(max(1, size // more.nbytes)):
            writer.write_table(more)


def study_of(root: Path, sample: Sample, size: int) -> Study:
    """A study of one large recording and a small one, before and behind it in order of names."""
    folder = root / "rec" / "p2"
    for name, content in sample.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    swell(folder / sample.spoilt[0], size)
    for user in ("p1", "p3"):
        path = root / "rec" / f"{user}.asc"
        path.write_bytes(MADE["eyelink-asc"]()[0].files["a.asc"])
    sections = {"recordings": "rec", "trials": {"source": "blocks"}, **sample.config}
    sections["ingest"] = {"include": ("*.asc", "*.csv", "*.tsv", "*.txt", "*.gz", "*.zip", "*.parquet")}
    sections["screen"] = {"width_px": 800, "height_px": 600}
    (root / "gazepipe.toml").write_text(template(**sections), encoding="utf-8")
    return Study.open(root)


SAMPLES = [(name, sample) for name, made in MADE.items() for sample in made()]


def test_a_recording_that_does_not_fit(tmp_path: Path, nursery: Nursery, request: pytest.FixtureRequest) -> None:
    """A large recording of every format, and less memory than that: it alone is refused, and the others are read."""
    size = int(float(request.config.getoption("--gigabytes")) * (1 << 30))
    survived, lacking, failed = 0, 0, []
    for number, (name, sample) in enumerate(SAMPLES):
        root, temporary = tmp_path / str(number), tmp_path / f"tmp{number}"
        root.mkdir()
        temporary.mkdir()
        study = study_of(root, sample, size)
        code, errors = nursery.run(
            "-q", "ingest", root, "--jobs", 1, grow=size // 4, GAZEPIPE_MAX_FILE_GIB="1000", TMPDIR=str(temporary)
        )
        left = [p for p in (*temporary.rglob("*"), *study.store.rglob("*.tmp")) if p.is_file()]
        there = sorted(p.stem for p in (study.store / "recordings").glob("*.h5"))
        said = [line for line in errors.splitlines() if line.startswith("not used: ")]
        print(name, code, [p.name for p in (root / "rec" / "p2").iterdir()], errors, there, left)
        streamed = code == 0 and len(there) == 3
        refused = code == 3 and len(said) == 1 and "unexpectedly" not in errors
        if (streamed or refused) and left == [] and {"p1", "p3"} <= set(there):
            survived += 1
            lacking += refused and "needs more memory than there is" in said[0]
        else:
            failed.append((name, code, errors, there, left))
        shutil.rmtree(root)
    told("R13", survived, len(SAMPLES), f"recordings of {size >> 20} MiB in {size >> 22} MiB, {lacking} refused for it")
    assert failed == []
    assert lacking > len(SAMPLES) // 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (ValueError("Error tokenizing data. C error: out of memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not execute a primitive"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("could not convert string to float: 'x'"), False),
    ],
)
def test_what_means_too_little_memory(error: Exception, expected: bool) -> None:
    assert lacks_memory(error) is expected


STAGES = ("ingest", "build-psm", "train", "enrol", "predict", "evaluate", "bids", "parquet", "verify")


def test_stages_with_little_memory(
    whole: Study, nursery: Nursery, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Any amount of memory beyond what the program itself takes, for every stage."""
    from test_full_disk import check_after, line_of, snapshot, take_away

    rng, survived, tried, failed, codes = np.random.default_rng(8), 0, 0, [], {}
    aborted = 0  # by the compiler of kernels, which nobody can keep from it
    each = -(-int(request.config.getoption("--limits")) // 8)
    for stage in STAGES:
        made = snapshot(whole.store)
        for _ in range(each):
            out = tmp_path / "out" / stage
            line = ["verify", whole.root] if stage == "verify" else line_of(whole, stage, out)
            if stage != "verify":
                take_away(whole, stage)
            before = snapshot(whole.store, out)
            grow = int(2 ** rng.uniform(12, 28))
            code, errors = nursery.run("-q", *line, grow=grow)
            tried += 1
            codes[stage, code] = codes.get((stage, code), 0) + 1
            try:
                aborted += code == -signal.SIGABRT and "LLVM ERROR: Unable to allocate" in errors
                assert code in (0, 3, 11, -signal.SIGABRT if "LLVM ERROR" in errors else 0) or (
                    stage == "verify" and code == 8
                ), (stage, grow, code, errors)
                assert "Traceback" not in errors, (stage, grow, errors)
                assert "unexpectedly" not in errors
                assert "damaged" not in errors.replace("damaged, unreadable", ""), errors
                assert (code != 11) or (errors.count("\n") == 1 and "memory" in errors), errors
                if stage != "verify":
                    check_after(whole, before, stage, out)
                survived += 1
            except AssertionError as error:
                last = (errors.strip().splitlines() or ["it said nothing"])[-1]
                failed.append(f"{stage} with {grow} bytes more ended with {code}: {last[:300]}")
                print(failed[-1], errors[-1500:], str(error)[:300], sep="\n", end="\n\n")
        for path, data in made.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    print(codes)
    told("R13", survived, tried, "; ".join([f"stages with little memory, {aborted} aborted by LLVM", *failed]))
    assert failed == []
