"""Interrupts that come while C code is at work are neither lost nor turned into something else."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from gazepipe import hdf5_audit
from gazepipe.cli import main
from gazepipe.cli._command import LazyGroup
from gazepipe.interruption import end_in_order, was_interrupted


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    end_in_order()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _wait() -> None:
    for _ in range(400):
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_hdf5_has_come_back(tmp_path: Path, number: signal.Signals) -> None:
    seen = []

    def look(name: str, _: object) -> None:
        seen.append(name)
        signal.raise_signal(number)

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = 1, 2
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            file.visititems(look)
            _wait()
    assert seen == ["a", "b"]


def test_an_interrupt_elsewhere_comes_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_files_that_are_looked_through_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from h5py import h5l

    class Interrupting(int):
        def __ne__(self, other: object) -> bool:  # asked for in the callback from HDF5
            signal.raise_signal(signal.SIGINT)
            return int(self) != other

        __hash__ = int.__hash__

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
        monkeypatch.setattr(h5l, "TYPE_HARD", Interrupting(h5l.TYPE_HARD))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            names = hdf5_audit.audited(file)[0]
            assert list(names) == ["x"]
            _wait()


def test_what_c_code_makes_of_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    error = SystemError("returned a result with an exception set")
    assert not was_interrupted(error)

    def failing(*_: object) -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise error

    monkeypatch.setattr(LazyGroup, "invoke", failing)
    end_in_order()
    done = CliRunner().invoke(main, ["status"])
    assert done.exit_code == 130
    assert done.stderr == "gazepipe: interrupted; what was finished is stored, run again to go on.\n"
    assert not was_interrupted(ValueError("another"))
