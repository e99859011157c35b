"""Rows of a training step, beside the loss without gradients."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

from benchmarks.measure import Contestant, Plan, Row, compiled, measure
from train.config import DataConfig, TrainConfig
from train.presets import PRESETS
from train.state import TrainState, initial_state
from train.step import Batch, Objective, jitted_train_step, loss
from vfijax.losses import LossWeights
from vfijax.models import config_for

LOSS = "its loss, without gradients"


@dataclass(frozen=True)
class Case:
    name: str
    config: TrainConfig


CASES = (
    Case(
        "train step, compressed_adacof",
        replace(
            PRESETS["compressed_adacof"],
            data=DataConfig(batch=8, crop=128),
            losses=LossWeights(charbonnier=1.0, smoothness=0.01),
        ),
    ),
    Case(
        "train step, cdfi with taps=5",
        replace(
            PRESETS["cdfi"],
            losses=LossWeights(charbonnier=1.0, smoothness=0.01),
            net=config_for("cdfi", taps=5, dilation=1),
            data=DataConfig(batch=8, crop=64),
        ),
    ),
)


def rows(plan: Plan, cases: tuple[Case, ...] = CASES) -> Iterator[Row]:
    for case in cases:
        config, data = case.config, case.config.data
        batch = random_batch(data)
        step, seconds = step_contestant(config)
        detail = f"batch {data.batch} of {data.crop}x{data.crop}, Adamax, exact gradients"
        yield measure(case.name, "train", detail, step, {LOSS: _loss(config, batch)}, plan, seconds)


def random_batch(data: DataConfig) -> Batch:
    """Triplets of noise, uint8; what they show does not change the time."""
    rng = np.random.default_rng(0)
    shape = (data.batch, data.crop, data.crop, 3)
    roles = ("first", "middle", "last")
    return jax.device_put({role: rng.integers(0, 256, shape, dtype=np.uint8) for role in roles})


def lowered_step(config: TrainConfig, state: TrainState, batch: Batch) -> jax.stages.Lowered:
    return jitted_train_step.lower(state, batch, {}, objective=Objective.of(config), optim=config.optim)


def step_contestant(config: TrainConfig) -> tuple[Contestant, float]:
    """A training step on one batch of noise, and the seconds it took to compile."""
    state, batch = initial_state(config), random_batch(config.data)
    began = time.perf_counter()
    program = lowered_step(config, state, batch).compile()
    seconds = time.perf_counter() - began

    def step() -> None:
        nonlocal state  # each step takes over the memory of the state before it
        state, _ = jax.block_until_ready(program(state, batch, {}))

    return step, seconds


def _loss(config: TrainConfig, batch: Batch) -> Contestant:
    params = initial_state(config).params
    objective = Objective.of(config)
    program, _ = compiled(lambda p, b: loss(p, b, objective, {})[0], params, batch)
    return lambda: program(params, batch)
