"""The sections of the study configuration, one for each stage. What they say is in the recipe of all a stage makes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from gazepipe.config.section import Count, Fraction, NonNegative, Positive, Section, checked_pattern
from gazepipe.config.trials import TrialsConfig
from gazepipe.geometry import Screen

__all__ = [
    "AuditConfig",
    "ConsentConfig",
    "CsvConfig",
    "EmbeddingConfig",
    "EnrolConfig",
    "EvaluationConfig",
    "IngestConfig",
    "IvtConfig",
    "PsmConfig",
    "RefinerConfig",
    "ScreenConfig",
    "SplitConfig",
    "StudyConfig",
    "UniversalConfig",
]


class ScreenConfig(Section):
    """The screen and the distance of the eyes from it."""

    width_px: Count = Field(1920, description="screen resolution")
    height_px: Count = Field(1080, description="screen resolution")
    width_mm: Positive = Field(531.0, description="size of the visible picture, not of the case")
    height_mm: Positive = Field(299.0, description="size of the visible picture")
    distance_mm: Positive = Field(650.0, description="from the eyes to the screen's centre")
    distance: Literal["fixed", "tracker"] = Field(
        "fixed", description="tracker: each sample's own, where the tracker measures it; else `distance_mm`"
    )
    distance_min_mm: Positive = Field(200.0, description="a shorter one from the tracker is not believed")
    distance_max_mm: Positive = Field(2000.0, description="a longer one from the tracker is not believed")

    def screen(self) -> Screen:
        """Return the geometry that the kernels work with."""
        return Screen(self.width_px, self.height_px, self.width_mm, self.height_mm, self.distance_mm)


class IngestConfig(Section):
    """Which files are recordings, and whose they are; a folder that is one recording needs no pattern."""

    include: tuple[str, ...] = Field(
        ("*.asc", "*.asc.gz", "*.edf", "*.csv", "*.csv.gz", "*.tsv", "*.tsv.gz", "*.parquet", "*.zip"),
        description="file names taken as recordings, below the recordings folder",
    )
    exclude: tuple[str, ...] = Field((), description="file names or folders left out")
    user_pattern: str = Field(
        r"(?P<user>[^/]+?)(_(?P<session>ses-[^/_.]+))?(\.[^/]+)?$",
        description="matched against the path below the recordings folder; groups: user, session (optional)",
    )

    @field_validator("user_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return checked_pattern(value, "user")


class CsvConfig(Section):
    """Columns of generic CSV/TSV recordings. Empty names mean: not in the file."""

    delimiter: str = Field("", max_length=2, description="empty: found from the file; '\\t' for a tab")
    header: bool = Field(True, description="false: the columns are named by number, '1' is the first")
    time: str = Field("time_ms", description="time of a sample")
    time_unit: Literal["s", "ms", "us", "ns"] = Field("ms", description="of that column")
    x: str = Field("x_px", description="gaze of both eyes together (or of the only eye)")
    y: str = Field("y_px", description="see x")
    pupil: str = Field("", description="pupil size, in whatever unit the file has")
    left_x: str = Field("", description="gaze of each eye; used instead of x and y where named")
    left_y: str = Field("", description="see left_x")
    left_pupil: str = Field("", description="see pupil")
    right_x: str = Field("", description="see left_x")
    right_y: str = Field("", description="see left_x")
    right_pupil: str = Field("", description="see pupil")
    trial: str = Field("", description="trial number; a change starts a new trial")
    stimulus: str = Field("", description="file name of the image shown")
    message: str = Field("", description="event texts, used by [trials] like a tracker's messages")
    position_unit: Literal["px", "normalised"] = Field("px", description="normalised: 0 … 1 over the screen")
    missing: tuple[float, ...] = Field((), description="numbers that stand for missing gaze, besides empty and NaN")
    sampling_rate_hz: NonNegative = Field(0.0, description="0: found from the times")


class IvtConfig(Section):
    """Event detection: fixations by velocity threshold as Olsen (2012) has it, saccades and blinks."""

    eye: Literal["average", "strict_average", "left", "right"] = Field(
        "average", description="average takes one eye where only one is there; strict_average needs both"
    )
    max_gap_ms: NonNegative = Field(75.0, description="shorter gaps are filled by a straight line; 0: none")
    noise_filter: Literal["none", "moving_average", "median"] = Field(
        "none", description="of the gaze, before velocities are taken"
    )
    noise_window: Count = Field(3, description="samples, odd")
    velocity_method: Literal["olsen", "savgol", "fivepoint"] = Field(
        "olsen", description="olsen: ends of the window; savgol: polynomial fitted in it; fivepoint: always 5 samples"
    )
    velocity_window_ms: Positive = Field(20.0, description="velocity is taken over this window")
    savgol_order: Annotated[int, Field(ge=1, le=5)] = Field(2, description="degree of the polynomial of savgol")
    velocity_threshold_mode: Literal["fixed", "adaptive"] = Field(
        "fixed", description="adaptive: median + lambda · median absolute deviation of each recording's velocities"
    )
    velocity_threshold_deg_s: Positive = Field(30.0, description="at or above it a sample is not of a fixation")
    velocity_lambda: Positive = Field(6.0, description="of the adaptive threshold, which stays between …")
    velocity_threshold_floor_deg_s: Positive = Field(10.0, description="… this …")
    velocity_threshold_cap_deg_s: Positive = Field(100.0, description="… and this", validate_default=True)
    merge_max_gap_ms: NonNegative = Field(75.0, description="neighbouring fixations closer than this …")
    merge_max_angle_deg: NonNegative = Field(0.5, description="… in time and in angle become one; 0: none")
    min_fixation_ms: NonNegative = Field(60.0, description="shorter fixations are discarded")
    min_saccade_ms: NonNegative = Field(10.0, description="shorter saccades are discarded")
    min_blink_ms: NonNegative = Field(50.0, description="shorter losses of the eyes are no blinks …")
    max_blink_ms: Positive = Field(1000.0, description="… nor are longer ones")

    @field_validator("noise_window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            msg = "must be odd"
            raise ValueError(msg)
        return value

    @field_validator("velocity_threshold_cap_deg_s")
    @classmethod
    def _above_floor(cls, value: float, info: ValidationInfo) -> float:
        floor = info.data.get("velocity_threshold_floor_deg_s", 0.0)
        if value < floor:
            msg = f"must be at least velocity_threshold_floor_deg_s, which is {floor:g}"
            raise ValueError(msg)
        return value


class PsmConfig(Section):
    """Personal saliency maps."""

    width: Count = Field(160, description="cells from left to right")
    height: Count = Field(120, description="cells from top to bottom")
    sigma_deg: Positive = Field(1.0, description="standard deviation of the Gaussian")
    pixels_per_degree: NonNegative = Field(
        0.0, description="of the image; 0: from the screen and where the image stands on it"
    )
    weighting: Literal["count", "duration"] = Field("count", description="what each fixation weighs")
    normalisation: Literal["max", "sum"] = Field(
        "max", description="of each repeat's map, before the mean over repeats"
    )
    border: Literal["cut", "reflect", "renormalise"] = Field(
        "cut",
        description="of the part of a Gaussian that falls off the image: lost, mirrored, or made up for",
    )
    drop_first_fixation: bool = Field(False, description="leave out the fixation already there at image onset")


class SplitConfig(Section):
    """Who and what is trained on, validated on and tested on."""

    protocol: Literal["open", "closed"] = Field("open", description="open: test users are unseen in training")
    users: tuple[Fraction, Fraction, Fraction] = Field((0.6, 0.2, 0.2), description="train, validation, test")
    images: tuple[Fraction, Fraction, Fraction] = Field((0.8, 0.1, 0.1), description="train, validation, test")
    seed: int = Field(0, description="of the draw of users and images")

    @field_validator("users", "images")
    @classmethod
    def _sum(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6:
            msg = f"must add up to 1, not {sum(value):g}"
            raise ValueError(msg)
        return value


class EmbeddingConfig(Section):
    """The embedding network and its training (defaults: the paper's)."""

    inputs: Literal["rgb+psm", "psm", "rgb+discrepancy", "discrepancy", "descriptors", "descriptors+scanpath"] = Field(
        "rgb+psm",
        description="discrepancy is PSM − USM of the training users; descriptors take the network's place; "
        "scanpath: order and durations of fixations, which no map tells",
    )
    registration: bool = Field(
        False, description="move each person's maps as one onto the universal ones; takes calibration offsets out"
    )
    widths: tuple[Count, Count, Count, Count] = Field((32, 64, 128, 256), description="channels of the four blocks")
    dimension: Count = Field(32, description="numbers in an embedding")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of features left out before the last layer"
    )
    recalibration_deg: Annotated[float, Field(ge=0, le=5)] = Field(
        0.0,
        description="expect another calibration to move a person's maps by up to so much; 0: the same calibration",
    )
    shrinkage: Annotated[float, Field(ge=0.001, le=1)] = Field(
        0.03, description="of the correlations that descriptors are whitened by"
    )
    m: Count = Field(8, description="image–PSM pairs that make one embedding in training")
    batch: Count = Field(256, description="embeddings in a batch; fewer where the images do not reach")
    mirror: bool = Field(False, description="mirror half of the training groups; not in the paper")
    studies: tuple[str, ...] = Field(
        (), description="folders of other studies whose training users are learned from, too (the paper's CD)"
    )
    margin: Positive = Field(0.05, description="of the triplet loss (α in the paper)")
    learning_rate: Positive = Field(0.001, description="of Adam")
    steps: Count = Field(1500, description="batches trained on at most")
    validate_every: Count = Field(50, description="steps between validations")
    patience: Count = Field(10, description="validations without improvement after which training stops")
    minutes: NonNegative = Field(0.0, description="stop training after this long; 0: no limit")

    @model_validator(mode="after")
    def _one_remedy(self) -> EmbeddingConfig:
        if self.registration and self.recalibration_deg:
            msg = "registration takes offsets out, so that recalibration_deg has nothing to expect; set one of them"
            raise ValueError(msg)
        return self


