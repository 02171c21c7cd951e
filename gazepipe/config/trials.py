"""The section [trials]: where presentations of images stand in a recording or beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gazepipe.config.section import NonNegative, Positive, Section, checked_pattern
from gazepipe.geometry import parse_placement

__all__ = ["TrialsConfig"]


class TrialsConfig(Section):
    """How the presentations of images are found, and where the image stands on the screen."""

    source: Literal["auto", "messages", "columns", "blocks", "file"] = Field(
        "auto", description="auto: the trials file if one is named, else columns where there are any, else messages"
    )
    start: str = Field(
        r"(?i)^(?:SYNCTIME|DISPLAY ON|start_trial(?: .*)?|IMAGE_ON(?:SET)?(?:\s+(?P<stimulus>\S+))?)$",
        description="message that begins a presentation; a group 'stimulus' may name the image",
    )
    stop: str = Field(
        r"(?i)^(?:TRIAL_RESULT.*|stop_trial|IMAGE_OFF(?:SET)?(?:\s.*)?|blank_screen|TRIAL OK)$",
        description="message that ends it; without one it ends at `duration_ms`, the next start or the block's end",
    )
    stimulus: str = Field(
        r"(?i)^(?:!V IMGLOAD (?:FILL|TOP_LEFT|CENTER) (?:.*[/\\])?(?P<stimulus>\S+).*"
        r"|!V TRIAL_VAR (?:image|stimulus|img)\s+(?:.*[/\\])?(?P<stimulus_var>\S+)"
        r"|var (?:image|stimulus|img)\s+(?:.*[/\\])?(?P<stimulus_os>\S+))$",
        description="message that names the image shown; any group whose name begins with 'stimulus'",
    )
    duration_ms: NonNegative = Field(0.0, description="longest presentation used; 0: no limit")
    min_duration_ms: NonNegative = Field(200.0, description="shorter presentations are reported and left out")
    plausible_ms: NonNegative = Field(60000.0, description="longer presentations are reported; 0: none")
    placement: str = Field(
        "fit",
        description="fit: as large as the screen allows, aspect kept, centred; centre: one to one; stretch; "
        "'rect LEFT TOP WIDTH HEIGHT' in screen pixels; 'topleft X Y'; 'centre X Y'",
    )
    placement_from: Literal["recording", "configuration"] = Field(
        "recording", description="recording: `placement` only where neither the recording nor the trials file says it"
    )
    file: str = Field("", description="table or log of the trials; with {stem}, {user}, {session}, *: one a recording")
    component: str = Field("image", description="PsychoPy's component, or OpenSesame's item, that shows the image")
    user_column: str = Field("user", description="of a table for several people")
    session_column: str = Field("session", description="of a table for several sessions")
    onset_column: str = Field("", description="empty: the usual name in that kind of file, as below, too")
    offset_column: str = Field("", description="end of the presentation")
    duration_column: str = Field("", description="used where there is no end")
    stimulus_column: str = Field("", description="file name of the image")
    repeat_column: str = Field("", description="number of the repeat; without it repeats are counted")
    placement_column: str = Field("", description="where the image stands, in the words of `placement`")
    time_unit: Literal["", "s", "ms", "us", "ns"] = Field("", description="empty: the usual one in that kind of file")
    clock: Literal["auto", "tracker", "start", "events"] = Field(
        "auto",
        description="of the trials file; tracker: the recording's; start: it begins with the first sample; "
        "events: found from clock_events; auto: tracker for tables, start for BIDS events, refused for logs",
    )
    clock_offset_ms: Annotated[float, Field(allow_inf_nan=False)] = Field(
        0.0, description="added to the times of the trials file"
    )
    clock_events: tuple[str, ...] = Field(
        (), description="events that are in both: 'name', or 'name in the trials file = pattern of the message'"
    )
    clock_tolerance_ms: Positive = Field(20.0, description="events may be this far off once the clocks are set")

    @field_validator("start", "stop", "stimulus")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return checked_pattern(value)

    @field_validator("placement")
    @classmethod
    def _placement(cls, value: str) -> str:
        parse_placement(value)
        return value

    @field_validator("clock_events")
    @classmethod
    def _events(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            checked_pattern(pair.partition(" = ")[2])
        return value

    @model_validator(mode="after")
    def _complete(self) -> TrialsConfig:
        if self.source == "file" and not self.file:
            msg = "source is 'file' but `file` names none"
            raise ValueError(msg)
        if self.clock == "events" and not self.clock_events:
            msg = "clock is 'events' but `clock_events` names none"
            raise ValueError(msg)
        return self
