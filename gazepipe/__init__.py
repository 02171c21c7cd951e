"""gazepipe: from raw gaze to a person's embedding and personal saliency maps."""

__version__ = "0.1.0"
