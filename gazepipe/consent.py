"""Who agreed to what: a table `consent.csv` in the study folder, and who is refused for want of an entry.

One row a form: user, form, date, scope, expires. A study that sets ``[consent] required = true`` takes in, enrols and
exports only people with a valid form for that. The table is the study's, not the store's: people can edit it by hand.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gazepipe.atomic import write_atomically
from gazepipe.errors import ConfigError
from gazepipe.study import Study, check_label, fold

__all__ = ["SCOPES", "Consent", "add", "consent_file", "consents", "refusal", "remove"]

#: What can be agreed to: recordings and maps, an embedding in the gallery, handing data on.
SCOPES = ("ingest", "embed", "share")
_COLUMNS = ("user", "form", "date", "scope", "expires")


@dataclass(frozen=True, slots=True)
class Consent:
    """One form: who signed what, when, for which scopes, and until when (None: no end)."""

    user: str
    form: str
    date: datetime.date
    scope: tuple[str, ...]
    expires: datetime.date | None = None

    def covers(self, scope: str, day: datetime.date) -> bool:
        """Whether it allows something on a day; the day it expires is the last one."""
        return scope in self.scope and self.date <= day and (self.expires is None or day <= self.expires)


def consent_file(study: Study) -> Path:
    """Where the table is."""
    return study.root / study.config.consent.file


def consents(study: Study) -> list[Consent]:
    """All forms, in the order of the table; none if there is no table.

    Raises
    ------
    ConfigError
        If a row is not understood.
    """
    path = consent_file(study)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read ({error}); expected a CSV table in UTF-8."
        raise ConfigError(msg) from None
    reader = csv.DictReader(io.StringIO(text))
    missing = [c for c in _COLUMNS[:4] if c not in (reader.fieldnames or ())]
    if missing:
        msg = f"{path}: has no column {missing[0]!r}; expected {', '.join(_COLUMNS)}."
        raise ConfigError(msg)
    found = []
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        found.append(
            _parsed(where, *((row.get(c) or "").strip() for c in _COLUMNS)),
        )
    return found


def _parsed(where: str, user: str, form: str, signed: str, scope: str, expires: str) -> Consent:
    check_label(user, f"{where}: user")
    if not form or not form.isprintable():
        msg = f"{where}: names no form; expected the number or name of what was signed."
        raise ConfigError(msg)
    scopes = tuple(scope.replace(",", " ").replace(";", " ").split())
    wrong = next((s for s in scopes if s not in SCOPES), None if scopes else "")
    if wrong is not None:
        msg = f"{where}: scope is {wrong!r}; expected one or more of {', '.join(SCOPES)}."
        raise ConfigError(msg)
    until = _day(where, "expires", expires) if expires else None
    return Consent(user, form, _day(where, "date", signed), scopes, until)


def _day(where: str, what: str, text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        msg = f"{where}: {what} is {text!r}; expected a date such as 2026-05-31."
        raise ConfigError(msg) from None


def add(study: Study, user: str, form: str, signed: str, scope: str, expires: str = "") -> Consent:
    """Add a form to the table.

    Raises
    ------
    ConfigError
        If something in it is not understood, or the table is not.
    """
    new = _parsed("consent", user, form, signed, scope, expires)
    _write(study, [*consents(study), new])
    return new


def remove(study: Study, user: str) -> int:
    """Take a user's rows out of the table; how many there were."""
    rows = consents(study)
    kept = [row for row in rows if fold(row.user) != fold(user)]
    if len(kept) != len(rows):
        _write(study, kept)
    return len(rows) - len(kept)


def _write(study: Study, rows: Iterable[Consent]) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in rows:
        table.writerow([row.user, row.form, row.date, " ".join(row.scope), row.expires or ""])
    write_atomically(consent_file(study), out.getvalue().encode())


def refusal(study: Study, users: Iterable[str], scope: str, today: datetime.date | None = None) -> dict[str, str]:
    """Users who may not be used so, with one sentence each; empty where the study requires no consent."""
    if not study.config.consent.required:
        return {}
    day = today or datetime.date.today()
    mine: dict[str, list[Consent]] = {}
    for form in consents(study):
        mine.setdefault(fold(form.user), []).append(form)
    return {
        user: _sentence(study, user, scope, mine.get(fold(user), []), day)
        for user in dict.fromkeys(users)
        if not any(form.covers(scope, day) for form in mine.get(fold(user), []))
    }


def _sentence(study: Study, user: str, scope: str, forms: list[Consent], day: datetime.date) -> str:
    relevant = [f for f in forms if scope in f.scope]
    if not forms:
        found = "has no consent"
    elif not relevant:
        found = f"agreed to {', '.join(sorted({s for f in forms for s in f.scope}))} only"
    elif all(f.date > day for f in relevant):
        found = f"agreed from {min(f.date for f in relevant)} on only"
    else:
        found = f"agreed until {max(f.expires or day for f in relevant)} only"
    return (
        f"user {user!r} {found} in {consent_file(study)}, and [consent] required asks for the scope {scope!r}; add a "
        f"form with `gazepipe consent add --user {user}`, or leave the person out."
    )
