"""The receipt for a person forgotten: what was done and what a search of the store found, without saying of whom."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from gazepipe import audit
from gazepipe.forget_plan import Plan
from gazepipe.originals import originals_of
from gazepipe.study import Study
from gazepipe.subjects import subject_id
from gazepipe.traces import Scan, Traces
from gazepipe.words import counted

__all__ = ["RECEIPTS", "make_receipt", "receipt_text"]

#: Folder of the store with a receipt for everybody forgotten.
RECEIPTS = "receipts"


def make_receipt(
    study: Study, plan: Plan, journal: dict[str, Any], traces: Traces, found: Scan, deleted: int
) -> dict[str, Any]:
    """Say what was done without saying to whom: USER stands for the name."""

    def masked(text: str) -> str:
        for name in sorted(traces.names, key=len, reverse=True):
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "USER", text, flags=re.IGNORECASE)
        return text

    exports = [e["time"] for e in audit.entries(study) if e["command"] == "export"]
    return {
        "format": "gazepipe.receipt",
        "format_version": "1.0",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": subject_id(study, plan.user),
        "removed": [masked(name) for name in journal["removed"]],
        "originals_deleted": deleted,
        "originals_left": len(originals_of(study, plan.user, journal["originals"])),
        "to_rebuild": journal["rebuild"],
        "exports_before": exports,
        "looked_for": {"names": len(traces.names), "windows_of_numbers": len(traces.windows)},
        "looked_through": {
            "files": found.files,
            "bytes": found.bytes,
            "hdf5_datasets": found.datasets,
            "hdf5_attributes": found.attributes,
            "decoded_bytes": found.decoded_bytes,
            "could_not_be_decoded": [masked(name) for name in found.unreadable],
            "names_only_by_themselves": bool(traces.weak),
        },
        "found": [{"file": masked(h.file), "place": masked(h.place), "what": h.what} for h in found.hits],
        "clean": not found.hits,
    }


def receipt_text(receipt: dict[str, Any]) -> str:
    """Return a receipt for people."""
    seen, sought = receipt["looked_through"], receipt["looked_for"]
    lines = [f"{counted(len(receipt['removed']), 'file')} removed from the store."]
    if receipt.get("key_destroyed"):
        lines.append("The person's key was destroyed: sealed copies cannot be read without a copy of keys/.")
    if receipt["to_rebuild"]:
        lines += ["To be made again without the person:", *(f"  {what}" for what in receipt["to_rebuild"])]
    lines.append(
        f"Looked for {counted(sought['names'], 'name')} and {counted(sought['windows_of_numbers'], 'run')} of the "
        f"person's numbers in {counted(seen['files'], 'file')}, {seen['bytes'] / 1e6:.1f} MB, and in "
        f"{counted(seen['hdf5_datasets'], 'data set')} ({seen['decoded_bytes'] / 1e6:.1f} MB decoded) and "
        f"{counted(seen['hdf5_attributes'], 'attribute')} of them: "
        + ("nothing is left." if receipt["clean"] else f"{counted(len(receipt['found']), 'trace')} left.")
    )
    lines += [f"  {hit['file']}: {hit['what']} in {hit['place']}" for hit in receipt["found"]]
    if receipt["originals_left"]:
        lines.append(
            f"Still there, yours to delete: {counted(receipt['originals_left'], 'original recording')} (--recordings)."
        )
    if receipt["exports_before"]:
        lines.append(f"Before, {counted(len(receipt['exports_before']), 'export')} wrote what is yours to delete.")
    lines.append("Backups, copies and results written outside the store are yours to delete.")
    return "\n".join(lines)
