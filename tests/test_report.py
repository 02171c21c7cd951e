"""`gazepipe report` at every stage of a study, with hostile names, and in a browser."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from gazepipe.atomic import write_atomically
from gazepipe.build import build_psm
from gazepipe.cli import main
from gazepipe.errors import ConfigError
from gazepipe.ingest import ingest
from gazepipe.report import write_report
from gazepipe.report.contents import gather, outliers
from gazepipe.report.methods import methods
from gazepipe.report.people import chosen_images
from gazepipe.study import Study

pytest.importorskip("matplotlib", reason="needs the extra `report`")
pytest.importorskip("jinja2", reason="needs the extra `report`")

HOSTILE = "<script>alert(1)<b>\"onerror='x' {{7*7}}.png"


class Page(HTMLParser):
    """Tags with attributes, and the text, of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def check_closed(self) -> None:
        """Nothing in it runs, and nothing is loaded from elsewhere."""
        assert not {t for t, _ in self.tags} & {"script", "iframe", "object", "embed", "form", "base", "svg"}
        for tag, attrs in self.tags:
            assert not [a for a in attrs if a.startswith("on") or a == "style"], (tag, attrs)
            for name in ("src", "href", "srcset"):
                assert re.match(r"(data:image/|data:,$|#[\w-]+$)", attrs.get(name, "#ok")), (tag, attrs[name][:80])
        anchors = {a["id"] for _, a in self.tags if "id" in a}
        assert {a["href"][1:] for a in self.of("a")} <= anchors
        policy = next(m["content"] for m in self.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        assert all(i["alt"] for i in self.of("img"))
        assert all("scope" in th for th in self.of("th"))
        levels = [int(t[1]) for t, _ in self.tags if re.fullmatch(r"h[1-6]", t)]
        assert levels[0] == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), levels  # no level of headings is left out
        assert self.tags.count(("table", {})) == len([a for a in self.of("div") if a.get("role") == "region"])


def page_of(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    page.check_closed()
    return page


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, simulated: Callable[..., Study]) -> Study:
    """Five people, recorded and with maps; the report of the recordings alone is in `early.html`."""
    root = tmp_path_factory.mktemp("report") / "study"
    study = simulated(root, users=5, images=4, seconds=1.0, seed=3, psm={"width": 40, "height": 30})
    assert not ingest(study, jobs=1).failures
    write_report(study, root / "early.html", images=1)
    build_psm(study)
    write_report(study, images=2, command="gazepipe report <here>")
    return study


def test_recordings_alone_are_reported(study: Study) -> None:
    page = page_of(study.root / "early.html")
    assert "personal maps: not yet" in page.text
    assert "scanpath on the screen" in page.text
    for user in ("sim01", "sim05"):
        assert {"href": "#user-1" if user == "sim01" else "#user-5"} in page.of("a")
        assert user in page.text


def test_maps_are_shown_over_images(study: Study) -> None:
    page = page_of(study.report_file)
    alts = [i["alt"] for i in page.of("img")]
    for title in ("scanpath", "heat map", "personal map (PSM)", "all others (USM)", "Δ: PSM − USM"):
        assert sum(a.startswith(title + " of sim") for a in alts) == 2 * 5, title
    assert not [a for a in alts if a.startswith("predicted")]
    assert "gazepipe report <here>" in page.text


def test_the_methods_say_what_is_known_and_what_is_not(study: Study) -> None:
    text = " ".join(page_of(study.report_file).text.split())
    for known in (
        "nominally 125 Hz, samples an even 8 ms apart",
        "Blinks are losses of all eyes at once, of 50 to 1000 ms",
        "velocity threshold (I-VT; Olsen 2012): 30°/s",
        "EYELINK II CL v5.15 (simulated)",
        "the tracker's own calibration HV9",
        "10.3758/s13428-023-02187-1",
    ):
        assert known in text, known
    for asked in (
        "chin rest",
        "whether the room was dark",
        "criterion of acceptance",
        "latency from the eye to the tracker.s time stamp",
    ):
        assert re.search(r"\[to be added: [^]]*" + asked, text), asked
    assert "Holmqvist" not in text  # retracted


def test_every_item_of_the_guideline_is_there_by_its_number(study: Study, tmp_path: Path) -> None:
    wanted = {*(f"A{n}" for n in (*range(1, 9), *range(10, 13))), "A9.1", "A9.2", "A9.3", "B1", "C1"}
    items = methods(gather(study)).items
    assert wanted <= {i.number for i in items}
    assert all(i.text or i.add for i in items)


