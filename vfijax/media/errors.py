"""The error of everything that reads or writes pictures and video."""


class MediaError(ValueError):
    """A picture, video or folder that cannot be used; the message names the file and says why."""
