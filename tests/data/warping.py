"""Bilinear sampling of frames and motion, to see whether motion leads where it says."""

import numpy as np


def sampled(picture, motion):
    """A picture [H, W, C] at x + motion(x), [2, H, W]; NaN outside."""
    height, width = picture.shape[:2]
    y, x = (grid + part for grid, part in zip(np.mgrid[:height, :width], motion, strict=True))
    with np.errstate(invalid="ignore"):
        inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    y, x = np.where(inside, y, 0), np.where(inside, x, 0)
    top, left = (
        np.minimum(np.floor(place), side - 2).astype(int) for place, side in ((y, height), (x, width))
    )
    down, right = (y - top)[..., None], (x - left)[..., None]
    rows = [picture[top + k, left] * (1 - right) + picture[top + k, left + 1] * right for k in (0, 1)]
    return np.where(inside[..., None], rows[0] * (1 - down) + rows[1] * down, np.nan)


def error_where_seen(sample):
    """Of the first frame read from the last, and of the last read from the first, along the truth.

    Only where a pixel and what it moves to are seen in both frames, away from edges of surfaces: mean
    absolute differences in levels, and the share of the pixels that was compared.
    """
    frames = sample["first"] / 1.0, sample["last"] / 1.0
    errors, shares = [], []
    for which, sign in ((0, 1), (1, -1)):
        there = sign * sample["truth"][which]
        other = sampled(sample["truth"][1 - which].transpose(1, 2, 0), there)
        with np.errstate(invalid="ignore"):
            same = np.abs(other - sample["truth"][which].transpose(1, 2, 0)).max(-1) < 1e-2
        for axis in (0, 1):
            for shift in (-2, -1, 1, 2):
                same = same & np.roll(same, shift, axis)
        difference = np.abs(sampled(frames[1 - which], there) - frames[which])
        errors.append(difference[same].mean())
        shares.append(same.mean())
    return max(errors), min(shares)
