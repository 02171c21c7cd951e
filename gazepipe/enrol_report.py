"""What can be said of an enrolled person: embedding, expected precision, quality of the data, a likely double."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gazepipe.calibration import Calibration, Expectation, load_calibration
from gazepipe.enrol import Enrolment, Gallery, person_data
from gazepipe.errors import NothingToDoError
from gazepipe.person_recordings import PersonData, findings
from gazepipe.study import Study

__all__ = ["EnrolReport", "enrol_report"]

#: The nearest other person is called a double if another person came so near only this often.
_DOUBLE_RATE = 0.01


@dataclass(frozen=True, slots=True)
class EnrolReport:
    """One person of the gallery.

    Parameters
    ----------
    person, people
        The person, and how many people are in the gallery.
    data
        What the embedding was made of.
    expected
        Precision at one to be expected in this gallery with as many pairs; None where nothing is known of it.
    notes
        Sentences about quality below threshold, images left out, a likely double.
    """

    person: Enrolment
    people: int
    data: PersonData
    expected: Expectation | None
    notes: list[str]

    def content(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        person = {k: getattr(self.person, k) for k in Enrolment.__slots__}
        person["embedding"] = self.person.embedding.tolist()
        person["profile"] = None if self.person.profile is None else self.person.profile.tolist()
        return {
            **person,
            "people": self.people,
            "expected_precision": None if self.expected is None else asdict(self.expected),
            "data": self.data.content(),
            "notes": self.notes,
        }

    def text(self) -> str:
        """Return it as lines."""
        lines = [f"  data: {self.data.text()}."]
        if self.expected is not None:
            e = self.expected
            lines.append(
                f"  expected, not measured: at m = {e.m} about {e.value:.0%} of new embeddings of this person would be "
                f"recognised among {self.people} people (95 % interval {e.low:.0%} to {e.high:.0%}, from {e.users} "
                "people unknown to the network)."
            )
        return "\n".join(lines)


def enrol_report(study: Study, gallery: Gallery, user: str) -> EnrolReport:
    """Put together what can be said of a person of the gallery.

    Raises
    ------
    NothingToDoError
        If the person is not in it.
    """
    person, people = gallery[user], len(gallery.people)
    data = person_data(study, user)
    notes = [f"{user}: {text}." for text in findings(data, study.config.enrol)]
    n_maps = int(study.manifest("build-psm")["users"][user]["n_maps"])
    if n_maps > person.n_pairs:
        notes.append(
            f"{user}: left out {n_maps - person.n_pairs} of {n_maps} images, seen by nobody whom the network was "
            "trained on."
        )
    expected = None
    try:
        calibration = load_calibration(study, gallery.model)
    except NothingToDoError as error:
        notes.append(f"no expectation: {error}")
    else:
        if people > 1:
            expected = calibration.expected_precision(person.n_pairs, people)
        notes += _double(gallery, person, calibration)
    return EnrolReport(person, people, data, expected, notes)


def _double(gallery: Gallery, person: Enrolment, calibration: Calibration) -> list[str]:
    """Return a sentence if the nearest other person is far nearer than others are, and likelier the same than not."""
    if not person.nearest:
        return []
    other = gallery[person.nearest]
    limit = calibration.open_threshold(_DOUBLE_RATE, [p.n_pairs for p in gallery.people[1:]], person.n_pairs)
    ratio = calibration.likelihood_ratio(person.nearest_cosine, other.n_pairs, person.n_pairs)
    if person.nearest_cosine < limit or ratio < 10:
        return []
    return [
        f"{person.user}: may be in the gallery already, as {other.user!r}: their cosine is "
        f"{person.nearest_cosine:.3f}, and the nearest of others exceeds {limit:.3f} in one such gallery of a hundred."
    ]
