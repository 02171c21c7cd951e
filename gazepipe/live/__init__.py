"""Gaze while it is being recorded: sources, sessions in the lab, and events as they end."""
