"""What a network is trained to do: the frame between two, or a clip made larger with the frames between.

A `Task` says what is read, what a batch is, and how a prediction is made, compared and drawn; nothing else
in a run depends on it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datasets import (
    AUGMENTATIONS,
    Reading,
    Source,
    TimedTriplet,
    TrainingClip,
    TrainingTriplet,
    as_batch,
    as_clip_batch,
    evaluation_clips,
    evaluation_triplets,
    sample_batches,
    training_batches,
)
from train.config import DataConfig
from train.pictures import clip_panels, panels
from vfijax.levels import to_float, to_uint8
from vfijax.media.flow import Search
from vfijax.metrics import psnr
from vfijax.models import ModelConfig, create, forward
from vfijax.models.zooming import forward_clip
from vfijax.params import ModelParams
from vfijax.scoring import two_stage

MAX_PSNR = 100.0  # decibels, for frames predicted without error, so that means stay finite

Batch = dict[str, Any]
Shares = Sequence[tuple[Any, float]]  # of `datasets.Sources`


class Prediction(NamedTuple):
    """Float [..., H, W, 3] frames in [0, 1], the true ones, and what the losses read besides."""

    frames: jax.Array
    targets: jax.Array
    aux: dict[str, Any]


class Pair:
    """The frame in the middle between two.

    Attributes:
      frames: in a row that an item of the data must have.
      scores: the PSNRs of an evaluation; the first one decides which network is the best.
    """

    frames: int = 3
    scores: tuple[str, ...] = ("psnr",)

    def batches(
        self, shares: Shares, data: DataConfig, *, seed: int, start: int, reading: Reading
    ) -> Iterator[Batch]:
        """Endless training batches, see `datasets.training_batches`."""
        augmentation = AUGMENTATIONS[data.augment]
        transform = TrainingTriplet(data.crop, augmentation, data.stride, data.apart, data.jitter)
        return training_batches(shares, transform, batch=data.batch, seed=seed, start=start, reading=reading)

    def sequences(self, source: Source, limit: int, crop: int) -> np.ndarray:
        """Fixed ones for evaluation, uint8 [n, frames, H, W, 3], see `datasets.evaluation_triplets`."""
        return evaluation_triplets(source, limit=limit, crop=crop)

    def batch(self, sequences: np.ndarray) -> Batch:
        """Of some of these."""
        return as_batch(sequences)

    def truth(self, sequences: np.ndarray) -> np.ndarray:
        """The frames to be predicted of these."""
        return sequences[:, 1]

    def predict(
        self, params: ModelParams, batch: Batch, *, flip: bool, reference_grads: bool, precision: str
    ) -> Prediction:
        """For training. `flip` adds `aux["flipped"]`, the prediction from the inputs in reverse order;
        `reference_grads` and `precision` as for `vfijax.models.forward`."""
        first, middle, last = _floats(batch, "first", "middle", "last")
        run = partial(forward, params, reference_grads=reference_grads, precision=precision)
        frame, aux = run(first, last)
        if flip:
            aux = aux | {"flipped": run(last, first)[0]}
        return Prediction(frame, middle, aux)

    def see(self, params: ModelParams, batch: Batch) -> dict[str, Any]:
        """What the network makes of a batch: `prediction`, uint8 as `truth`, every score [B], and whatever
        `panels` shows."""
        return _see_middle(params, batch)

    def baseline(self, batch: Batch) -> dict[str, Any]:
        """The scores of what needs no network."""
        return jax.jit(_see_middle)(create("blend", 0), batch)

    def panels(self, sequences: np.ndarray, seen: dict[str, Any]) -> dict[str, np.ndarray]:
        """Label to pictures uint8 [B, H, W, 3], from sequences and what was seen of them."""
        return panels(sequences, seen)


@dataclass(frozen=True)
class TimedPair(Pair):
    """The frame at a random time between two; scored on middle frames.

    Attributes:
      searches: of the guesses of the motion.
    """

    searches: tuple[Search, ...] = ()

    def batches(
        self, shares: Shares, data: DataConfig, *, seed: int, start: int, reading: Reading
    ) -> Iterator[Batch]:
        transform = TimedTriplet(
            data.crop, self.searches, AUGMENTATIONS[data.augment], reach=data.stride, jitter=data.jitter
        )
        return sample_batches(shares, transform, batch=data.batch, seed=seed, start=start, reading=reading)

    def predict(
        self, params: ModelParams, batch: Batch, *, flip: bool, reference_grads: bool, precision: str
    ) -> Prediction:
        first, middle, last = _floats(batch, "first", "middle", "last")
        time, motion = batch["time"], batch.get("motion")
        run = partial(forward, params, reference_grads=reference_grads, precision=precision)
        frame, aux = run(first, last, t=time, motion=motion)
        if flip:
            back = None if motion is None else backwards(motion)
            aux = aux | {"flipped": run(last, first, t=1 - time, motion=back)[0]}
        return Prediction(frame, middle, aux | {"truth": batch["truth"]})


class Clip:
    """All frames of a clip, four times as large, from every second one; its parts are those of `Pair`."""

    frames: int = 7  # of which four are given
    scores: tuple[str, ...] = ("psnr", "psnr_interpolated", "psnr_original")

    def batches(
        self, shares: Shares, data: DataConfig, *, seed: int, start: int, reading: Reading
    ) -> Iterator[Batch]:
        augmentation = AUGMENTATIONS[data.augment]
        transform = TrainingClip(data.crop, self.frames, augmentation, data.stride, data.apart, data.jitter)
        return sample_batches(shares, transform, batch=data.batch, seed=seed, start=start, reading=reading)

    def sequences(self, source: Source, limit: int, crop: int) -> np.ndarray:
        return evaluation_clips(source, limit=limit, crop=crop, frames=self.frames)

    def batch(self, sequences: np.ndarray) -> Batch:
        return as_clip_batch(sequences)

    def truth(self, sequences: np.ndarray) -> np.ndarray:
        return sequences

    def predict(
        self, params: ModelParams, batch: Batch, *, flip: bool, reference_grads: bool, precision: str
    ) -> Prediction:
        """Frames of a batch and of a clip become one axis, as losses of frames expect them."""
        inputs, targets = _floats(batch, "inputs", "targets")
        run = partial(forward_clip, params, precision=precision)  # its published gradients are exact
        frames = targets.shape[2:]
        aux = {"flipped": run(inputs[:, ::-1])[:, ::-1].reshape(-1, *frames)} if flip else {}
        return Prediction(
            run(inputs).reshape(-1, *frames),
            targets.reshape(-1, *frames),
            {"offsets": (), "masks": {}, "warped": (), **aux},
        )

    def see(self, params: ModelParams, batch: Batch) -> dict[str, Any]:
        prediction = to_uint8(forward_clip(params, to_float(batch["inputs"])))
        return {"prediction": prediction, **_clip_scores(prediction, batch["targets"])}

    def baseline(self, batch: Batch) -> dict[str, Any]:
        blend = create("blend", 0)
        clips = [two_stage(blend, "bicubic", clip) for clip in batch["inputs"]]
        return _clip_scores(jnp.asarray(np.stack(clips)), jnp.asarray(batch["targets"]))

    def panels(self, sequences: np.ndarray, seen: dict[str, Any]) -> dict[str, np.ndarray]:
        return clip_panels(sequences, seen)


Task = Pair | Clip
PAIR, CLIP = Pair(), Clip()


def task_of(config: ModelConfig) -> Task:
    """What the networks of a config are trained to do."""
    if config.kind == "clip":
        return CLIP
    return TimedPair(config.searches) if config.random_times else PAIR


def _floats(batch: Batch, *roles: str) -> list[jax.Array]:
    return [to_float(jnp.asarray(batch[role])) for role in roles]


def _see_middle(params: ModelParams, batch: Batch) -> dict[str, Any]:
    height, width = batch["first"].shape[1:3]
    frame, aux = forward(params, to_float(batch["first"]), to_float(batch["last"]))
    prediction = to_uint8(frame)
    fields = [displacement(taps, params.config.dilation) for taps in aux["offsets"]]
    return {
        "prediction": prediction,
        "psnr": _psnr(prediction, batch["middle"]),
        "masks": {name: mask[:, :height, :width] for name, mask in aux["masks"].items()},
        "displacements": tuple(field[..., :height, :width] for field in fields),
    }


def _psnr(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Of uint8 frames [..., H, W, 3], one by one, in decibels."""
    return jnp.minimum(psnr(to_float(prediction), to_float(target)), MAX_PSNR)


