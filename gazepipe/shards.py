"""Parts of a stage that may run at the same time, on several machines: shard K of N, and what each leaves for the rest.

A shard does every N-th item, writes their files, and leaves a manifest of its own; `gazepipe.gather` joins these into
the manifest of the stage. Which shard an item falls to decides nothing about its file, so that another N makes no file
again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gazepipe.atomic import remove
from gazepipe.errors import ConfigError, NothingToDoError, StoreError
from gazepipe.study import Failure, Study

__all__ = ["WAIT_S", "Shard", "failures_of", "forget_parts", "load_parts", "part_files", "save_part"]

#: Shards start together, and each begins under the lock of the whole store.
WAIT_S = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"K/N"``.

        Raises
        ------
        ConfigError
            If it is something else.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            msg = f"--shard {text}: expected K/N with K from 1 to N, such as 1/4."
            raise ConfigError(msg)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def name(self, stage: str) -> str:
        """Name of this part of a stage: ``ingest-1-of-4``."""
        return f"{stage}-{self.number}-of-{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """Every `count`-th item."""
        return list(items[self.number - 1 :: self.count])


def save_part(
    study: Study, stage: str, shard: Shard, made_of: str, content: Mapping[str, Any], failures: Iterable[Failure]
) -> None:
    """Leave a shard's manifest; `made_of` is a digest of what all shards of a stage must agree on."""
    rows = [f.row() for f in failures]
    study.write_manifest(shard.name(stage), {"made_of": made_of, **content, "failures": rows})


def load_parts(study: Study, stage: str, count: int, made_of: str) -> list[dict[str, Any]]:
    """Read what all shards left.

    Raises
    ------
    NothingToDoError
        If a shard has not run, or not since the configuration or its input changed.
    """
    parts = []
    for shard in (Shard(k, count) for k in range(1, count + 1)):
        part = study.manifest(shard.name(stage))
        if part.get("made_of") != made_of:
            state = "has run with another configuration or input" if part else "has not run"
            msg = f"{study.store}: shard {shard} of {stage} {state}; run `gazepipe {stage} --shard {shard}`."
            raise NothingToDoError(msg)
        parts.append(part)
    return parts


def part_files(study: Study, stage: str = "*") -> list[Path]:
    """Find the manifests that shards of a stage, or of any, left."""
    return list((study.store / "manifest").glob(f"{stage}-*-of-*.json"))


def forget_parts(study: Study, stage: str, kept: int = 0) -> None:
    """Remove what shards left, unless there are `kept` of them: nobody keeps it up to date any longer."""
    for path in part_files(study, stage):
        if not path.name.endswith(f"-of-{kept}.json"):
            remove(path)


def failures_of(part: Mapping[str, Any]) -> list[Failure]:
    """Failures that a shard left.

    Raises
    ------
    StoreError
        If they are not understood.
    """
    try:
        return [Failure(**row) for row in part["failures"]]
    except (KeyError, TypeError):
        msg = f"a shard's failures are damaged ({json.dumps(part.get('failures'))[:80]}); run the shard again."
        raise StoreError(msg) from None
