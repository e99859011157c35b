"""What a network is trained to do: the frame between two, or a clip made larger with the frames between.

A `Task` says what is read, what a batch is, and how a prediction is made, compared and drawn; nothing else
in a run depends on it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datasets import (
    Source,
    SpaceTimeClip,
    TimedTriplet,
    TrainingTriplet,
    as_batch,
    as_space_time_batch,
    evaluation_clips,
    evaluation_triplets,
    sample_batches,
    training_batches,
)
from train.pictures import clip_panels, panels
from vfijax.levels import to_float, to_uint8
from vfijax.media.flow import Search
from vfijax.metrics import psnr
from vfijax.models import ModelConfig, create, forward
from vfijax.models.zooming import forward_clip
from vfijax.params import ModelParams
from vfijax.scoring import two_stage

CLIP = 7  # frames of a training clip, of which four are given
MAX_PSNR = 100.0  # decibels, for frames predicted without error, so that means stay finite

Batch = dict[str, Any]


class Prediction(NamedTuple):
    """Float [..., H, W, 3] frames in [0, 1], the true ones, and what the losses read besides."""

    frames: jax.Array
    targets: jax.Array
    aux: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What a kind of network is trained to do.

    Attributes:
      frames: in a row that an item of the data must have.
      scores: the PSNRs of an evaluation; the first one decides which network is the best.
      transform: from an item to a sample; made with `crop`, `augmentation`, `stride`, `every`, `jitter`.
      batches: endless training batches, see `datasets.training_batches`.
      sequences: fixed ones for evaluation, uint8 [n, frames, H, W, 3].
      batch: of some of these.
      truth: the frames to be predicted of these.
      predict: from parameters and a batch, for training; `flip` adds `aux["flipped"]`, the prediction from
        the inputs in reverse order. `reference_grads` and `precision` as for `vfijax.models.forward`.
      see: what the network makes of a batch; `prediction`, uint8 as `truth`, every score [B], and whatever
        `panels` shows.
      baseline: from a batch to the scores of what needs no network.
      panels: label to pictures uint8 [B, H, W, 3], from sequences and what was seen of them.
    """

    frames: int
    scores: tuple[str, ...]
    transform: Callable[..., Any]
    batches: Callable[..., Iterator[Batch]]
    sequences: Callable[..., np.ndarray]
    batch: Callable[[np.ndarray], Batch]
    truth: Callable[[np.ndarray], np.ndarray]
    predict: Callable[..., Prediction]
    see: Callable[[ModelParams, Batch], dict[str, Any]]
    baseline: Callable[[Batch], dict[str, Any]]
    panels: Callable[[np.ndarray, dict[str, Any]], dict[str, np.ndarray]]

    def evaluation(self, source: Source, limit: int, crop: int) -> np.ndarray:
        """Up to `limit` sequences of a source, see `datasets.evaluation_triplets`."""
        return self.sequences(source, limit=limit, crop=crop)


def task_of(config: ModelConfig) -> Task:
    """What the networks of a config are trained to do."""
    if config.kind == "clip":
        return SPACE_TIME
    return timed(config.searches) if config.random_times else PAIR


# ------------------------------------------------------------------------- the frame between two


def _predict_middle(
    params: ModelParams, batch: Batch, *, flip: bool, reference_grads: bool, precision: str
) -> Prediction:
    first, middle, last = (to_float(jnp.asarray(batch[role])) for role in ("first", "middle", "last"))
    run = partial(forward, params, reference_grads=reference_grads, precision=precision)
    frame, aux = run(first, last)
    if flip:
        aux = aux | {"flipped": run(last, first)[0]}
    return Prediction(frame, middle, aux)


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


PAIR = Task(
    frames=3,
    scores=("psnr",),
    transform=TrainingTriplet,
    batches=training_batches,
    sequences=evaluation_triplets,
    batch=as_batch,
    truth=lambda triplets: triplets[:, 1],
    predict=_predict_middle,
    see=_see_middle,
    baseline=lambda batch: jax.jit(_see_middle)(create("blend", 0), batch),
    panels=panels,
)


# ----------------------------------------------------------------- the frame at a time between two


def _predict_at_time(
    params: ModelParams, batch: Batch, *, flip: bool, reference_grads: bool, precision: str
) -> Prediction:
    first, middle, last = (to_float(jnp.asarray(batch[role])) for role in ("first", "middle", "last"))
    time, motion = batch["time"], batch.get("motion")
    run = partial(forward, params, reference_grads=reference_grads, precision=precision)
    frame, aux = run(first, last, t=time, motion=motion)
    if flip:
        back = None if motion is None else backwards(motion)
        aux = aux | {"flipped": run(last, first, t=1 - time, motion=back)[0]}
    return Prediction(frame, middle, aux | {"truth": batch["truth"]})


def backwards(motion: jax.Array) -> jax.Array:
    """Guesses [B, G, 2, H, W] for the same frames in reverse order: those of the first frame are then of the
    last one."""
    pairs = motion.reshape(motion.shape[0], -1, 2, *motion.shape[2:])
    return -pairs[:, :, ::-1].reshape(motion.shape)


@cache
def timed(searches: tuple[Search, ...]) -> Task:
    """For frames at random times, with the guesses of some searches; scored on middle frames."""

    def transform(*, stride: int, every: int, **options: Any) -> TimedTriplet:
        return TimedTriplet(searches=searches, reach=stride, **options)

    return replace(PAIR, transform=transform, batches=sample_batches, predict=_predict_at_time)


# ----------------------------------------------------------------------------------- whole clips


def _predict_clip(
    params: ModelParams, batch: Batch, *, flip: bool, reference_grads: bool, precision: str
) -> Prediction:
    """All frames; those of a batch and of a clip become one axis, as losses of frames expect them."""
    inputs, targets = (to_float(jnp.asarray(batch[role])) for role in ("inputs", "targets"))
    run = partial(forward_clip, params, precision=precision)  # its published gradients are exact
    frames = targets.shape[2:]
    aux = {"flipped": run(inputs[:, ::-1])[:, ::-1].reshape(-1, *frames)} if flip else {}
    return Prediction(
        run(inputs).reshape(-1, *frames),
        targets.reshape(-1, *frames),
        {"offsets": (), "masks": {}, "warped": (), **aux},
    )


def _see_clip(params: ModelParams, batch: Batch) -> dict[str, Any]:
    prediction = to_uint8(forward_clip(params, to_float(batch["inputs"])))
    return {"prediction": prediction, **_clip_scores(prediction, batch["targets"])}


def _clip_scores(prediction: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:
    """Means over the frames of every clip [B]: over all, those between inputs, and those of the inputs."""
    scores = _psnr(prediction, targets)
    return {
        "psnr": scores.mean(1),
        "psnr_interpolated": scores[:, 1::2].mean(1),
        "psnr_original": scores[:, ::2].mean(1),
    }


def _bicubic_then_blend(batch: Batch) -> dict[str, Any]:
    blend = create("blend", 0)
    clips = [two_stage(blend, "bicubic", clip) for clip in batch["inputs"]]
    return _clip_scores(jnp.asarray(np.stack(clips)), jnp.asarray(batch["targets"]))


SPACE_TIME = Task(
    frames=CLIP,
    scores=("psnr", "psnr_interpolated", "psnr_original"),
    transform=partial(SpaceTimeClip, frames=CLIP),
    batches=sample_batches,
    sequences=partial(evaluation_clips, frames=CLIP),
    batch=as_space_time_batch,
    truth=lambda clips: clips,
    predict=_predict_clip,
    see=_see_clip,
    baseline=_bicubic_then_blend,
    panels=clip_panels,
)
