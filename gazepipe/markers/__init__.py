"""Gaze of a scene camera on the screen: markers around the screen, found in the camera's picture.

1. `layout`, `drawing`: where the markers stand, and their pictures.
2. `detection`: the markers in a picture of the camera.
3. `camera`, `plane`: the lens undone, and where the screen then is.
4. `mapping`, `live`: gaze on the screen, afterwards or while a session runs, every sample with flags.
5. `scene_video`, `mapped`: the same for a recording with its video, into a folder that `ingest` takes.
"""