class RefinerConfig(Section):
    """The personal saliency network and its training (defaults: the paper's)."""

    widths: tuple[Count, Count, Count] = Field((32, 64, 128), description="channels of the trunk's three scales")
    personal: Count = Field(32, description="channels that the personal kernels act on")
    m: Count = Field(32, description="image–PSM pairs that make one embedding of the pool")
    pool: Count = Field(100, description="embeddings made for each user")
    usm: Literal["mean", "leave_one_out"] = Field("mean", description="universal map that is refined")
    method: Literal["network", "profile"] = Field(
        "network", description="of prediction; profile: a few numbers fitted to the person's maps, without a network"
    )
    content: int = Field(
        8, ge=0, description="directions of image content that profiles weigh, made with [universal] backbone; 0: none"
    )
    combine: Literal["add", "gated"] = Field(
        "gated", description="of universal and discrepancy map; add: the paper's sum; gated: only where anybody looks"
    )
    multicnn: bool = Field(False, description="train the baseline too: a network for each training user, in `minutes`")
    learning_rate: Positive = Field(0.02, description="of stochastic gradient descent, at the start")
    momentum: Fraction = Field(0.9, description="of stochastic gradient descent")
    weight_decay: NonNegative = Field(0.0005, description="of stochastic gradient descent")
    batch: Count = Field(32, description="user–image pairs in a batch")
    halve_every: Count = Field(25, description="epochs after which the learning rate is halved")
    epochs: Count = Field(60, description="passes over all training pairs at most")
    patience: Count = Field(15, description="epochs without improvement after which training stops")
    minutes: NonNegative = Field(0.0, description="stop training after this long; 0: no limit")


