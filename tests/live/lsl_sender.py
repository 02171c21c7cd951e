"""A tracker's LSL stream in a process of its own, whose clock may be another one (`unshare --time`).

Argument: a JSON object with name, rate_hz, told_hz and seconds. Sample number k has x = k / 4000 of the screen's width
in two channels, one for each eye, which do not stand side by side. Says its clock when it begins.
"""

from __future__ import annotations

import json
import sys
import time

import pylsl

options = json.loads(sys.argv[1])
channels = [
    ("latency", "Latency", "both", "s"),
    ("right-y", "ScreenY", "right", "normalized"),
    ("left-y", "ScreenY", "left", "normalized"),
    ("left-x", "ScreenX", "left", "normalized"),
    ("right-x", "ScreenX", "right", "normalized"),
]
info = pylsl.StreamInfo(options["name"], "Gaze", len(channels), options["told_hz"], "float32", "sender")
described = info.desc().append_child("channels")
for channel in channels:
    node = described.append_child("channel")
    for key, value in zip(("label", "type", "eye", "unit"), channel, strict=True):
        node.append_child_value(key, value)
outlet = pylsl.StreamOutlet(info)
begin, k = pylsl.local_clock(), 0
print(begin, flush=True)
while (due := begin + k / options["rate_hz"]) < begin + options["seconds"]:
    time.sleep(max(0.0, due - pylsl.local_clock()))
    outlet.push_sample([9.0, 0.25, 0.75, k / 4000, k / 4000], due)
    k += 1
