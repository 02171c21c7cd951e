"""All stages in order, each incremental: what `gazepipe run` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gazepipe import consent
from gazepipe.build import build_psm, plan_build
from gazepipe.enrol import Gallery, enrol, plan_enrolment
from gazepipe.errors import GazepipeError
from gazepipe.evaluate import Evaluation, evaluate, plan_evaluation
from gazepipe.ingest import ingest
from gazepipe.predict import plan_predictions, predict, test_images_of
from gazepipe.preview import plan_ingest
from gazepipe.stage_plan import StagePlan
from gazepipe.study import Failure, Study
from gazepipe.train import plan_training, train
from gazepipe.words import counted

__all__ = ["RunReport", "plan_run", "run"]

#: Called with (stage, done, total, what to show).
Show = Callable[[str, int, int, str], None]


@dataclass(slots=True)
class RunReport:
    """What the whole run made."""

    counts: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gallery: Gallery | None = None
    evaluation: Evaluation | None = None
    overlays: list[Path] = field(default_factory=list)


def run(
    study: Study,
    *,
    jobs: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    images: int = 1,
    show: Show | None = None,
) -> RunReport:
    """Run ingest, build-psm, train, enrol, predict and evaluate.

    Parameters
    ----------
    study
        What to run on.
    jobs, device, threads
        Worker processes of ingest; device and threads of the networks.
    images
        Number of test images for which each user's map is drawn.
    """
    tell: Show = show or (lambda *_: None)
    report = RunReport()

    def timed(stage: str) -> Callable[[int, int, str], None]:
        report.seconds[stage] = -time.perf_counter()
        return lambda done, total, note: tell(stage, done, total, note)

    def over(stage: str, text: str) -> None:
        report.seconds[stage] += time.perf_counter()
        report.counts[stage] = text

    if not study.manifest("import"):
        taken = ingest(study, jobs=jobs, show=timed("ingest"))
        report.failures += taken.failures
        report.warnings += taken.warnings
        over("ingest", f"{len(taken.written)} written, {len(taken.current)} up to date, {taken.failed} failed")
    built = build_psm(study, show=timed("build-psm"))
    report.failures += built.failures
    text = f"{counted(built.n_maps, 'map')} of {counted(len(built.written) + len(built.current), 'user')} "
    text += f"on {counted(built.n_stimuli, 'image')}"
    over("build-psm", text)

    timed("train")
    networks = train(study, device=device, threads=threads, show=lambda network, *p: tell(f"train {network}", *p))
    over(
        "train",
        f"{', '.join(networks.trained) or 'nothing'} trained, {', '.join(networks.current) or 'none'} up to date",
    )

    refused = consent.refusal(study, study.manifest("build-psm").get("users", {}), "embed")
    report.warnings += refused.values()
    report.gallery = enrol(study, device=device, threads=threads, show=timed("enrol"))
    over("enrol", f"{counted(len(report.gallery.people), 'person', 'people')} in the gallery")

    shown = test_images_of(study, images)
    if shown:
        made, failed = predict(study, [], shown, device=device, threads=threads, show=timed("predict"))
        report.overlays += [p.overlay_file for p in made]
        report.failures += failed
        over("predict", f"{counted(len(report.overlays), 'personal map')} in {study.store / 'predictions'}")
    report.evaluation = evaluate(study, device=device, threads=threads, show=timed("evaluate"))
    over("evaluate", str(study.store / "evaluation.md"))
    return report


def plan_run(study: Study, *, jobs: int | None = None, device: str = "auto", images: int = 1) -> list[StagePlan]:
    """Find out what `run` would do, stage by stage, without writing anything.

    What a stage makes of results that are not there yet cannot be known; all of it is then said to be made.
    """
    stages: list[tuple[str, Callable[[], StagePlan]]] = [
        ("build-psm", lambda: plan_build(study)),
        ("train", lambda: plan_training(study)),
        ("enrol", lambda: plan_enrolment(study, None)),
        ("predict", lambda: _plan_predictions(study, images, device)),
        ("evaluate", lambda: plan_evaluation(study, device=device)),
    ]
    if not study.manifest("import"):
        stages.insert(0, ("ingest", lambda: plan_ingest(study, jobs=jobs)))
    plans: list[StagePlan] = []
    for stage, plan in stages:
        before = next((p for p in plans if p.changes), None)
        if before is not None:
            plans.append(StagePlan(stage))
            plans[-1].add("everything", "made", f"as far as what {before.stage} makes changes it")
            continue
        try:
            plans.append(plan())
        except GazepipeError as error:
            plans.append(StagePlan(stage))
            plans[-1].add("everything", "impossible", str(error))
            break
    return plans


def _plan_predictions(study: Study, images: int, device: str) -> StagePlan:
    shown = test_images_of(study, images)
    return plan_predictions(study, [], shown, device=device) if shown else StagePlan("predict")
