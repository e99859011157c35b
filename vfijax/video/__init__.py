"""Making new videos of whole videos: see `interpolate_video` and `zoom_video`."""

from vfijax.video.interpolating import interpolate_video
from vfijax.video.pipeline import Summary
from vfijax.video.zooming import zoom_video

__all__ = ["Summary", "interpolate_video", "zoom_video"]
