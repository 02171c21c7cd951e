"""Tobii's SDK in a Python of its own: sends gaze, line by line, to `gazepipe.live._tobii_process`, which starts this.

The SDK is there for fewer versions of Python than gazepipe. This file is therefore run by whatever Python has it, from
3.8 on, without gazepipe and its packages. Argument: the tracker's address, or nothing for the only one that is found.

Each line on standard output is a JSON object: first ``{"rate_hz", "detail"}`` or ``{"error"}``, then ``{"gaze"}`` (as
the SDK's dictionary, what is used of it), ``{"lost"}``, and ``{"clock"}`` for each line on standard input. It ends with
its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading

GAZE = [
    "system_time_stamp",
    *(
        f"{eye}_{what}"
        for eye in ("left", "right")
        for what in ("gaze_point_on_display_area", "gaze_point_validity", "pupil_diameter", "pupil_validity")
    ),
]
DETAIL = ("model", "serial_number", "firmware_version", "address")
_one_at_a_time = threading.Lock()
_lines = sys.stdout.buffer


def tell(**what: object) -> None:
    """Send a line; of several threads one at a time."""
    line = json.dumps(what).encode() + b"\n"
    with _one_at_a_time:
        _lines.write(line)
        _lines.flush()


def serve(address: str) -> None:
    """Subscribe, and answer until nobody asks any more."""
    try:
        import tobii_research as sdk
    except ImportError as error:
        tell(error=f"{sys.executable} cannot import it: {error}", missing=True)
        return
    try:
        found = [sdk.EyeTracker(address)] if address else list(sdk.find_all_eyetrackers())
        if len(found) != 1:
            tell(found=[str(t.address) for t in found])
            return
        tracker = found[0]
        tell(rate_hz=tracker.get_gaze_output_frequency(), detail={k: str(getattr(tracker, k, "")) for k in DETAIL})
        tracker.subscribe_to(
            sdk.EYETRACKER_GAZE_DATA, lambda data: tell(gaze={key: data[key] for key in GAZE}), as_dictionary=True
        )
        lost = sdk.EYETRACKER_NOTIFICATION_CONNECTION_LOST
        tracker.subscribe_to(lost, lambda _: tell(lost=True), as_dictionary=True)
        for _ in sys.stdin:
            tell(clock=sdk.get_system_time_stamp())
    except Exception as error:  # the SDK has an exception for each of its states
        tell(error=f"{type(error).__name__}: {error}".rstrip(": "))


if __name__ == "__main__":
    sys.path[:] = [folder for folder in sys.path if folder]  # what lies in the study's folder is no module
    # What the SDK prints would stand in the midst of a line, which would then be none.
    _lines = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(*sys.argv[1:])