def test_each_recording_is_read_once_and_its_samples_are_let_go_of(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gazepipe import store

    read: list[str] = []
    load = store.load
    monkeypatch.setattr(
        store, "load", lambda path, *rest, **only: (read.append(path.name), load(path, *rest, **only))[1]
    )
    contents = gather(study)
    assert sorted(read) == sorted(study.recording_file(name).name for name in study.known_recordings())
    assert all(user.recorded[0].steps_ms == (8.0, 8.0, 8.0) for user in contents.users)
    kept = {name for user in contents.users for r in user.recordings for name in r.arrays}
    assert "fixations/duration_ms" in kept
    assert not {name for name in kept if name.startswith(("samples/", "messages/"))}


def test_a_loss_of_nothing_is_remarked_on(study: Study) -> None:
    contents = gather(study)
    for user in contents.users:
        user.figures["data_loss"] = 0.0
    loss = next(i for i in methods(contents).items if i.name == "data loss")
    assert "no file has a sample without gaze" in loss.text
    assert loss.add
    contents.users[0].figures["data_loss"] = 0.01
    loss = next(i for i in methods(contents).items if i.name == "data loss")
    assert loss.text.startswith("median 0.0 %, 0.0 to 1.0 %")


def test_figures_of_the_page_are_those_of_the_store(study: Study) -> None:
    from gazepipe.user_quality import stored_quality

    text = page_of(study.report_file).text
    for figures in stored_quality(study).values():
        assert f"{figures['rms_s2s_deg']:.3f}" in text
        assert f"{figures['effective_rate_hz']:.1f}" in text


def test_the_report_is_listed_and_goes_with_a_person(study: Study, tmp_path: Path) -> None:
    from gazepipe.forget_plan import plan_of
    from gazepipe.integrity import check_store

    assert not check_store(study).bad
    assert study.report_file in plan_of(study, "sim02").remove


def test_anonymous_names_nobody(study: Study, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["-q", "report", str(study.root), "--anonymous", "--images", "0", "--out", str(tmp_path / "a.html")]
    )
    assert done.exit_code == 0, done.output
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    page_of(tmp_path / "a.html")
    assert "sim0" not in html
    assert ".png" not in html
    assert all(label in html for label in ("P1", "P5"))


def test_hostile_names_stay_text(small_study: Any) -> None:
    small_study.image(HOSTILE, 80, 60)
    looks = [(200 + 40 * k, 300, 200.0) for k in range(5)]
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    for user in ("a", "b"):
        small_study.recording(f"{user}.csv", [(quoted, looks)])
    bad = small_study.root / "rec" / "c<img src=x onerror=alert(2)>.csv"
    bad.write_text("time_ms,x_px\n1,2\n")
    toml = (small_study.root / "gazepipe.toml").read_text(encoding="utf-8")
    named = re.sub(r"^name = .*$", "name = '<b onmouseover=alert(3)>&amp; study'", toml, flags=re.M)
    (small_study.root / "gazepipe.toml").write_text(named, encoding="utf-8")
    study = small_study.open()
    assert ingest(study, jobs=1).failures
    build_psm(study)
    page = page_of(write_report(study, command='gazepipe report "</code><script>"'))
    assert HOSTILE in page.text
    assert "<b onmouseover=alert(3)>&amp; study" in page.text
    assert "c<img src=x onerror=alert(2)>.csv" in page.text
    assert "</code><script>" in page.text


def test_an_imported_data_set_has_no_quality(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{u},i{k}.jpg,{100 * n},{50 + 10 * n},200" for u in ("a", "b") for k in (1, 2) for n in range(4)]
    table.write_text("user,stimulus,x_px,y_px,duration_ms\n" + "\n".join(rows) + "\n")
    arguments = ["import", "table", str(table), "--study", str(tmp_path / "s"), "--pixels-per-degree", "30"]
    done = CliRunner().invoke(main, [*arguments, "--frame", "400x300"])
    assert done.exit_code == 0, done.output
    study = Study.open(tmp_path / "s")
    build_psm(study)
    page = page_of(write_report(study, images=1))
    assert "has fixations and no samples" in page.text
    assert "data loss (%)" not in page.text


def test_outliers_are_robust_deviations(study: Study) -> None:
    """Of 1, 2, 3, 4 and 100 the median is 3, MAD 1: 100 lies 97 · 0.6745 robust deviations away, 4 less than one."""
    contents = gather(study)
    for user, value in zip(contents.users, (1.0, 2.0, 3.0, 4.0, 100.0), strict=True):
        user.figures = {"accuracy_deg": value}
    found = outliers(contents)
    assert [(o.user.label, o.name, o.value, o.median) for o in found] == [("sim05", "accuracy", "100.00°", "3.00°")]
    assert found[0].far == pytest.approx(97 * 0.6745)


def test_measures_of_a_training_are_drawn_on_their_own_scales() -> None:
    from gazepipe import plotting

    history = [{"epoch": n, "loss": 9.0 - n, "cc": n / 10, "cc_usm": 0.2, "seconds": 1.0 * n} for n in range(1, 4)]
    assert plotting.training_panels(history) == [["loss"], ["cc", "cc_usm"]]
    axes = plotting.training_curve(history, ["cc", "cc_usm"], best=2)
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[0.1, 0.2, 0.3], [0.2, 0.2, 0.2]]
    assert plotting.training_curve(history, ["loss"]).get_ylabel() == "loss, training"


def test_images_are_chosen_by_rule() -> None:
    """Maps that are more and more like that of the others: the middle of each third of nine is number 1, 4 and 7."""
    other = np.zeros((2, 5), np.float32)
    other[0, 0] = 1
    psm = np.zeros((9, 2, 5), np.float32)
    for k in range(9):
        psm[k, 0, 0], psm[k, 1, 4] = 1, (8 - k) / 8
    names = [f"{k}.png" for k in range(9)]
    assert chosen_images(names, psm, [other] * 9, 3, set())[0] == [1, 4, 7]
    rows, rule = chosen_images(names, psm, [other] * 9, 2, {"0.png", "5.png"})
    assert rows == [0, 5]
    assert "test images" in rule


def test_missing_libraries_are_named(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name))
    with pytest.raises(ConfigError, match=r"needs jinja2.*gazepipe\[report\]"):
        write_report(study)


