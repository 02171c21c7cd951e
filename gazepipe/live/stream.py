"""Streaming."""
from __future__ import annotations
from typing import Any
class StreamingFixations:
    def push(self, host: Any, x: Any, y: Any) -> None: ...
