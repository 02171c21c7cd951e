"""Fixations of whatever data set, as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from gazepipe.datasets import table
from gazepipe.errors import ConfigError, RecordingError

ROWS = [
    ("anna", "a.png", 1, 10.0, 20.0, 200),
    ("anna", "a.png", 1, 30.0, 40.0, 300),
    ("anna", "a.png", 2, 50.0, 10.0, 250),
    ("ben", "a.png", 1, 70.0, 20.0, 150),
    ("ben", "b.png", 1, 5.0, 5.0, 400),
]
NAMES = ["user", "stimulus", "repeat", "x_px", "y_px", "duration_ms"]


def written(path: Path, rows: list[tuple[Any, ...]] = ROWS, names: list[str] = NAMES, **options: Any) -> Path:
    pd.DataFrame(rows, columns=names).to_csv(path, index=False, **options)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "img"
    folder.mkdir()
    for name, (width, height) in {"a.png": (80, 60), "b.png": (40, 30)}.items():
        (folder / name).write_bytes(cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes())
    return folder


@pytest.mark.parametrize("options", [{}, {"sep": "\t"}, {"sep": ";"}, {"encoding": "utf-8-sig"}])
def test_a_table(tmp_path: Path, images: Path, options: dict[str, Any]) -> None:
    file = written(tmp_path / "f.csv", **options)
    found = table.load(file, pixels_per_degree=24, images=images, columns={"repeat": "repeat"})
    assert found.stimulus_px == {"a.png": (80, 60), "b.png": (40, 30)}
    assert found.pixels_per_degree == 24
    rows = found.fixations[["user", "stimulus", "repeat", "x_px", "y_px", "duration_ms"]]
    assert [tuple(r) for r in rows.itertuples(index=False)] == ROWS
    assert found.fixations["index"].tolist() == [0, 1, 0, 0, 0]
    assert found.notes == []


def test_other_names_seconds_and_no_repeats(tmp_path: Path) -> None:
    names = ["Subject", "Picture", "unused", "X", "Y", "dur"]
    file = written(tmp_path / "f.csv", [(*r[:5], r[5] / 1000) for r in ROWS], names)
    columns = {"user": "Subject", "stimulus": "Picture", "x": "X", "y": "Y", "duration": "dur"}
    found = table.load(file, pixels_per_degree=30, frame=(80, 60), columns=columns, duration_unit="s")
    assert found.fixations["duration_ms"].tolist() == pytest.approx([200, 300, 250, 150, 400])
    assert found.fixations["repeat"].tolist() == [1] * 5
    assert found.fixations["index"].tolist() == [0, 1, 2, 0, 0]


def test_outside_the_image(tmp_path: Path) -> None:
    file = written(tmp_path / "f.csv", [*ROWS, ("ben", "a.png", 1, 80.0, 10.0, 100), ("ben", "a.png", 1, -1.0, 1.0, 1)])
    found = table.load(file, pixels_per_degree=24, frame=(80, 60))
    assert len(found.fixations) == 5
    assert found.notes == ["2 of 7 fixations outside their image, left out"]


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "f.parquet"
    pd.DataFrame(ROWS, columns=NAMES).to_parquet(file)
    assert len(table.load(file, pixels_per_degree=24, frame=(80, 60)).fixations) == 5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r[:0], "there are no rows"),
        (lambda r: [*r, ("ben", "a.png", 1, "far", 1.0, 1)], "row 6 has 'far' in 'x_px'; expected a number"),
        (lambda r: [*r, ("ben", None, 1, 1.0, 1.0, 1)], "row 6 has no stimulus"),
        (lambda r: [*r, ("ben", "a.png", 1, 1.0, 1.0, -5)], "impossible numbers"),
        (lambda r: [*r, ("ben", "a.png", 1.5, 1.0, 1.0, 5)], "other than whole numbers"),
        (
            lambda r: [*r, ("ben", "a.png", 1, 1.0, 1.0, 10**400)],
            "row 6 has '10{39}' in 'duration_ms'; expected a number",
        ),
        (lambda r: [*r, ("../x", "a.png", 1, 1.0, 1.0, 5)], "row 6 has the user '../x'; expected a letter or digit"),
        (lambda r: [*r, ("7" * 100_000, "a.png", 1, 1.0, 1.0, 5)], "row 6 has the user '7{40}'; expected a letter"),
    ],
)
def test_bad_tables(tmp_path: Path, spoil: Any, message: str) -> None:
    file = written(tmp_path / "f.csv", spoil(ROWS))
    with pytest.raises(RecordingError, match=message):
        table.load(file, pixels_per_degree=24, frame=(80, 60), columns={"repeat": "repeat"})


def test_missing_things(tmp_path: Path) -> None:
    file = written(tmp_path / "f.csv")
    with pytest.raises(RecordingError, match="no such file"):
        table.load(tmp_path / "g.csv", pixels_per_degree=24)
    with pytest.raises(RecordingError, match=r"no column 'who' .*--column user=NAME"):
        table.load(file, pixels_per_degree=24, columns={"user": "who"}, frame=(80, 60))
    with pytest.raises(ConfigError, match=r"no column 'usr' to name.*did you mean 'user'"):
        table.load(file, pixels_per_degree=24, columns={"usr": "who"})
    with pytest.raises(ConfigError, match=r"image 'a.png' has no file.*its size is not known"):
        table.load(file, pixels_per_degree=24)


def test_the_same_as_osie(tmp_path: Path, data_dir: Path) -> None:
    """A real data set, written as a table, is read as it was."""
    from gazepipe.datasets import load_dataset

    osie = load_dataset("osie", data_dir / "osie")
    some = osie.fixations[osie.fixations["stimulus"] < "1010"]
    some.to_csv(tmp_path / "f.csv.gz", index=False)
    found = table.load(
        tmp_path / "f.csv.gz", pixels_per_degree=24, images=data_dir / "osie" / "stimuli", columns={"repeat": "repeat"}
    )
    columns = ["user", "stimulus", "repeat", "index"]
    order = some.sort_values(["user", "stimulus", "repeat", "index"])[[*columns, "x_px", "y_px", "duration_ms"]]
    pd.testing.assert_frame_equal(found.fixations[order.columns], order.reset_index(drop=True))


def test_from_the_command_line_to_maps(tmp_path: Path, images: Path) -> None:
    from click.testing import CliRunner

    from gazepipe.cli import main
    from gazepipe.stored_corpus import load_corpus
    from gazepipe.study import Study

    names = ["who", "stimulus", "look", "x_px", "y_px", "duration_ms"]
    file, study = written(tmp_path / "f.csv", ROWS, names), tmp_path / "study"

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(main, ["import", "table", *map(str, arguments), "--study", str(study)])

    given = ("--column", "user=who", "--column", "repeat=look", "--images", images)
    assert "--pixels-per-degree" in run(file, *given).output
    assert "expected WHAT=NAME" in run(file, "--pixels-per-degree", 20, "--column", "user").output
    assert "expected width and height" in run(file, "--pixels-per-degree", 20, "--frame", "800").output
    result = run(file, "--pixels-per-degree", 20, *given)
    assert result.exit_code == 0, result.output
    assert "2 users of table" in result.output
    assert CliRunner().invoke(main, ["build-psm", str(study)]).exit_code == 0
    corpus = load_corpus(Study.open(study))
    assert (corpus.users, corpus.stimuli) == (("anna", "ben"), ("a.png", "b.png"))
    assert corpus.index.tolist()[0][1] == -1
    other = CliRunner().invoke(main, ["import", "osie", str(tmp_path), "--frame", "8x6"])
    assert other.exit_code == 2
    assert "belong to the data set 'table'" in other.output
