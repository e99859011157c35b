"""Folders of images in the role of a video, and `open_source` for either."""

import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from typing import Self

from vfijax.files import behind_link, given_path, partial_name, writing
from vfijax.media.errors import MediaError
from vfijax.media.images import read_image, write_image
from vfijax.media.layouts import find_images
from vfijax.media.video import Frame, VideoInfo, upright
from vfijax.media.video_reader import VideoReader

DEFAULT_FPS = Fraction(24)  # of a folder of images, which cannot say it


class ImageFolderReader:
    """The images of a folder in natural order as frames; has the form of `VideoReader`.

    Args:
      path: the folder.
      rate: frames per second, which the images cannot say themselves.

    Raises:
      MediaError: no images, an unreadable one, one of another size, transparency.
    """

    def __init__(self, path: str | os.PathLike[str], rate: Fraction) -> None:
        self.path = given_path(path, "ImageFolderReader", MediaError)
        self._images = find_images(self.path)
        height, width = read_image(self._images[0]).shape[:2]
        self.info = VideoInfo(width, height, rate, frames=len(self._images))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Frame]:
        info = self.info
        for index, path in enumerate(self._images):
            image = read_image(path)
            height, width = image.shape[:2]
            if (width, height) != (info.width, info.height):
                raise MediaError(
                    f"{path}: is {width}x{height}, the images before it are {info.width}x{info.height}; "
                    "all frames must be of one size"
                )
            yield Frame(image, index / info.rate, 1 / info.rate)


class ImageFolderWriter:
    """Frames to 000000.png, 000001.png, ... in a folder; has the form of `VideoWriter`.

    Frames are turned upright as the display matrix of `info` says. The folder appears under its
    name when the block ends without an error, and only then.

    Raises:
      MediaError: the folder exists and is not empty.
      OSError: it cannot be written.
    """

    def __init__(self, target: str | os.PathLike[str], info: VideoInfo) -> None:
        self.target = given_path(target, "ImageFolderWriter", MediaError)
        self.info = info
        if self.target.exists() and (not self.target.is_dir() or any(self.target.iterdir())):
            raise MediaError(f"{self.target}: exists and is no empty folder; give another name or remove it")
        self._final = behind_link(self.target.absolute())
        self._partial = partial_name(self._final)
        with writing(self.target):
            self._partial.mkdir()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with writing(self.target):
                    self._partial.rename(self._final)  # also over an empty folder
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def write(self, frame: Frame) -> None:
        image = upright(frame.image, self.info.display_matrix)
        with writing(self.target):
            write_image(self._partial / f"{self._count:06d}.png", image, compress_level=3)
        self._count += 1


def open_source(path: str | os.PathLike[str], fps: Fraction | None = None) -> VideoReader | ImageFolderReader:
    """A reader of a video, or of the images of a folder.

    Args:
      path: the file or folder.
      fps: frames per second of a folder; 24 if None.

    Raises:
      MediaError: it cannot be read.
      ValueError: an `fps` that is not positive, or one of a video, which has its own.
    """
    path = given_path(path, "open_source", MediaError)
    if fps is not None and fps <= 0:
        raise ValueError(f"fps is {fps}; give a positive number of frames per second")
    if path.is_dir():
        return ImageFolderReader(path, DEFAULT_FPS if fps is None else fps)
    if fps is not None:
        raise ValueError(
            f"fps is for folders of images; {path} has its own frame rate (see slowmo to stretch it)"
        )
    return VideoReader(path)
