"""Losses between features of VGG networks, and the networks that they need."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vfijax.losses.pixel import of_frames
from vfijax.perceptual import load_vgg, vgg_features, way_to_get

DEPTHS = {"vgg": 16, "vgg19": 19}  # term: of its network

Networks = Mapping[str, Any]


@of_frames
def vgg(prediction: jax.Array, target: jax.Array, networks: Networks) -> jax.Array:
    """Mean squared difference of VGG16 features, conv4_3 before its ReLU (CDFI and AdaCoF code).

    Frames [..., H, W, 3] in [0, 1], not normalised. (CDFI's eq. 9 reads as a norm; its code is this.)
    """
    return jnp.mean(jnp.square(_difference("vgg", prediction, target, networks)))


@of_frames
def vgg19(prediction: jax.Array, target: jax.Array, networks: Networks) -> jax.Array:
    """Euclidean norm, not squared, of all differences of VGG19 features, relu4_4 (replication of SepConv).

    One norm over the whole batch. Frames [..., H, W, 3] in [0, 1], not normalised. The gradient for
    equal features is 0.
    """
    square = jnp.sum(jnp.square(_difference("vgg19", prediction, target, networks)))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _difference(term: str, prediction: jax.Array, target: jax.Array, networks: Networks) -> jax.Array:
    if term not in networks:
        raise ValueError(_missing(term))
    tree, depth = networks[term], DEPTHS[term]
    predicted, true = (frame.reshape(-1, *frame.shape[-3:]) for frame in (prediction, target))
    return vgg_features(tree, predicted, depth) - jax.lax.stop_gradient(vgg_features(tree, true, depth))


def load(files: Mapping[str, str | os.PathLike[str] | None]) -> dict[str, Any]:
    """Term to its network, from term to the file with the weights.

    Raises:
      ValueError: a term has no file, or the file does not hold the weights.
      FileNotFoundError: there is no such file.
    """
    without = [term for term, file in files.items() if not file]
    if without:
        raise ValueError(_missing(without[0]))
    return {term: load_vgg(file, DEPTHS[term]) for term, file in files.items() if file}


def _missing(term: str) -> str:
    network = f"vgg{DEPTHS[term]}"
    return (
        f"the loss {term!r} needs the weights of {network.upper()}: give --perceptual.{network} FILE with "
        f"{way_to_get(network)}, or leave the term out with --losses.{term} 0"
    )
