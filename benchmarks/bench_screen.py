"""How exactly and at what cost the screen is found in a scene camera's picture.

    python benchmarks/bench_screen.py [--frames 14]

Rendered pictures (`_scene_camera.py`): a camera of 1600 × 1200 px with the lens of a real Neon, a screen of
1920 × 1080 px (531 × 299 mm) with a stimulus full of edges, turned by up to 20° in both directions and 10° in the
picture, 3 grey levels of noise. The error is that of 63 places spread over the screen, in screen pixels; a picture is
lost if the screen is not found in it. CPU is of one core, the second detector's process included.
"""

from __future__ import annotations

import argparse
import resource
import time

import cv2
import numpy as np
from _scene_camera import DISTORTION, MATRIX, Pose, Scene, clutter, shown

from gazepipe.markers.camera import Camera
from gazepipe.markers.detection import Found, MarkerDetector
from gazepipe.markers.drawing import frame
from gazepipe.markers.fallback import TagProcess
from gazepipe.markers.layout import MarkerScreen
from gazepipe.markers.mapping import PlaneSeries, map_gaze
from gazepipe.markers.plane import fit_plane

PX, MM = (1920, 1080), (531.0, 299.0)
CAMERA = Camera(np.array(MATRIX), np.array(DISTORTION), (1600, 1200))
GRID = np.stack(np.meshgrid(np.linspace(50, 1870, 9), np.linspace(50, 1030, 7)), -1).reshape(-1, 2)

#: Name, markers, their side in px, distance in mm, blur in px of the camera.
SETUPS = [
    ("4 of 120 px, 65 cm", 4, 120, 650, (0.6, 0.6)),
    ("8 of 120 px, 65 cm", 8, 120, 650, (0.6, 0.6)),
    ("8 of 120 px, 90 cm", 8, 120, 900, (0.6, 0.6)),
    ("4 of 120 px, 65 cm, strong blur", 4, 120, 650, (2.5, 3.5)),
    ("8 of 120 px, 65 cm, strong blur", 8, 120, 650, (2.5, 3.5)),
    ("4 of 72 px, 65 cm", 4, 72, 650, (0.6, 0.6)),
    ("8 of 72 px, 90 cm", 8, 72, 900, (0.6, 0.6)),
    ("4 of 72 px, 90 cm, blur", 4, 72, 900, (1.0, 2.0)),
]


class Plain:
    """OpenCV as it comes, with its own corner refinement."""

    def __init__(self, numbers):
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self.aruco = cv2.aruco.ArucoDetector(
            cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11), parameters
        )
        self.numbers = set(numbers)

    def detect(self, picture):
        corners, numbers, _ = self.aruco.detectMarkers(picture)
        rows = zip([] if numbers is None else np.ravel(numbers).tolist(), corners, strict=True)
        return Found({k: quad.reshape(4, 2).astype(float) for k, quad in rows if k in self.numbers})

    def close(self):
        pass


class Second:
    """pupil_apriltags alone, in its own process: in this one it has corrupted the memory."""

    def __init__(self, numbers):
        self.process, self.numbers = TagProcess(timeout_s=30), set(numbers)

    def detect(self, picture):
        return Found({k: quad for k, quad in self.process.detect(picture).items() if k in self.numbers})

    def close(self):
        self.process.close()
        self.deaths = self.process.deaths


DETECTORS = {
    "OpenCV as it comes": Plain,
    "pupil_apriltags": Second,
    "gazepipe": lambda numbers: MarkerDetector(numbers, fallback=False),
    "gazepipe with fallback": MarkerDetector,
}


def cpu_s() -> float:
    """CPU time of this process and of those that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def pictures(tags, tag_px, distance, blur, count):
    screen = MarkerScreen(PX, MM, tags, tag_px)
    scene = Scene(shown(frame(screen), clutter(PX)), MM)
    for k in range(count):
        rng = np.random.default_rng(k)
        turn = (*rng.uniform(-20, 20, 2), rng.uniform(-10, 10))
        pose = Pose(*rng.uniform(-60, 60, 2), distance, turn)
        yield screen, scene, pose, scene.shoot(pose, blur_px=rng.uniform(*blur), seed=k)


def detectors(count):
    names = " | ".join(DETECTORS)
    print(f"error (median / 95 %) in screen px, pictures lost of {count}, CPU ms a picture\n")
    print(f"| markers | {names} |\n|{' --- |' * (len(DETECTORS) + 1)}")
    for name, *setup in SETUPS:
        rows = list(pictures(*setup, count))
        cells = []
        for make in DETECTORS.values():
            off, lost, begun = [], 0, cpu_s()
            detector = make(rows[0][0].layout)
            planes = [fit_plane(detector.detect(picture).corners, rows[0][0], CAMERA) for *_, picture in rows]
            detector.close()
            died = getattr(detector, "deaths", 0)
            spent = (cpu_s() - begun) / count * 1000
            for (_, scene, pose, _), plane in zip(rows, planes, strict=True):
                if plane is None:
                    lost += 1
                else:
                    off.append(plane.to_screen(CAMERA.undistort(scene.to_camera(GRID, pose))) - GRID)
            error = "–"
            if off:
                distance = np.hypot(*np.concatenate(off).T)
                error = f"{np.median(distance):.2f} / {np.quantile(distance, 0.95):.2f}"
            crashes = f"; {died} crashes" if died else ""
            cells.append(f"{error}; {lost} lost; {spent:.0f} ms{crashes}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def head_turns():
    """Gaze at one place while the head swings, by exact planes 30 times a second with noise of a real detection."""
    print("\nerror (median / 95 %) in screen px while the head swings by ±10°, pictures 30 times a second\n")
    print("| highest speed | last | nearest | interpolated | interpolated, smoothed over 5 |")
    print("| --- | --- | --- | --- | --- |")
    screen = MarkerScreen(PX, MM, 8, 120)
    scene = Scene(np.zeros((1080, 1920), np.uint8), MM)
    rng = np.random.default_rng(0)
    place = np.array([[700.0, 400.0]])
    for speed in (0, 10, 50, 100):

        def pose(t, speed=speed):
            angle = 10 * np.sin(t * speed / 10)
            yaw = np.radians(angle)
            return Pose(650 * np.sin(yaw), 0, 650 * np.cos(yaw), (0, angle, 0))

        times = np.arange(120) / 30
        planes = []
        for t in times:
            corners = {k: scene.to_camera(v, pose(t)) + rng.normal(0, 0.1, (4, 2)) for k, v in screen.layout.items()}
            planes.append(fit_plane(corners, screen, CAMERA))
        series = PlaneSeries.of(np.rint(times * 1e9), planes, screen)
        samples = np.arange(0.05, 3.9, 0.005)
        gaze = np.concatenate([scene.to_camera(place, pose(t)) for t in samples])
        cells = []
        for mode, used in (
            ("last", series),
            ("nearest", series),
            ("interpolated", series),
            ("interpolated", series.smoothed(5)),
        ):
            x, y, _ = map_gaze(used, screen, CAMERA, np.rint(samples * 1e9), *gaze.T, mode=mode)
            off = np.hypot(x - place[0, 0], y - place[0, 1])
            cells.append(f"{np.median(off):.2f} / {np.quantile(off, 0.95):.2f}")
        print(f"| {speed}°/s | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=14)
    cv2.setNumThreads(1)
    detectors(parser.parse_args().frames)
    head_turns()
