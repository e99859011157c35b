"""How colours are stored in a video, and conversion to and from RGB by exactly that description.

A frame is decoded to RGB with the matrix and range of its source and encoded with the same, so that
source frames and new frames go through one round trip and do not flicker against each other.
"""

from dataclasses import dataclass

import av
import numpy as np
from av.filter import Graph

from vfijax.media.errors import MediaError

# Codes of ITU-T H.273, as FFmpeg uses them.
RGB, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6
LIMITED, FULL = 1, 2
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_RANGES = {LIMITED: "tv", FULL: "pc"}

# Without the last three, the scaler averages chroma and shifts it by a fraction of a pixel.
_SCALER = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


@dataclass(frozen=True)
class Color:
    """The colour description of a video.

    Attributes:
      matrix: between RGB and YCbCr (matrix_coefficients of H.273).
      range: LIMITED (16 to 235) or FULL (0 to 255).
      primaries, transfer: carried over, never converted.
    """

    matrix: int
    range: int = LIMITED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


def default_matrix(height: int) -> int:
    """What players assume for untagged video: BT.709 from 720 lines on, BT.601 below."""
    return BT709 if height >= 720 else BT601


def color_of(frame: av.VideoFrame) -> Color:
    """The colour description of a decoded frame; what is not tagged is filled in as players do.

    RGB video gets the matrix for its size and limited range, since it is encoded as YCbCr. Raises
    MediaError for matrices that the scaler does not know.
    """
    matrix, range_ = int(frame.colorspace), int(frame.color_range)
    if is_rgb(frame):
        matrix, range_ = UNSPECIFIED, LIMITED
    elif range_ not in _RANGES:
        range_ = FULL if frame.format.name.startswith(("yuvj", "gray")) else LIMITED
    if matrix in (RGB, UNSPECIFIED):
        matrix = default_matrix(frame.height)
    if matrix not in _MATRICES:
        raise MediaError(f"colour matrix {matrix} (ITU-T H.273) is not supported; convert it to BT.709 first")
    return Color(matrix, range_, int(frame.color_primaries), int(frame.color_trc))


def is_rgb(frame: av.VideoFrame) -> bool:
    """Whether the samples are RGB already, of a palette or not, so that no matrix applies."""
    return frame.format.is_rgb or frame.format.name == "pal8"


class ToRGB:
    """Decoded frames of one size and format to uint8 [H, W, 3]."""

    def __init__(self, like: av.VideoFrame, color: Color) -> None:
        source = (
            ""
            if is_rgb(like)
            else f"in_color_matrix={_MATRICES[color.matrix]}:in_range={_RANGES[color.range]}:"
        )
        tags = f":colorspace={int(like.colorspace)}:range={int(like.color_range)}"
        self._graph = _graph(
            f"{_size(like.width, like.height)}:pix_fmt={like.format.name}{tags}",
            f"{source}in_chroma_loc=left:out_range=pc:{_SCALER}",
            "rgb24",
        )

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        return _through(self._graph, frame).to_ndarray()


class FromRGB:
    """uint8 [H, W, 3] to frames for an encoder, tagged with their matrix and range."""

    def __init__(self, width: int, height: int, pixel_format: str, color: Color) -> None:
        self._graph = _graph(
            f"{_size(width, height)}:pix_fmt=rgb24",
            f"out_color_matrix={_MATRICES[color.matrix]}:out_range={_RANGES[color.range]}"
            f":out_chroma_loc=left:{_SCALER}",
            pixel_format,
        )

    def __call__(self, image: np.ndarray) -> av.VideoFrame:
        return _through(self._graph, av.VideoFrame.from_ndarray(image, format="rgb24"))


def _through(graph: Graph, frame: av.VideoFrame) -> av.VideoFrame:
    graph.push(frame)
    converted = graph.pull()
    assert isinstance(converted, av.VideoFrame)  # PyAV's type allows audio
    return converted


def _size(width: int, height: int) -> str:
    return f"video_size={width}x{height}:time_base=1/1"


def _graph(buffer: str, scale: str, pixel_format: str) -> Graph:
    graph = Graph()
    last = graph.add("buffer", buffer)
    for name, arguments in (("scale", scale), ("format", f"pix_fmts={pixel_format}"), ("buffersink", None)):
        filter_ = graph.add(name, arguments)
        last.link_to(filter_)
        last = filter_
    graph.configure()
    return graph
