"""The weights and frames behind the golden files, rebuilt from a seed.

Every array is a function of seed, name and shape alone, drawn in float64 from
`default_rng([seed, crc32(name)])` and cast to float32:

  PReLU slopes (shape (1,)): uniform in [0.1, 0.4];
  scales and running variances of a batch normalisation: uniform in [0.5, 1.5];
  kernels (out, in, h, w): normal, times a gain, divided by the root of in*h*w;
  biases and running means: normal, times 0.05, plus a shift.

The gains keep activations around 1 and offsets at a few pixels. There is a table per family of networks.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable

import numpy as np

# By the first pattern that is found in the name.
_ROOT_OF_2 = {"": np.sqrt(2.0)}
_TRUNK = {
    r"Conv1\.0\.weight$": 5.0,
    r"Conv[2-5]\.\d\.weight$": 1.6,
    r"(Deconv|Upsample)5\.\d\.weight$": 2.0,
    r"(Deconv|Upsample)4\.\d\.weight$": 1.6,
    r"(Deconv|Upsample)[23]\.\d\.weight$": 1.25,
}
_SAMPLING = {
    r"(Vertical|Horizontal)[12]\.7\.weight$": 0.22,
    r"Offset[12][xy]\.7\.weight$": 1.2,
    r"Mask[12]\.7\.weight$": 0.6,
}
GAINS = {
    "adacof": {
        r"module(Alpha|Beta)[12]\.7\.weight$": 1.6,
        r"moduleWeight[12]\.7\.weight$": 1.1,
        r"module(Occlusion|Blend)\.7\.weight$": 0.7,
        **_TRUNK,
        r"(Deconv|Upsample)4\.\d\.weight$": 1.45,
        r"(Deconv|Upsample)[23]\.\d\.weight$": 1.2,
        r"module1by1_\d\.weight$": 0.6,
        r"context_synthesis\.lateral_init\.": 0.9,
        r"context_synthesis\.": 0.65,
        **_ROOT_OF_2,
    },
    "sepconv": {r"(Vertical|Horizontal)[12]\.7\.weight$": 0.04, **_TRUNK, **_ROOT_OF_2},
    "sepconv_kth": {
        r"upconv51_[1-4]\.7\.weight$": 0.065,
        r"conv32\.0\.weight$": 5.0,
        r"conv512x512\.\d\.weight$|upsamp512\.\d\.weight$": 2.0,
        r"^conv\d+\.\d\.weight$": 1.6,
        r"up(conv|samp)256\.\d\.weight$": 1.6,
        r"up(conv|samp)(128|64)\.\d\.weight$": 1.25,
        **_ROOT_OF_2,
    },
    "adaconv": {r"^conv1\.weight$": 4.0, r"^fc2\.weight$": 0.2, **_ROOT_OF_2},
    "dsepconv_n1": {
        r"(Vertical|Horizontal)[12]\.7\.weight$": 0.06,
        r"Offset[12][xy]\.7\.weight$": 0.3,
        r"Mask[12]\.7\.weight$": 0.15,
        **_TRUNK,
        **_ROOT_OF_2,
    },
    "dsepconv": {**_SAMPLING, **_TRUNK, **_ROOT_OF_2},
    "edsc": {
        **_SAMPLING,
        r"Bias\.7\.weight$": 0.3,
        r"Conv1\.0\.weight$": 5.0,
        r"conv1x1_?\.weight$": 0.5,
        r"(Deconv|Upsample)5\.\d\.conv3x3\.weight$": 1.5,
        r"(Deconv|Upsample)[234]\.\d\.conv3x3\.weight$": 1.0,
        r"Conv[1-5]\.\d\.conv3x3\.weight$": 1.25,
        **_ROOT_OF_2,
    },
    "zooming_slowmo": {
        r"(feature_extraction|recon_trunk)\.\d+\.conv1\.weight$": 1.4,
        r"(feature_extraction|recon_trunk)\.\d+\.conv2\.weight$": 0.25,
        r"conv_first\.weight$": 3.0,
        r"conv_offset_mask\.weight$": 1.5,
        r"(HRconv|conv_last)\.weight$": 1.0,
        **_ROOT_OF_2,
    },
}
# With a single channel in front of a ReLU, a positive bias keeps it alive.
SHIFTS = {"dsepconv_n1": (r"(Vertical|Horizontal|Offset|Mask)\w+\.4\.bias$", 10.0)}


def make_state(
    shapes: Iterable[tuple[str, list[int]]], seed: int, family: str = "adacof"
) -> dict[str, np.ndarray]:
    """Official names to float32 arrays in PyTorch layout."""
    return {name: _draw(name, tuple(shape), seed, family).astype(np.float32) for name, shape in shapes}


def _draw(name: str, shape: tuple[int, ...], seed: int, family: str) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if shape == (1,) and name.endswith(".weight"):
        return rng.uniform(0.1, 0.4, shape)
    if name.endswith(("_bn.weight", "_bn.running_var")):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        pattern, shift = SHIFTS.get(family, ("$^", 0.0))
        return rng.standard_normal(shape) * 0.05 + (shift if re.search(pattern, name) else 0.0)
    gain = next(gain for pattern, gain in GAINS[family].items() if re.search(pattern, name))
    return rng.standard_normal(shape) * (gain / np.sqrt(np.prod(shape[1:])))


def digest(state: dict[str, np.ndarray]) -> str:
    """SHA-256 over the little-endian bytes of all arrays in order."""
    return hashlib.sha256(b"".join(array.astype("<f4").tobytes() for array in state.values())).hexdigest()


def make_triplet(height: int, width: int, seed: int) -> tuple[np.ndarray, ...]:
    """First, middle and last frame [H, W, 3] of a smooth texture under a smooth motion of a few pixels."""
    return tuple(map(_scene(height, width, seed), (-0.5, 0.0, 0.5)))


def make_clip(height: int, width: int, count: int, seed: int) -> np.ndarray:
    """Frames [N, H, W, 3] of the scene of `make_triplet`; the first two are its first and last."""
    return np.stack(list(map(_scene(height, width, seed), np.arange(count) - 0.5)))


def _scene(height: int, width: int, seed: int) -> Callable[[float], np.ndarray]:
    """A function from time to frame."""
    rng = np.random.default_rng([seed, zlib.crc32(b"scene")])
    waves = 28
    radius = np.exp(rng.uniform(np.log(0.012), np.log(0.14), waves))  # cycles per pixel
    angle = rng.uniform(0.0, 2 * np.pi, waves)
    along_y, along_x = radius * np.sin(angle), radius * np.cos(angle)
    phase = rng.uniform(0.0, 2 * np.pi, (3, waves))
    height_of = rng.uniform(0.3, 1.0, (3, waves)) / np.sqrt(radius / 0.012) ** 0.5
    height_of = height_of * (0.22 / np.sqrt(0.5 * np.sum(height_of**2, axis=1, keepdims=True)))
    q = rng.uniform(-1.0, 1.0, 8)
    y, x = np.meshgrid(np.arange(height, dtype=float), np.arange(width, dtype=float), indexing="ij")
    turn_y, turn_x = 2 * np.pi * y / max(height, 2), 2 * np.pi * x / max(width, 2)
    motion_y = 2.0 * q[0] + 1.2 * q[1] * np.sin(turn_y + 3 * q[2]) + 0.8 * q[3] * np.cos(turn_x)
    motion_x = 3.0 * q[4] + 1.5 * q[5] * np.cos(turn_y) + 1.0 * q[6] * np.sin(turn_x + 3 * q[7])

    def frame(time: float) -> np.ndarray:
        rows, columns = y + time * motion_y, x + time * motion_x
        angles = 2 * np.pi * (rows[..., None] * along_y + columns[..., None] * along_x)
        colours = [0.5 + np.sum(height_of[c] * np.sin(angles + phase[c]), axis=-1) for c in range(3)]
        return np.clip(np.stack(colours, axis=-1), 0, 1).astype(np.float32)

    return frame
