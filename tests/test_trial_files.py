"""Trials that stand in a file of their own: each kind, whose rows are whose, and how clocks are set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazepipe.config import StudyConfig, TrialsConfig, parse_config
from gazepipe.errors import ConfigError, RecordingError
from gazepipe.recording import EyeSamples, Message, Recording
from gazepipe.trial_sources import trial_rows
from gazepipe.trials import find_trials


def recording(messages=(), start=0.0, n=20000, path="p01.csv"):
    time = start + np.arange(float(n))
    nan = np.full(n, np.nan, np.float32)
    texts = [Message(float(t), text) for t, text in messages]
    return Recording(
        Path(path), "test", time, {"left": EyeSamples(nan, nan, nan)}, np.array([0]), np.array([1000.0]), texts
    )


def rows_of(folder, text, name="trials.csv", user="p01", session="", **options):
    (folder / name).write_text(text, encoding="utf-8")
    settings = TrialsConfig(**{"file": name, **options})
    return settings, trial_rows(settings, folder, folder / "p01.csv", user, session)


def trials(folder, text, rec=None, **options):
    settings, rows = rows_of(folder, text, **options)
    return find_trials(recording() if rec is None else rec, StudyConfig(trials=settings), rows)


TABLE = """user\tsession\tonset_ms\tduration_ms\tstimulus\trepeat\tplacement
p01\t1\t1000\t2000\timages/cat.png\t1\t
p02\t1\t1500\t500\tdog.png\t1\t
p01\t1\t4000\t2000\tC:\\pics\\dog.png\t3\trect 10 20 300 200
p01\t2\t100\t900\tcow.png\t1\t
"""


def test_a_table_for_the_study(tmp_path):
    table = trials(tmp_path, TABLE, session="ses-1")
    f = table.frame
    assert f["stimulus"].tolist() == ["cat.png", "dog.png"]
    assert f[["onset_ms", "offset_ms"]].to_numpy().tolist() == [[1000, 3000], [4000, 6000]]
    assert f["repeat"].tolist() == [1, 3]
    assert f["placement"].tolist() == ["", "rect 10 20 300 200"]
    assert table.problems == []
    assert trials(tmp_path, TABLE, session="2").frame["stimulus"].tolist() == ["cow.png"]
    assert trials(tmp_path, TABLE, user="p02").frame["stimulus"].tolist() == ["dog.png"]  # the only session


def test_a_table_beside_the_recording_with_names_and_unit_of_its_own(tmp_path):
    text = "von;bis;bild\n1,5;2\n1.5;2.5;a.png\n3;4;b.png\n".replace("1,5;2\n", "")
    table = trials(
        tmp_path,
        text,
        name="p01_trials.csv",
        **{"file": "{stem}_trials.csv", "onset_column": "von", "offset_column": "bis"},
        **{"stimulus_column": "bild", "time_unit": "s", "clock_offset_ms": 100},
    )
    assert table.frame["onset_ms"].tolist() == [1600, 3100]
    assert table.frame["offset_ms"].tolist() == [2600, 4100]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("onset_ms,stimulus\n1,a\n", {}, r"there is no column 'user' \(there are onset_ms, stimulus\)"),
        (TABLE, {"user": "p09"}, r"there is no trial of user 'p09'.*exclude the recording"),
        (TABLE, {}, r"line 2: user 'p01' has trials of 2 sessions \(1, 2\); expected one"),
        (TABLE, {"onset_column": "begin", "session": "1"}, r"no column 'begin'.*\[trials\] onset_column"),
        ("user,onset_ms\np01,soon\n", {}, r"line 2: 'soon' stands in column 'onset_ms'; expected a number"),
        ("user,onset_ms\np01,1\np01,\n", {}, r"line 3: the trial has no time in column 'onset_ms'"),
        ("user,onset_ms\np01,1,2\n", {}, r"line 2: the row has 3 cells; expected 2"),
        ("user,onset_ms\n", {}, "there are no rows below the column names"),
        ("user,onset_ms,placement\np01,1,left\n", {}, r"line 2: 'left' says nothing about where an image stands"),
        (TABLE, {"file": "{user}.tsv"}, r"p01\.csv: there is no file 'p01\.tsv' beside it"),
        (TABLE, {"file": "tri*", "name": "trials.csv"}, None),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path, text, options, message):
    if message is None:
        (tmp_path / "trials.txt").write_text("x")
        message = r"2 files beside it fit \[trials\] file 'tri\*' \(trials\.csv, trials\.txt\)"
    with pytest.raises(RecordingError, match=message):
        rows_of(tmp_path, text, **{"name": "trials.csv", **options})


def test_odd_trials_are_reported_with_their_time(tmp_path):
    lines = ["user,onset_ms,offset_ms,stimulus"]
    lines += ["p01,1000,2500,a", "p01,2000,2900,b", "p01,3000,,c", "p01,4000,4900,d", "p01,5000,5900,e"]
    lines += ["p01,6000,15000,f", "p01,16000,16900,a", "p01,90000,91000,g"]
    table = trials(tmp_path, "\n".join(lines) + "\n", plausible_ms=8000)
    said = "\n".join(table.problems)
    assert "trial 8 of trials.csv (starts at 90000 ms) has no samples: left out" in said
    assert "trial 1 (starts at 1000 ms) overlaps the next one by 500 ms: it was ended where that begins" in said
    assert "trial 3 (starts at 3000 ms) has no off-set: it was ended at 4000 ms" in said
    assert "trial 6 (starts at 6000 ms) lasts 9000 ms, more than [trials] plausible_ms = 8000" in said
    assert "trial 7 (starts at 16000 ms) shows a for time 2; most images are shown 1 times" in said
    assert len(table.problems) == 5
    assert table.frame["offset_ms"].tolist() == [2000, 2900, 4000, 4900, 5900, 15000, 16900]
    assert table.frame["last_sample"].tolist()[0] == 2000


def test_a_recording_whose_clock_starts_anew_has_no_place_for_a_table(tmp_path):
    settings, rows = rows_of(tmp_path, "user,onset_ms\np01,1\n")
    rec = recording()
    time = np.r_[0:10000.0, 0:10000.0]
    again = Recording(rec.path, "t", time, rec.eyes, np.array([0, 10000]), np.array([1000.0, 1000.0]))
    with pytest.raises(RecordingError, match="its clock starts anew"):
        find_trials(again, StudyConfig(trials=settings), rows)


# ---- BIDS events -------------------------------------------------------------------------------------------------


def test_bids_events_count_from_the_first_sample(tmp_path):
    text = (
        "onset\tduration\ttrial_type\tstim_file\n0.5\t1\tshow\timages/a.png\n1.6\tn/a\tpress\tn/a\n2\t1\tshow\tb.png\n"
    )
    table = trials(tmp_path, text, recording(start=7000.0), name="p01_events.tsv", file="{stem}_events.tsv")
    assert table.frame["onset_ms"].tolist() == [7500, 9000]
    assert table.frame["offset_ms"].tolist() == [8500, 10000]
    assert table.frame["stimulus"].tolist() == ["a.png", "b.png"]


# ---- PsychoPy and OpenSesame ------------------------------------------------------------------------------------

PSYCHOPY = """\ufeffimage_file,thisN,image.started,image.stopped,fix.started,expName
stim/a.png,0,10.5,12.5,10.0,study
stim/b.png,1,13.5,None,13.0,study
stim/c.png,2,16.5,18.5,16.0,study
,,,,,study
"""
#: The tracker's clock is 3,000 ms behind PsychoPy's; one message came 2 ms late.
FIXATIONS = [(7000, "FIX_ON"), (10002, "FIX_ON"), (13000, "FIX_ON")]
BY_EVENTS = {"clock": "events", "clock_events": ("fix.started = ^FIX_ON",)}


def test_a_psychopy_table_by_common_events(tmp_path):
    table = trials(tmp_path, PSYCHOPY, recording(FIXATIONS), **BY_EVENTS)
    f = table.frame
    assert f["stimulus"].tolist() == ["a.png", "b.png", "c.png"]
    assert f["onset_ms"].tolist() == [7500, 10500, 13500]
    assert f["offset_ms"].tolist() == [9500, 13500, 15500]
    assert table.problems == [
        "trial 2 (starts at 10500 ms) has no off-set: it was ended at 13500 ms, where the next one or its block's end "
        "is",
        "the clock of trials.csv was set by 3 events: offset -3000.0 ms, residual at most 2.0 ms",
    ]


@pytest.mark.parametrize(
    ("options", "messages", "found"),
    [
        ({}, FIXATIONS, "nothing says how the clock of this psychopy-csv is related to the tracker's"),
        (
            BY_EVENTS,
            FIXATIONS[:2],
            r"'fix.started' is 3 times in it and 2 times in p01\.csv",
        ),
        (BY_EVENTS, [(7000, "FIX_ON"), (10100, "FIX_ON"), (13000, "FIX_ON")], "up to 100.0 ms off"),
        (
            {"clock": "events", "clock_events": ("fix",)},
            FIXATIONS,
            "there is no event 'fix' .there are 'image.started'",
        ),
        ({**BY_EVENTS, "clock": "tracker", "clock_offset_ms": -2900}, FIXATIONS, "up to 100.0 ms off"),
        ({"component": "img"}, FIXATIONS, r"no column 'img.started' \(there are image.started, fix.started\)"),
    ],
)
def test_clocks_are_never_guessed(tmp_path, options, messages, found):
    with pytest.raises(RecordingError, match=found):
        trials(tmp_path, PSYCHOPY, recording(messages), **options)


def test_an_offset_that_is_given(tmp_path):
    table = trials(tmp_path, PSYCHOPY, recording(), clock="tracker", clock_offset_ms=-3000)
    assert table.frame["onset_ms"].tolist() == [7500, 10500, 13500]
    assert not any("clock" in p for p in table.problems)


def test_a_clock_that_drifts(tmp_path):
    """PsychoPy's clock loses 0.1 % (60 ms a minute): 10 s are 10.01 s of the tracker's."""
    own = np.arange(10.0, 70.0, 5.0)
    lines = ["image,thisN,image.started,image.stopped,expName"]
    lines += [f"{k}.png,{k},{t},{t + 2},s" for k, t in enumerate(own)]
    there = 1000 * own * 1.0009 - 9000
    rec = recording([(t, "ON") for t in there], n=65000)
    table = trials(tmp_path, "\n".join(lines) + "\n", rec, clock="events", clock_events=("image.started = ON",))
    np.testing.assert_allclose(table.frame["onset_ms"], there, atol=1e-6)
    assert "drift 54.00 ms a minute, residual at most 0.0 ms" in table.problems[-1]
    fast = recording([(t * 1.01, "ON") for t in there], n=65000)
    with pytest.raises(RecordingError, match="ms off the recording's"):
        trials(tmp_path, "\n".join(lines) + "\n", fast, clock="events", clock_events=("image.started = ON",))


def test_component_times_that_start_anew_in_each_routine_are_refused(tmp_path):
    text = "image,thisN,image.started,expName\na,0,0.51,s\nb,1,0.50,s\n"
    with pytest.raises(RecordingError, match=r"line 3: the times in column 'image.started' go back"):
        trials(tmp_path, text, clock="start")


LOG = (
    "10.0000 \tEXP \tfix: autoDraw = True\n"
    "10.2000 \tEXP \timage: image = 'stim/a.png'\n"
    "10.5000 \tEXP \tfix: autoDraw = False\n"
    "10.5000 \tEXP \timage: autoDraw = True\n"
    "11.0000 \tDATA \tKeypress: space\n"
    "12.5000 \tEXP \timage: autoDraw = False\n"
    "13.2000 \tEXP \timage: image = 'stim/b.png'\n"
    "13.5000 \tEXP \timage: autoDraw = True\n"
    "15.5000 \tEXP \timage: autoDraw = False\n"
    "15.6000 \tWARNING \ta text of\ntwo lines\n"
)


def test_a_psychopy_log(tmp_path):
    options = {"name": "p01.log", "file": "{user}.log", "clock": "events"}
    rec = recording([(8000, "Keypress: space")])
    table = trials(tmp_path, LOG, rec, clock_events=("Keypress: space",), **options)
    assert table.frame["stimulus"].tolist() == ["a.png", "b.png"]
    assert table.frame["onset_ms"].tolist() == [7500, 10500]
    assert table.frame["offset_ms"].tolist() == [9500, 12500]
    assert table.problems[-1].endswith("by 1 event: offset -3000.0 ms; one event cannot show an error")
    with pytest.raises(RecordingError, match=r"'face' was never drawn \(drawn were fix, image\)"):
        trials(tmp_path, LOG, rec, component="face", clock_events=("Keypress: space",), **options)


OPENSESAME = """"count_trial_sequence","image","opensesame_version","subject_nr","time_blank","time_fix","time_show"
"0","a.png","4.0.5","1","3000","900","1000"
"1","b.png","4.0.5","1","6000","3900","4000"
"2","NA","4.0.5","1","6000","3900","NA"
"""


def test_an_opensesame_log(tmp_path):
    options = {"component": "show", "offset_column": "time_blank", "clock": "events"}
    rec = recording([(1400, "start_trial 1"), (4400, "start_trial 2")])
    table = trials(tmp_path, OPENSESAME, rec, clock_events=("time_fix = ^start_trial",), **options)
    assert table.frame["stimulus"].tolist() == ["a.png", "b.png"]
    assert table.frame["onset_ms"].tolist() == [1500, 4500]
    assert table.frame["offset_ms"].tolist() == [3500, 6500]


# ---- the study -----------------------------------------------------------------------------------------------------


def test_only_the_recordings_whose_trials_changed_are_read_again(small_study):
    from gazepipe.ingest import ingest

    for user in ("anna", "ben"):
        small_study.recording(f"{user}.csv", [("", [(200, 150, 800), (600, 450, 800)])])
    table = small_study.root / "rec" / "trials.csv"
    head = "user,onset_ms,offset_ms,stimulus\n"
    table.write_text(head + "anna,0,700,a.png\nben,100,900,a.png\n")
    small_study.configure(csv={"trial": "", "stimulus": ""}, trials={"file": "rec/trials.csv"})
    report = ingest(small_study.open())
    assert (report.written, report.failures) == (["anna", "ben"], [])  # the table is no recording
    table.write_text(head + "anna,0,700,a.png\nben,100,900,b.png\n")
    report = ingest(small_study.open())
    assert (report.written, report.current) == (["ben"], ["anna"])
    table.write_text(head + "anna,0,700,a.png\n")
    report = ingest(small_study.open())
    assert report.current == ["anna"]
    assert "there is no trial of user 'ben'" in report.failures[0].message


def test_settings_that_say_nothing():
    for wrong, message in (
        ({"source": "file"}, "source is 'file' but `file` names none"),
        ({"clock": "events"}, "clock is 'events' but `clock_events` names none"),
        ({"clock_events": ["a = ("]}, "not a regular expression"),
        ({"placement": "rect 1 2 3"}, "says nothing about where an image stands"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config({"trials": wrong})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated EyeLink recording with messages, and its trials by these."""
    from gazepipe.config import load_config
    from gazepipe.readers import read_recording
    from gazepipe.simulate import simulate_study

    root = tmp_path_factory.mktemp("study")
    simulate_study(root, users=1, images=6, seconds=1.0)
    config = load_config(root / "gazepipe.toml")
    rec = read_recording(next(root.rglob("sim01*")), config)
    return rec, find_trials(rec, config)