def displacement(taps: Any, dilation: int) -> jax.Array:
    """Where a pixel is taken from on average: [B, 2, H, W] in pixels, rows and columns.

    The mean, by weight, of the place of a tap in its grid plus the tap's offset.
    """
    side = math.isqrt(taps.weight.shape[1])
    axis = (jnp.arange(side) - (side - 1) / 2) * dilation
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij")).reshape(2, -1, 1, 1)
    places = grid + jnp.stack([taps.offset_y, taps.offset_x], axis=1)
    weight = taps.weight[:, None]
    return (weight * places).sum(2) / weight.sum(2)


def backwards(motion: jax.Array) -> jax.Array:
    """Guesses [B, G, 2, H, W] for the same frames in reverse order: those of the first frame are then of the
    last one."""
    pairs = motion.reshape(motion.shape[0], -1, 2, *motion.shape[2:])
    return -pairs[:, :, ::-1].reshape(motion.shape)


def _clip_scores(prediction: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:
    """Means over the frames of every clip [B]: over all, those between inputs, and those of the inputs."""
    scores = _psnr(prediction, targets)
    return {
        "psnr": scores.mean(1),
        "psnr_interpolated": scores[:, 1::2].mean(1),
        "psnr_original": scores[:, ::2].mean(1),
    }
