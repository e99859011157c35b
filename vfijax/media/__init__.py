"""Reading and writing pictures and video. NumPy, PyAV, Pillow, OpenCV and matplotlib only; no jax."""

from vfijax.media.ahead import prefetch, read_ahead
from vfijax.media.color import Color
from vfijax.media.cuts import histogram_difference
from vfijax.media.errors import MediaError
from vfijax.media.folders import ImageFolderReader, ImageFolderWriter, open_source
from vfijax.media.images import decode_image, read_image, write_image
from vfijax.media.layouts import NoTriplets, Triplet, find_clips, find_images, find_sequences, find_triplets
from vfijax.media.video import Frame, VideoInfo, upright
from vfijax.media.video_reader import VideoReader
from vfijax.media.video_writer import CODECS, VideoWriter

__all__ = [
    "CODECS",
    "Color",
    "Frame",
    "ImageFolderReader",
    "ImageFolderWriter",
    "MediaError",
    "NoTriplets",
    "Triplet",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "decode_image",
    "find_clips",
    "find_images",
    "find_sequences",
    "find_triplets",
    "histogram_difference",
    "open_source",
    "prefetch",
    "read_ahead",
    "read_image",
    "upright",
    "write_image",
]
