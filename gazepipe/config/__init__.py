"""The study configuration `gazepipe.toml`: a frozen, validated object for each stage, with the defaults in it."""

from __future__ import annotations

from gazepipe.config.file import CONFIG_NAME, load_config, parse_config, template
from gazepipe.config.section import Section
from gazepipe.config.sections import (
    AuditConfig,
    ConsentConfig,
    CsvConfig,
    EmbeddingConfig,
    EncryptionConfig,
    EnrolConfig,
    EvaluationConfig,
    IngestConfig,
    IvtConfig,
    PsmConfig,
    RefinerConfig,
    ScreenConfig,
    SplitConfig,
    StudyConfig,
    UniversalConfig,
)
from gazepipe.config.trials import TrialsConfig

__all__ = [
    "CONFIG_NAME",
    "AuditConfig",
    "ConsentConfig",
    "CsvConfig",
    "EmbeddingConfig",
    "EncryptionConfig",
    "EnrolConfig",
    "EvaluationConfig",
    "IngestConfig",
    "IvtConfig",
    "PsmConfig",
    "RefinerConfig",
    "ScreenConfig",
    "Section",
    "SplitConfig",
    "StudyConfig",
    "TrialsConfig",
    "UniversalConfig",
    "load_config",
    "parse_config",
    "template",
]
