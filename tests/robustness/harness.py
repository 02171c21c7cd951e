"""Asks the child for suites, and says which case it died of."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from survival import told

import gazepipe

__all__ = ["Child"]

HERE = Path(__file__).resolve().parent


class Child:
    """A process that reads damaged files, started again if it dies."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115

    def _start(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self._close_pipes()
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "child.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=os.environ | {"PYTHONPATH": str(Path(gazepipe.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
            )
        return self.process

    def run(
        self,
        name: str,
        corruptions: int,
        *,
        data: Path | None = None,
        seed: int = 0,
        every: int = 10,
        dataset: bool = False,
    ) -> None:
        """Read damaged copies of the samples of a reader (or data set), and say how many were survived.

        Raises
        ------
        AssertionError
            If anything but a `RecordingError` or a sound recording came of a case; the case is named.
        """
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        job: dict[str, Any] = {
            "name": name,
            "corruptions": corruptions,
            "seed": seed,
            "every": every,
            "dataset": dataset,
        }
        process.stdin.write(json.dumps(job | ({"data": str(data)} if data else {})) + "\n")
        process.stdin.flush()
        case, results = "the undamaged recording", []
        for line in process.stdout:
            said = json.loads(line)
            case = said.get("case", case)
            if "done" in said:
                results.append(said["done"])
                if said["last"]:
                    self._verdict(name, results)
                    return
        self.errors.seek(0)
        trace = self.errors.read().decode(errors="replace")[-3000:]
        msg = f"{name}: the process ended with {process.wait()} at: {case}\n{trace}"
        raise AssertionError(msg)

    def _verdict(self, name: str, results: list[dict[str, Any]]) -> None:
        total = {key: sum(r[key] for r in results) for key in ("tried", "read", "refused", "analysed")}
        problems = [p for r in results for p in r["problems"]]
        worst = {key: max(r[key] for r in results) for key in ("slowest", "grown_mb", "peak_mb")}
        text = (
            f"{name}: {total['read']} read, {total['refused']} refused, {total['analysed']} analysed; slowest "
            f"{worst['slowest'][0]:.2f} s: {worst['slowest'][1]}; {worst['peak_mb']} MB at most"
        )
        told("R7 and R8", total["tried"] - len(problems), total["tried"], text)
        assert not problems, text + "\n\n" + "\n\n".join(problems[:30])
        assert worst["grown_mb"] < 1000, text
        # A few hundred copies of a format that is mostly structure may all be refused; thousands may not.
        assert total["read"] or total["tried"] < 500, f"{text}: no damaged copy was read, so the sweep is not deep"

    def _close_pipes(self) -> None:
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def close(self) -> None:
        """End the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.communicate(timeout=30)
        self._close_pipes()
        self.errors.close()
