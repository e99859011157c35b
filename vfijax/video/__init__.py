"""Interpolating whole videos: see `interpolate_video`."""

from vfijax.video.pipeline import Summary, interpolate_video

__all__ = ["Summary", "interpolate_video"]
