"""A Tobii tracker through another Python, in which the SDK is installed (`gazepipe.live._tobii_server` runs there)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gazepipe.live.source import SourceError

__all__ = ["VARIABLE", "TobiiProcess", "other_python", "which_one"]

#: Names the Python that has the SDK.
VARIABLE = "GAZEPIPE_TOBII_PYTHON"
#: The last one for which Tobii has published it (2.1.0, of November 2024).
_USUAL = "python3.10"
_START_S, _ANSWER_S, _END_S = 60.0, 5.0, 3.0


def other_python(named: str = "") -> str:
    """Return the Python that is named, or that of the environment's variable, or 3.10 where it is installed; or ""."""
    return named or os.environ.get(VARIABLE, "") or shutil.which(_USUAL) or ""


def which_one(addresses: list[str]) -> str:
    """Return what is said where not exactly one tracker is found."""
    listed = f" ({', '.join(addresses)})" if addresses else ""
    return f"{len(addresses)} Tobii trackers were found{listed}; switch one on, or name its address."


class TobiiProcess:
    """A tracker in a process of another Python; `gaze` and `gone` are called in a thread of its own.

    Parameters
    ----------
    python
        The other Python's executable.
    address
        Of the tracker; "": the only one that is found.
    gaze, gone
        Called with the SDK's dictionary of each sample, and when the connection is lost.

    Raises
    ------
    SourceError
        If there is no such Python, or it has no SDK, or there is no tracker, or several.
    """

    def __init__(
        self, python: str, address: str, gaze: Callable[[dict[str, Any]], object], gone: Callable[[Any], object]
    ) -> None:
        self._python, self._gaze, self._gone = python, gaze, gone
        code = Path(__file__).with_name("_tobii_server.py").read_text(encoding="utf-8")
        try:  # -E: what the variables of this Python say is not for that one
            self._process = subprocess.Popen(
                [python, "-E", "-c", code, address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the session, which then ends this
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            msg = f"{python}: this Python cannot be run ({error.strerror or error}); correct {VARIABLE}."
            raise SourceError(msg) from None
        self._told: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="gazepipe-tobii", daemon=True)
        self._reader.start()
        try:
            first = self._answer(_START_S, missing=True)
            if first.get("missing"):
                remedy = (
                    f"install it with `{python} -m pip install tobii-research`, or name another Python in {VARIABLE}"
                )
                msg = f"Tobii's SDK is not there ({first['error']}); {remedy}."
                raise SourceError(msg)
            if "found" in first:
                raise SourceError(which_one(first["found"]))
        except SourceError:
            self.close()
            raise
        self.rate_hz, self.detail = float(first["rate_hz"]), dict(first["detail"])

    def time_us(self) -> int:
        """Return the time of the SDK's clock."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(b"\n")
            stdin.flush()
        except OSError as error:
            msg = f"Tobii's clock does not answer ({error.strerror or error})."
            raise SourceError(msg) from None
        return int(self._answer(_ANSWER_S)["clock"])

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_END_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _answer(self, timeout_s: float, *, missing: bool = False) -> dict[str, Any]:
        try:
            told = self._told.get(timeout=timeout_s)
        except queue.Empty:
            msg = f"Tobii's SDK does not answer within {timeout_s:g} s; look at the tracker's cable."
            raise SourceError(msg) from None
        if "error" in told and not (missing and told.get("missing")):
            msg = f"the Tobii tracker cannot be used ({told['error']}); look at it in Tobii's Eye Tracker Manager."
            raise SourceError(msg)
        return told

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        for line in stdout:
            try:
                told = json.loads(line)
            except ValueError:  # the SDK's own words
                continue
            if not isinstance(told, dict):
                continue
            if "gaze" in told:
                self._gaze(told["gaze"])
            elif "lost" in told:
                self._gone(None)
            else:
                self._told.put(told)
        self._gone(None)
        # Before anything else was told, it is no Python, or none that runs.
        self._told.put({"error": f"{self._python} has ended", "missing": True})
