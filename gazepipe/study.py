"""A study: its configuration, its folders, and what each stage left in the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gazepipe.config import CONFIG_NAME, StudyConfig, load_config
from gazepipe.documents import read_json, write_json, write_listed
from gazepipe.errors import ConfigError, NothingToDoError, StorageError, StoreError
from gazepipe.file_names import file_name, image_name, prepare_names
from gazepipe.labels import check_label, fold, stored_name
from gazepipe.sealing import prepare, text_of

__all__ = ["Failure", "Study", "check_label", "check_spelling", "fold", "stored_name"]


def check_spelling(study: Study, user: str) -> None:
    """Refuse a name that is another user's but for its spelling: on some systems their files would be one.

    Raises
    ------
    ConfigError
        If there is such a user.
    """
    for row in study.known_recordings().values():
        if fold(row["user"]) == fold(user) and row["user"] != user:
            msg = f"user {user!r}: the study already has a user {row['user']!r}; use one spelling for one person."
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that a stage could not use, or not fully."""

    stage: str
    source: str
    message: str
    partial: bool = False

    def row(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {"stage": self.stage, "source": self.source, "message": self.message, "partial": self.partial}


def _is_row(row: object) -> bool:
    """Whether it can be what a manifest says of a recording."""
    return isinstance(row, dict) and isinstance(row.get("user"), str)


def _stage_of(line: str) -> str | None:
    """Stage of a line of `failures.jsonl`; None for a line that is damaged or empty."""
    try:
        return str(json.loads(line)["stage"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class Study:
    """A study: its settings, and where its files are. `open` finds them.

    Parameters
    ----------
    config
        What `gazepipe.toml` says, checked.
    root, recordings, stimuli, store
        Folders: of `gazepipe.toml`, of the recordings, of the images, and of everything gazepipe makes.

    Examples
    --------
    >>> from gazepipe import Study
    >>> study = Study.open(".")
    >>> study.config.psm.width, study.config.psm.height
    (160, 120)
    >>> study.psm_file("sim01").name
    'sim01.h5'
    """

    config: StudyConfig
    root: Path
    recordings: Path
    stimuli: Path
    store: Path

    def __repr__(self) -> str:
        return f"<Study: {self.config.name}, recordings in {self.recordings}, store {self.store}>"

    @classmethod
    def of(cls, study: Study | Path | str) -> Study:
        """Return a study as it is, or open the one in a folder.

        Raises
        ------
        ConfigError, StorageError
            As `open`.
        """
        return study if isinstance(study, Study) else cls.open(study)

    @classmethod
    def open(
        cls, where: Path | str | None = None, *, config: Path | str | None = None, to: Path | str | None = None
    ) -> Study:
        """Find the configuration that belongs to a folder and resolve its paths.

        Parameters
        ----------
        where
            A study folder, or a folder of recordings; the current folder if None. The configuration is the
            `gazepipe.toml` in it, else the one in the current folder.
        config
            Path of the configuration, if it is elsewhere.
        to
            The store, if it is to be elsewhere than the configuration says.

        Raises
        ------
        ConfigError
            If there is no configuration or it is wrong, the store is sealed and this is not its passphrase, or its
            files are called otherwise than they are to be.
        StorageError
            If this user may not look into the store.
        """
        where, config, to = (None if p is None else Path(p) for p in (where, config, to))
        inside = where is not None and (where / CONFIG_NAME).is_file()
        path = config or (where / CONFIG_NAME if inside and where else Path(CONFIG_NAME))
        if where is not None and not where.is_dir():
            msg = f"{where}: no such folder; expected a study or a folder of recordings."
            raise ConfigError(msg)
        if config is None and not path.is_file():
            msg = (
                f"{where or Path.cwd()}: holds no {CONFIG_NAME}, and neither does the current folder; "
                "write one with `gazepipe init` and set its [screen]."
            )
            raise ConfigError(msg)
        loaded = load_config(path)
        root = path.parent
        recordings = root / loaded.recordings if inside or where is None else where
        where_to = to if to is not None else root / loaded.store
        try:
            prepare(where_to, loaded.encryption, root)
            prepare_names(where_to, loaded.file_names)
        except PermissionError as error:
            msg = f"{where_to}: the store cannot be looked into ({error.strerror}); let this user read and write it."
            raise StorageError(msg) from None
        return cls(loaded, root, recordings, root / loaded.stimuli, where_to)

    # ---- files ---------------------------------------------------------------------------------------------------

    def recording_file(self, recording: str) -> Path:
        """Samples, trials, fixations and quality of one recording."""
        return self.store / "recordings" / f"{file_name(self.store, stored_name(recording))}.h5"

    def psm_file(self, user: str) -> Path:
        """Personal saliency maps of one user."""
        return self.store / "psm" / f"{file_name(self.store, stored_name(user))}.h5"

    @property
    def predictions(self) -> Path:
        """Folder of predicted maps."""
        return self.store / "predictions"

    def predictions_of(self, user: str) -> Path:
        """Folder of the predicted maps of one user."""
        return self.predictions / file_name(self.store, stored_name(user))

    def prediction_name(self, image: Path) -> str:
        """What the predicted maps of an image are called in it, without suffix."""
        return image_name(self.store, image.stem)

    @property
    def failures_file(self) -> Path:
        """What the stages could not use, or not fully."""
        return self.store / "failures.jsonl"

    @property
    def usm_file(self) -> Path:
        """Universal saliency maps."""
        return self.store / "usm.h5"

    @property
    def stimuli_file(self) -> Path:
        """The images at map size."""
        return self.store / "stimuli.h5"

    @property
    def gallery_file(self) -> Path:
        """Embeddings of all enrolled users."""
        return self.store / "gallery.h5"

    @property
    def report_file(self) -> Path:
        """The report of everybody, unless it went elsewhere."""
        return self.store / "report.html"

    def model_file(self, name: str) -> Path:
        """Weights of a network: embedding, refiner or universal."""
        return self.store / "models" / f"{name}.safetensors"

    def checkpoint_file(self, name: str) -> Path:
        """State of a network's training, while it lasts."""
        return self.store / "models" / f"{name}.checkpoint"

    @property
    def calibration_file(self) -> Path:
        """What may be expected of the embedding network with new people."""
        return self.store / "models" / "calibration.json"

    # ---- manifests -----------------------------------------------------------------------------------------------

    def manifest_file(self, stage: str) -> Path:
        """Where a stage keeps what it left."""
        return self.store / "manifest" / f"{stage}.json"

    def manifest(self, stage: str) -> dict[str, Any]:
        """What a stage last left; empty if it never ran.

        Raises
        ------
        StoreError
            If the manifest is damaged.
        """
        try:
            return read_json(self.manifest_file(stage), f"delete it and run `gazepipe {stage}` again")
        except FileNotFoundError:
            return {}

    def write_manifest(self, stage: str, content: Mapping[str, Any]) -> None:
        """Replace what a stage left."""
        in_order = json.loads(json.dumps(content, sort_keys=True, default=str))
        write_json(self.manifest_file(stage), in_order)

    def write_failures(self, stage: str, failures: Iterable[Failure]) -> None:
        """Replace this stage's lines in `failures.jsonl`."""
        path = self.failures_file
        kept = [line for line in self.failure_lines() if _stage_of(line) not in (None, stage)]
        kept += [json.dumps(f.row(), ensure_ascii=False) for f in failures]
        if kept or path.is_file():
            write_listed(self.store, {path: "".join(line + "\n" for line in kept).encode()})

    def failure_lines(self) -> list[str]:
        """Lines of `failures.jsonl`; none of a file that is damaged as a whole, which the next stage writes anew."""
        try:
            return text_of(self.failures_file).decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, StoreError):
            return []

    def failures(self) -> list[Failure]:
        """Everything that the stages could not use, or not fully, when they last ran; damaged lines are left out."""
        found = []
        for line in self.failure_lines():
            try:
                row = json.loads(line)
                found.append(Failure(row["stage"], row["source"], row["message"], bool(row.get("partial"))))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    def evaluation(self) -> dict[str, Any]:
        """Figures of the last evaluation, as `gazepipe.evaluate` left them.

        Raises
        ------
        NothingToDoError
            If there is none.
        StoreError
            If they are damaged.
        """
        path = self.store / "evaluation.json"
        try:
            return read_json(path, "run `gazepipe evaluate` again")
        except FileNotFoundError:
            msg = f"{path}: there is no evaluation; run `gazepipe evaluate` first."
            raise NothingToDoError(msg) from None

    def known_recordings(self) -> dict[str, dict[str, Any]]:
        """All recordings that are current: recording id → user, session, source, origin, recipe.

        Raises
        ------
        StoreError
            If a manifest is damaged, or names something that gazepipe does not store.
        """
        known: dict[str, dict[str, Any]] = {}
        for stage in ("import", "ingest", "enrol"):
            rows = self.manifest(stage).get("recordings", {})
            if not isinstance(rows, dict) or not all(map(_is_row, rows.values())):
                path = self.manifest_file(stage)
                msg = f"{path}: has recordings that gazepipe did not write; delete it and run `gazepipe {stage}` again."
                raise StoreError(msg)
            for name, row in rows.items():
                stored_name(name)
                stored_name(row["user"])
            known |= rows
        return known
