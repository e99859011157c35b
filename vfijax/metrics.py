"""How close a frame is to the truth: `psnr`, `ssim`, `rmse`, `mean_absolute_error`.

Images are float arrays [..., H, W, C] with values in [0, peak]; `peak` is 1 unless said otherwise.
Values outside are scored as they are: protocols that clip or round do so beforehand
(`vfijax.scoring`). Every measure is taken per image, over its last three axes, and has the leading
axes as its shape: a scalar for one image, [B] for a batch. All of them are pure functions of arrays
for use under `jax.jit`; arithmetic is float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.inputs import check_images, check_scale, extremes, known
from vfijax.window_sums import apply, window_matrix

__all__ = ["mean_absolute_error", "psnr", "rmse", "ssim", "ssim_gaussian", "ssim_gaussian_map", "ssim_map"]

SSIM_WINDOW = 7  # pixels, uniform weights
SSIM_K1, SSIM_K2 = 0.01, 0.03
GAUSSIAN_WINDOW, GAUSSIAN_SIGMA = 11, 1.5  # of `ssim_gaussian`, pixels

Image = jax.Array | np.ndarray


def _check(
    measure: str, prediction: Image, target: Image, least: int = 1, peak: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Both images as float32; raises unless they agree and have at least `least` pixels each way, and the
    target the scale of the peak, if there is one."""
    check_images(measure, prediction, target, "in [0, peak], e.g. uint8 / 255", least)
    if peak is not None:
        _check_peak(measure, target, peak)
    return jnp.asarray(prediction, jnp.float32), jnp.asarray(target, jnp.float32)


def _check_peak(measure: str, target: Image, peak: Any) -> None:
    """Where values are known. Predictions are scored whatever they are: a network may have diverged."""
    if not known(peak):
        return
    peaks = np.asarray(peak)
    if not (np.issubdtype(peaks.dtype, np.floating) or np.issubdtype(peaks.dtype, np.integer)):
        raise TypeError(f"{measure}: peak is {peak!r}; give the greatest possible value, a number")
    if not (peaks > 0).all():
        raise ValueError(f"{measure}: peak is {peak}; it must be positive")
    if known(target):
        check_scale(measure, "target", *extremes(target), peak=float(peaks.max()))


def _mean(values: jax.Array) -> jax.Array:
    """Mean over [H, W, C], rows first: short partial sums keep float32 accurate to about 1e-7."""
    return values.mean(axis=(-2, -1)).mean(axis=-1)


def psnr(prediction: Image, target: Image, *, peak: float | jax.Array = 1.0) -> jax.Array:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / MSE), in decibels; infinite for equal images.

    `peak` is a number, or one per image, such as `target.max(axis=(-3, -2, -1))`.

    Raises:
      TypeError, ValueError: images that are no float arrays, not [..., H, W, C], empty, or of different
        shapes; a peak that is not positive, or, where values are known, a target of another scale.
    """
    prediction, target = _check("psnr", prediction, target, peak=peak)
    return 10 * jnp.log10(jnp.square(peak) / _mean((prediction - target) ** 2))


def rmse(prediction: Image, target: Image) -> jax.Array:
    """Root of the mean squared error, in units of the images. Errors as for `psnr`."""
    prediction, target = _check("rmse", prediction, target)
    return jnp.sqrt(_mean((prediction - target) ** 2))


def mean_absolute_error(prediction: Image, target: Image) -> jax.Array:
    """Mean of the absolute error, in units of the images. Errors as for `psnr`."""
    prediction, target = _check("mean_absolute_error", prediction, target)
    return _mean(jnp.abs(prediction - target))


def ssim(prediction: Image, target: Image, *, peak: float = 1.0) -> jax.Array:
    """Structural similarity (Wang et al., 2004, eq. 13), at most 1, which equal images reach.

    The variant that CDFI reports, which is scikit-image's default: a uniform 7x7 window, K1 = 0.01,
    K2 = 0.03, sample covariances (divided by 48), windows that lie wholly inside the image, mean
    over positions and channels. A Gaussian window gives another number. Differentiable.

    Raises:
      TypeError, ValueError: as for `psnr`, and for images of less than 7 pixels in height or width.
    """
    return _mean(ssim_map(prediction, target, peak=peak))


def ssim_map(prediction: Image, target: Image, *, peak: float = 1.0) -> jax.Array:
    """The values that `ssim` averages, one per window: [..., H - 6, W - 6, C]."""
    x, y = _check("ssim", prediction, target, SSIM_WINDOW, peak)
    # Variances do not change when both images are shifted; near zero their float32 squares lose least.
    shift = jax.lax.stop_gradient((x + y).mean(axis=(-3, -2), keepdims=True) / 2)
    x, y = x - shift, y - shift
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variances = sample * (_window_mean(x * x + y * y) - mean_x**2 - mean_y**2)
    covariance = sample * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = (SSIM_K1 * peak) ** 2, (SSIM_K2 * peak) ** 2
    mean_x, mean_y = mean_x + shift, mean_y + shift
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _window_mean(image: jax.Array) -> jax.Array:
    """Means over all 7x7 windows inside the image: [..., H, W, C] to [..., H - 6, W - 6, C]."""
    leading, ones = (1,) * (image.ndim - 3), (1,) * image.ndim
    for window in ((SSIM_WINDOW, 1, 1), (1, SSIM_WINDOW, 1)):
        image = jax.lax.reduce_window(image, 0.0, jax.lax.add, leading + window, ones, "VALID") / SSIM_WINDOW
    return image


def ssim_gaussian(prediction: Image, target: Image) -> jax.Array:
    """Structural similarity with a Gaussian window, of images in [0, 1]; at most 1.

    The variant of the replication of SepConv, for its loss and its validation: 11x11 window, sigma 1.5,
    K1 = 0.01, K2 = 0.03, plain weighted variances, zeros beyond the border, mean over all positions
    and channels. Other programs leave the border out or use other variances, and get other numbers.

    Raises:
      TypeError, ValueError: as for `psnr`.
    """
    return _mean(ssim_gaussian_map(*_check("ssim_gaussian", prediction, target, peak=1.0)))


def ssim_gaussian_map(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """The values that `ssim_gaussian` averages: [..., H, W, C], in the precision of the images."""
    weights = np.exp(-np.square(np.arange(GAUSSIAN_WINDOW) - GAUSSIAN_WINDOW // 2) / (2 * GAUSSIAN_SIGMA**2))
    weights = weights / weights.sum()
    rows, columns = (window_matrix(size, weights, "zero") for size in target.shape[-3:-1])
    moments = (prediction, target, prediction**2 + target**2, prediction * target)
    blurred = apply(rows, jnp.concatenate(moments, axis=-1), columns)
    mean_x, mean_y, squares, product = jnp.split(blurred, 4, axis=-1)
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    means, mean_product = mean_x**2 + mean_y**2, mean_x * mean_y
    luminance = (2 * mean_product + c1) / (means + c1)
    return luminance * (2 * (product - mean_product) + c2) / (squares - means + c2)
