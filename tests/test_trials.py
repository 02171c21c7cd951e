"""How presentations are found: small recordings whose trials can be read off by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import StudyConfig, TrialsConfig
from gazepipe.errors import RecordingError
from gazepipe.recording import EyeSamples, Message, Recording
from gazepipe.trials import find_trials


def recording(messages=(), columns=None, time=None, blocks=(0,)):
    time = np.arange(5000.0) if time is None else np.asarray(time, float)
    nan = np.full(time.size, np.nan, np.float32)
    texts = [m if isinstance(m, Message) else Message(*m) for m in messages]
    return Recording(
        Path("a.asc"),
        "test",
        time,
        {"left": EyeSamples(nan, nan, nan)},
        np.array(blocks),
        np.full(len(blocks), 1000.0),
        texts,
        columns or {},
    )


def find(rec, **options):
    return find_trials(rec, StudyConfig(trials=TrialsConfig(**options)))


def test_eyelink_messages():
    table = find(
        recording(
            [
                (90, "TRIALID 1"),
                (95, "!V IMGLOAD FILL images/cat.png"),
                (100, "SYNCTIME"),
                (1100, "TRIAL_RESULT 0"),
                (1200, "!V IMGLOAD FILL dog.png"),
                (1300, "SYNCTIME"),
                (2300, "TRIAL_RESULT 0"),
                (2400, "!V IMGLOAD CENTER images\\cat.png 10 20"),
                (2500, "SYNCTIME"),
                (3500, "TRIAL_RESULT 0"),
            ]
        )
    )
    assert table.problems == []
    f = table.frame
    assert f["stimulus"].tolist() == ["cat.png", "dog.png", "cat.png"]
    assert f["repeat"].tolist() == [1, 1, 2]
    assert f["onset_ms"].tolist() == [100, 1300, 2500]
    assert f["offset_ms"].tolist() == [1100, 2300, 3500]
    assert f["first_sample"].tolist() == [100, 1300, 2500]
    assert f["last_sample"].tolist() == [1100, 2300, 3500]  # exclusive
    assert f["block"].tolist() == [0, 0, 0]


def test_offset_is_added_to_the_time_of_the_message():
    f = find(recording([Message(500.0, "SYNCTIME", -11.0), Message(1500.0, "stop_trial", 4.0)])).frame
    assert (f["onset_ms"][0], f["offset_ms"][0]) == (489.0, 1504.0)


def test_image_named_in_the_start_message():
    f = find(recording([(100, "IMAGE_ONSET sea.jpg"), (900, "IMAGE_OFF")])).frame
    assert f["stimulus"].tolist() == ["sea.jpg"]


def test_image_named_after_the_display_is_off_but_before_the_result():
    messages = []
    for k, name in enumerate(["a.png", "b.png", "c.png"]):
        t = 1000 * k
        messages += [(t + 10, "SYNCTIME"), (t + 700, "blank_screen")]
        messages += [(t + 750, f"!V TRIAL_VAR image {name}"), (t + 760, "TRIAL_RESULT 0")]
    f = find(recording(messages)).frame
    assert f["stimulus"].tolist() == ["a.png", "b.png", "c.png"]
    assert f["offset_ms"].tolist() == [700, 1700, 2700]


@pytest.mark.parametrize("delay", [-5, 5])
def test_images_named_before_or_after_the_start_without_any_stop(delay):
    messages = []
    for k in range(4):
        messages += [(1000 * k + 100, "SYNCTIME"), (1000 * k + 100 + delay, f"var image {k}.png")]
    f = find(recording(messages)).frame
    assert f["stimulus"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert f["offset_ms"].tolist() == [1100, 2100, 3100, 5000]  # next start; the end of the block


def test_unknown_and_doubtful_images_are_reported():
    table = find(
        recording(
            [
                (50, "var image cross.png"),
                (60, "var image a.png"),
                (100, "SYNCTIME"),
                (1100, "stop_trial"),
                (1200, "SYNCTIME"),
                (2200, "stop_trial"),
            ]
        )
    )
    assert table.frame["stimulus"].tolist() == ["a.png", ""]
    assert "name 2 images (cross.png, a.png): a.png was taken" in table.problems[0]
    assert table.problems[1].startswith("no stimulus name of 1 of 2 trials (first at 1200 ms): set")


def test_longest_duration_and_block_end():
    rec = recording([(100, "SYNCTIME"), (2600, "SYNCTIME")], time=np.r_[0:2000, 2500:3500], blocks=(0, 2000))
    f = find(rec).frame
    assert f["offset_ms"].tolist() == [2000, 3500]
    assert f["last_sample"].tolist() == [2000, 3000]
    assert f["block"].tolist() == [0, 1]
    f = find(rec, duration_ms=500).frame
    assert f["offset_ms"].tolist() == [600, 3100]


def test_start_just_before_a_block_belongs_to_it():
    f = find(recording([(2495, "SYNCTIME")], time=np.r_[0:2000, 2500:3500], blocks=(0, 2000))).frame
    assert (f["onset_ms"][0], f["first_sample"][0], f["block"][0]) == (2495, 2000, 1)


def test_short_and_empty_trials_are_reported_and_left_out():
    table = find(
        recording(
            [
                (100, "var image a.png"),
                (110, "DISPLAY ON"),
                (115, "SYNCTIME"),
                (1500, "stop_trial"),
                (2100, "SYNCTIME"),
                (2300, "stop_trial"),
                (9000, "SYNCTIME"),
            ],
            time=np.r_[0:2000, 2500:3500],
            blocks=(0, 2000),
        )
    )
    assert table.frame["onset_ms"].tolist() == [115]
    assert table.frame["stimulus"].tolist() == ["a.png"]  # not used up by the one that was left out
    assert [p.split(":")[0] for p in table.problems] == [
        "trial 3 (starts at 2100 ms) has no samples",
        "trial 4 (starts at 9000 ms) has no samples",
        "trial 1 (starts at 110 ms) lasts 5 ms, less than [trials] min_duration_ms = 200",
    ]


def test_columns_win_over_messages():
    trial = np.repeat([np.nan, 1, 2, 3], [100, 1000, 1900, 2000])
    name = np.repeat(np.array(["", "a.png", "b.png", "a.png"], object), [150, 950, 1900, 2000])
    table = find(recording([(10, "SYNCTIME")], {"trial": trial, "stimulus": name}))
    f = table.frame
    assert f["first_sample"].tolist() == [100, 1100, 3000]
    assert f["last_sample"].tolist() == [1100, 3000, 5000]
    assert f["offset_ms"].tolist() == [1100, 3000, 5000]
    assert f["stimulus"].tolist() == ["a.png", "b.png", "a.png"]
    assert f["repeat"].tolist() == [1, 1, 2]


def test_stimulus_column_alone():
    name = np.repeat(np.array(["a", "", "a", "b"], object), [1000, 500, 1500, 2000])
    f = find(recording(columns={"stimulus": name})).frame
    assert f["stimulus"].tolist() == ["a", "a", "b"]
    assert f["repeat"].tolist() == [1, 2, 1]
    assert f["first_sample"].tolist() == [0, 1500, 3000]


def test_trial_numbers_with_names_from_messages():
    trial = np.repeat([1, 2], 2500)
    f = find(recording([(5, "var image a"), (2400, "var image b"), (2450, "var image c")], {"trial": trial})).frame
    assert f["stimulus"].tolist() == ["a", ""]


def test_trial_going_on_after_a_pause():
    trial = np.repeat([1, 2, 2, 3], [1000, 500, 500, 1000])
    table = find(recording(columns={"trial": trial}, time=np.r_[0:1500, 5000:6500], blocks=(0, 1500)))
    assert table.frame["first_sample"].tolist() == [0, 1000, 2000]
    assert "trial 2 goes on after a pause of the tracker: the part from 5000 ms on was left out" in table.problems


def test_clock_that_starts_anew_in_each_block():
    trial = np.repeat([1, 2], 1000)
    f = find(recording(columns={"trial": trial}, time=np.r_[0:1000, 0:1000], blocks=(0, 1000))).frame
    assert f["first_sample"].tolist() == [0, 1000]
    assert f["last_sample"].tolist() == [1000, 2000]
    assert f["offset_ms"].tolist() == [1000, 1000]


def test_blocks():
    f = find(recording(time=np.r_[0:2000, 2500:3500], blocks=(0, 2000)), source="blocks").frame
    assert f["first_sample"].tolist() == [0, 2000]
    assert f["last_sample"].tolist() == [2000, 3000]


@pytest.mark.parametrize(
    ("rec", "options", "message"),
    [
        (
            recording([(-9, "!CAL"), (1, "halt"), (2, "go 1"), (3, "go 2"), (4, "more"), (5, "less")]),
            {},
            r"a\.asc: no message matches \[trials\] start; messages during its blocks are, for example, "
            r"'go 1', 'halt', 'more'; "
            r"expected .*"
            r"set \[trials\] start",
        ),
        (recording(), {}, r"it has no messages.*source = \"blocks\""),
        (recording(), {"source": "columns"}, r"no trial in its columns \(there are none\).*\[csv\] trial or stimulus"),
        (recording([(1, "SYNCTIME"), (20, "stop_trial")]), {}, r"no usable trial: trial 1 .* lasts 19 ms"),
    ],
)
def test_no_trial(rec, options, message):
    with pytest.raises(RecordingError, match=message):
        find(rec, **options)


def test_where_eyelink_draws_the_image():
    draw = {
        "TOP_LEFT a.png 10 20": "topleft 10 20",
        "TOP_LEFT a.png 10 20 300 200": "rect 10 20 300 200",
        "CENTER a.png 960 540": "centre 960 540",
        "CENTER a.png 960 540 300 200": "centre 960 540 300 200",
        "FILL a.png": "",  # written out of habit: what the experiment's display does is not known from it
    }
    messages = []
    for k, text in enumerate(draw):
        messages += [
            (1000 * k + 10, f"!V IMGLOAD {text}"),
            (1000 * k + 20, "SYNCTIME"),
            (1000 * k + 900, "blank_screen"),
        ]
    f = find(recording(messages)).frame
    assert f["placement"].tolist() == list(draw.values())
    # the drawing command of the same image counts where another message names it
    messages = [(5, "var image a.png"), (10, "!V IMGLOAD CENTER a.png 1 2"), (12, "var image a.png"), (20, "SYNCTIME")]
    assert find(recording(messages)).frame["placement"].tolist() == ["centre 1 2"]


def test_trials_without_off_set_and_numbers_that_come_again():
    messages = []
    for k, number in enumerate([1, 2, 2, 3, 4]):
        messages += [(900 * k + 10, f"TRIALID {number}"), (900 * k + 20, "SYNCTIME")]
        messages += [(900 * k + 25, f"var image {k}.png")]
        messages += [] if k == 1 else [(900 * k + 600, "stop_trial")]
    table = find(recording(messages))
    assert table.problems == [
        "trial 2 (starts at 920 ms) has no off-set: it was ended at 1820 ms, where the next one or its block's end is",
        "trial 3 (starts at 1820 ms) has the number 2 of the one at 920 ms: both were kept",
    ]
    assert find(recording(messages), duration_ms=500).problems == table.problems[1:]  # all end as they should


def test_trials_far_longer_than_the_others():
    messages = []
    for k in range(6):
        messages += [(700 * k, "SYNCTIME"), (700 * k + 300, "stop_trial")]
    messages[-1] = (4600, "stop_trial")
    said = find(recording(messages)).problems
    assert any("trial 6 (starts at 3500 ms) lasts 1100 ms, 3.7 times the usual 300 ms" in s for s in said)