def test_a_table_of_the_truth_gives_the_trials_of_the_messages(simulated, tmp_path):
    rec, expected = simulated
    lines = ["user\tonset_ms\toffset_ms\tstimulus\trepeat"]
    rows = expected.frame.sample(frac=1, random_state=1).itertuples()  # in any order
    lines += [f"p01\t{r.onset_ms!r}\t{r.offset_ms!r}\t{r.stimulus}\t{r.repeat}" for r in rows]
    found = trials(tmp_path, "\n".join(lines) + "\n", rec)
    assert found.problems == []
    assert found.frame.to_dict("list") == expected.frame.to_dict("list")


def test_a_psychopy_table_of_the_truth_on_another_clock_gives_them_too(simulated, tmp_path):
    """PsychoPy's clock began 1,234 s earlier; its times have a jitter of up to half a millisecond."""
    rec, expected = simulated
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, len(expected.frame))
    lines = ["image,thisN,image.started,image.stopped,expName"]
    for k, r in enumerate(expected.frame.itertuples()):
        on, off = (v / 1000 + 1234 for v in (r.onset_ms + jitter[k], r.offset_ms))
        lines.append(f"stim/{r.stimulus},{k},{on:.6f},{off:.6f},study")
    options = {"clock": "events", "clock_events": ("image.started = ^SYNCTIME",), "clock_tolerance_ms": 1}
    found = trials(tmp_path, "\n".join(lines) + "\n", rec, **options)
    assert found.frame["stimulus"].tolist() == expected.frame["stimulus"].tolist()
    np.testing.assert_allclose(found.frame["onset_ms"], expected.frame["onset_ms"], atol=1.0)
    assert "residual at most 0." in found.problems[-1]
    wrong = [lines[0], *lines[2:], lines[1].replace(",0,", ",9,")]  # rows in the wrong order are not put right
    with pytest.raises(RecordingError, match="go back"):
        trials(tmp_path, "\n".join(wrong) + "\n", rec, **options)