# ---- in a browser ----------------------------------------------------------------------------------------------------


class Browser:
    """Chromium without a window, spoken to through two pipes; it may reach nothing."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs, self.ask = os.pipe()
        self.hear, mine = os.pipe()
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        switches += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        switches += ["--disable-dev-shm-usage", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND"]
        command = [program, *switches, f"--user-data-dir={profile}", "about:blank"]
        # The protocol's pipes are file descriptors 3 and 4 of the browser; the duplicates are out of their way.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, mine)]
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(
            command, pass_fds=(3, 4), preexec_fn=lambda: (os.dup2(high[0], 3), os.dup2(high[1], 4)), **quiet
        )
        for end in (theirs, mine, *high):
            os.close(end)
        self.number, self.rest, self.session = 0, b"", ""
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.hear, 1 << 16)
            assert part, "the browser ended"
            self.rest += part
        first, _, self.rest = self.rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(first)
        return answer

    def open(self, path: Path, width: int) -> None:
        self.events.clear()
        self("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def value(self, script: str) -> Any:
        return self("Runtime.evaluate", expression=script, returnByValue=True)["result"]["value"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ask)
        os.close(self.hear)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if program is None:
        pytest.skip("no chromium here to look at the page with")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    try:
        opened.attach()
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("name", ["early.html", "store/report.html"])
def test_a_browser_shows_the_page(browser: Browser, study: Study, name: str, width: int) -> None:
    path = study.root / name
    browser.open(path, width)
    said = [e for e in browser.events if e.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
    said += [e for e in browser.events if e.get("method") == "Log.entryAdded"]
    assert not said
    urls = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert [u for u in urls if not u.startswith("data:")] == [path.as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.value("getComputedStyle(document.querySelector('nav ul')).display") == "flex"  # the style is taken
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 30)"
    browser("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"  # paper is white
    browser("Emulation.setEmulatedMedia", media="", features=[])
    wide = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre, nav, .index') && "
    wide += f"e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))"
    assert browser.value(wide) == []


def test_the_browser_test_can_fail(browser: Browser, tmp_path: Path) -> None:
    """A page that is too wide, loads something and runs something is found out by the same means."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><div style='width:3000px'>x</div><img src='b.png'><script>console.error(1)</script>"
    )
    browser.open(page, 1280)
    methods = [e.get("method") for e in browser.events]
    assert "Runtime.consoleAPICalled" in methods
    urls = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert (tmp_path / "b.png").as_uri() in urls
    assert browser.value("document.documentElement.scrollWidth") > 1280


def test_damaged_files_are_told_of_and_left_out(study: Study, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(study.root, root)
    copy = Study.open(root)
    (copy.store / "evaluation.json").write_text('{"digest": "0"}')
    write_atomically(copy.model_file("refiner"), bytes(20))
    for user in ("sim02", "sim03", "sim04"):
        copy.recording_file(user).write_bytes(b"no HDF5")
    page = page_of(write_report(copy, images=0))
    assert "evaluation.json" in page.text
    assert "refiner.safetensors cannot be read" in page.text
    assert "sim02.h5: damaged" in page.text
    assert re.search(r"\b2\s*users", page.text)