class UniversalConfig(Section):
    """The built-in universal predictor, for images nobody in the study has seen."""

    predictor: Literal["built-in", "deepgaze"] = Field("built-in", description="deepgaze: DeepGaze IIE, if installed")
    backbone: Literal["auto", "none", "efficientnet-lite0"] = Field(
        "auto", description="source of features; none: a network trained from nothing; auto: the other if installed"
    )
    weights: str = Field("", description="universal predictor of another study (a safetensors file) to start from")
    maps: str = Field("", description="folder of universal maps to evaluate, too")
    readout_epochs: Count = Field(12, description="passes over all training images with a backbone")
    epochs: Count = Field(30, description="passes over all training images without one")
    learning_rate: Positive = Field(0.002, description="of AdamW, at its highest")
    minutes: NonNegative = Field(0.0, description="stop training after this long; 0: no limit")


class EvaluationConfig(Section):
    """What `gazepipe evaluate` reports."""

    m: tuple[Count, ...] = Field((4, 8, 16, 32), description="pairs that make one embedding")
    embeddings_per_user: Count = Field(20, description="drawn at random")
    repetitions: Count = Field(20, description="random draws that precision at one is averaged over")
    offset_deg: NonNegative = Field(
        1.0, description="each embedding's maps are moved by up to so much, in a row of its own; 0: no such row"
    )
    offset_repetitions: Count = Field(5, description="random draws of that row, which takes long")


