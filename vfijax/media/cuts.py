"""Measures of how much two consecutive frames belong together."""

import numpy as np

BINS = 8


def histogram_difference(first: np.ndarray, second: np.ndarray) -> float:
    """How differently the values of two pictures are distributed: near 0 within a shot, large at a cut.

    Per colour channel the mean over the bins of the squared difference of two histograms, each of
    `BINS` equal bins over [0, 255] and divided by the number of pixels; the largest channel counts.
    The greatest value, two flat pictures in different bins, is 2 / `BINS`. The test for jump cuts of
    the replication of SepConv (reports of "Video Frame Interpolation via Adaptive Separable
    Convolution") rejects above 8e-3.

    Args:
      first, second: uint8 [H, W, C]; sizes may differ, C may not.
    """
    difference = _histograms(first) - _histograms(second)
    return float((difference**2).mean(axis=-1).max())


def _histograms(image: np.ndarray) -> np.ndarray:
    """Shares of the pixels in each bin, [C, BINS]; 255 belongs to the last bin."""
    bins = np.minimum(np.arange(256) * BINS // 255, BINS - 1)
    channels = image.reshape(-1, image.shape[-1]).T
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
    return np.stack([counts[:, bins == b].sum(axis=1) for b in range(BINS)], axis=1) / channels.shape[1]