# ---- real data ---------------------------------------------------------------------------------------------------


def test_a_real_psychopy_table_and_neons_events(data_dir):
    """The experiment's log beside the Marker Mapper's sections of three recordings: at most the last is the log's own.

    Encoding lasts 6.006 s in the log; from event to event it is 7.223, 6.285 and 6.084 s in the sections, and half of
    the difference is left when two events set the clock.
    """
    folder = data_dir / "raw" / "neon_marker_mapper"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    settings = TrialsConfig(
        file="*psychopy*.csv",
        component="leftCard_NPIT1_ENCODE",
        clock="events",
        clock_events=("leftCard_NPIT1_ENCODE.started = ^T1encodeBegin", "leftCard_NPIT1_ENCODE.stopped = ^T1encodeEnd"),
        clock_tolerance_ms=50,
    )
    rows = trial_rows(settings, folder, folder, "TB", "")
    assert rows is not None
    assert (rows.format, rows.onset_ms.tolist()) == ("psychopy-csv", [pytest.approx(130363.529)])
    assert rows.offset_ms[0] - rows.onset_ms[0] == pytest.approx(6006.45, abs=0.01)
    from gazepipe.readers.marker_mapper import read_recordings

    results = []
    for rec in read_recordings(folder, StudyConfig()).values():
        try:
            found = find_trials(rec, StudyConfig(trials=settings), rows)
            results.append("; ".join(found.problems))
        except RecordingError as error:
            results.append(str(error))
    assert len(results) == 3
    assert "up to 608.1 ms off" in results[0]
    assert "up to 139.1 ms off" in results[1]
    assert "was set by 2 events" in results[2]
    assert "residual at most 38.9 ms" in results[2]