class EnrolConfig(Section):
    """What `enrol`, `identify` and `verify` warn of, and refuse with `--strict-qc`."""

    min_images: Count = Field(4, description="images that the network's people have seen, too")
    min_fixations: NonNegative = Field(2.0, description="fixations an image, on average")
    max_data_loss: Fraction = Field(0.4, description="share of samples without gaze")
    max_off_screen: Fraction = Field(0.2, description="share of gaze outside the screen")
    max_rms_s2s_deg: Positive = Field(0.3, description="noise from sample to sample")
    max_accuracy_deg: Positive = Field(
        1.0, description="mean error of the tracker's own validation, where it states one"
    )
    min_rate_hz: NonNegative = Field(50.0, description="nominal sampling rate")


class ConsentConfig(Section):
    """Whether people are taken only with a consent form on record."""

    required: bool = Field(False, description="true: refuse people without a valid form in `file`")
    file: str = Field("consent.csv", description="table of forms: user, form, date, scope, expires")


class AuditConfig(Section):
    """What the audit log keeps."""

    who: bool = Field(False, description="true: also the name of the computer's user who ran a command")


class EncryptionConfig(Section):
    """Whether the store is sealed, and where the passphrase is."""

    enabled: bool = Field(False, description="true: seal what the store holds of people, from its first file on")
    passphrase_file: str = Field("", description="text file with the passphrase; the environment comes first")
    keyring: bool = Field(False, description="true: ask the system's keyring, if nothing else has the passphrase")


class StudyConfig(Section):
    """The whole of `gazepipe.toml`."""

    name: str = Field("study", description="shown in reports")
    recordings: str = Field(".", description="folder of recordings; relative paths start at this file")
    stimuli: str = Field("stimuli", description="folder of the images")
    store: str = Field("store", description="folder for everything gazepipe makes")
    file_names: Literal["pseudonyms", "random"] = Field(
        "pseudonyms", description="of people's files in a new store; random: no pseudonym in a path, as in a sealed one"
    )
    seed: int = Field(0, description="of everything drawn at random in training and evaluation")
    screen: ScreenConfig = ScreenConfig()
    ingest: IngestConfig = IngestConfig()
    csv: CsvConfig = CsvConfig()
    trials: TrialsConfig = TrialsConfig()
    ivt: IvtConfig = IvtConfig()
    psm: PsmConfig = PsmConfig()
    split: SplitConfig = SplitConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    refiner: RefinerConfig = RefinerConfig()
    universal: UniversalConfig = UniversalConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    enrol: EnrolConfig = EnrolConfig()
    consent: ConsentConfig = ConsentConfig()
    audit: AuditConfig = AuditConfig()
    encryption: EncryptionConfig = EncryptionConfig()
