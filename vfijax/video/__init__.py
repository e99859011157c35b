"""Making new videos of whole videos: see `interpolate_video` and `zoom_video`."""

from vfijax.video.interpolating import interpolate_video
from vfijax.video.pipeline import Output, Summary
from vfijax.video.zooming import zoom_video

__all__ = ["Output", "Summary", "interpolate_video", "zoom_video"]
