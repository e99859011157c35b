"""The devices of a run: the batch is split over them, the state is a copy on each (data parallelism).

On every device the same step takes the device's share of the batch, and the mean of the gradients over
all devices is the one thing they exchange. `jit` does so over global arrays, with `jax.shard_map`; `pmap`
is the older form of the same. Both give the parameters of one device with the whole batch, but for
rounding. (Left to split the step by itself, the compiler gathers whole batches of activations wherever it
meets a loop over images or a kernel that it cannot look into; `docs/scaling.md` has the figures.)

Several processes take part in a run after `connect`: each reads its share of every batch, and process 0
alone writes, so that a run directory is seen by one process only.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.config import TrainConfig, TrainError
from train.state import TrainState
from train.step import INSEPARABLE, Batch, Networks, Objective, jitted_train_step, train_step

AXIS = "data"
JOIN, HEARTBEAT, LEAVE = 300, 30, 10  # seconds: to find one another, to notice a loss, to end together
Step = Callable[[TrainState, Batch, Networks], tuple[TrainState, dict[str, jax.Array]]]
Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Layout:
    """What a run is spread over.

    Attributes:
      mesh: all devices of all processes, in one axis; a process's devices lie side by side.
      form: of the step, "jit" or "pmap".
    """

    mesh: Mesh
    form: str

    @classmethod
    def of(cls, config: TrainConfig) -> "Layout":
        """The devices that a config asks for; raises TrainError where they or its batch do not fit."""
        devices = _devices(config.devices)
        _check_batch(config, len(devices))
        _check_separable(config, len(devices))
        mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        return cls(mesh, config.parallel)

    def place(self, tree: Tree) -> Tree:
        """A copy on every device of arrays that all processes hold alike."""
        mesh = self.mesh.local_mesh if self.form == "pmap" else self.mesh
        return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))

    def split(self, batch: Batch) -> Batch:
        """A process's share of a batch, arrays [B / processes, ...], on its devices as the step takes it."""
        if self.form == "pmap":
            local = self.mesh.local_mesh.size
            return {name: array.reshape(local, -1, *array.shape[1:]) for name, array in batch.items()}
        rows = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return {name: jax.make_array_from_process_local_data(rows, array) for name, array in batch.items()}

    def step(self, config: TrainConfig) -> Step:
        """The training step of a config.

        Losses that cannot be put together from shares take that of the whole batch: the compiler splits it.
        """
        static: dict[str, Any] = {"objective": Objective.of(config), "optim": config.optim}
        if self.form == "jit" and (self.mesh.size == 1 or inseparable(config)):
            return partial(jitted_train_step, **static)
        step = partial(train_step, **static, axis_name=AXIS)
        if self.form == "pmap":
            devices = list(self.mesh.devices.flat)
            axes: Any = {"in_axes": (None, 0, None), "out_axes": None}
            return jax.pmap(step, AXIS, devices=devices, donate_argnums=0, **axes)
        everywhere, rows = PartitionSpec(), PartitionSpec(AXIS)
        specs: Any = {"in_specs": (everywhere, rows, everywhere), "out_specs": everywhere}
        # Unchecked, a gradient is that of the device's own share; checked, it would already be the sum.
        return jax.jit(jax.shard_map(step, mesh=self.mesh, check_vma=False, **specs), donate_argnums=0)

    def __str__(self) -> str:
        kind, count = self.mesh.devices.flat[0].device_kind, self.mesh.size
        where = f"{count} x {kind} ({self.form})" if count > 1 else kind
        if jax.process_count() > 1:
            where += f" of {jax.process_count()} processes"
        idle = jax.device_count() - count
        return where + (f"; {idle} more idle, --devices 0 takes all" if idle else "")


def _devices(wanted: int) -> list[jax.Device]:
    """The first `wanted` devices of every process, all for 0."""
    by_process = [[d for d in jax.devices() if d.process_index == i] for i in range(jax.process_count())]
    counts = [len(devices) for devices in by_process]
    if min(counts) != max(counts):
        raise TrainError(
            f"the processes have {counts} devices; every process needs as many as the others "
            "(CUDA_VISIBLE_DEVICES hides some)"
        )
    if wanted > counts[0]:
        raise TrainError(f"--devices is {wanted}, but there are {counts[0]} to a process; 0 takes all")
    return [device for devices in by_process for device in devices[: wanted or None]]


def _check_batch(config: TrainConfig, devices: int) -> None:
    batch, parts = config.data.batch, devices * config.optim.accumulate
    if batch % parts == 0:
        return
    below, above = batch // parts * parts, (batch // parts + 1) * parts
    of = f" of {config.optim.accumulate} micro-batches each" if config.optim.accumulate > 1 else ""
    nearest = f"{below} or {above}" if below else str(above)
    raise TrainError(
        f"--data.batch is {batch}, which {devices} device{'s' * (devices > 1)}{of} cannot share evenly; "
        f"give {nearest}, or other --devices"
    )


def inseparable(config: TrainConfig) -> list[str]:
    """The losses of a config that cannot be put together from those of the parts of a batch."""
    return [name for name in INSEPARABLE if getattr(config.losses, name)]


def _check_separable(config: TrainConfig, devices: int) -> None:
    in_parts = {"--optim.accumulate 1": config.optim.accumulate > 1}
    in_parts["--parallel jit"] = config.parallel == "pmap" and devices > 1
    remedies = [remedy for remedy, applies in in_parts.items() if applies]
    for name in inseparable(config) if remedies else ():
        raise TrainError(
            f"the loss {name!r} is taken over the whole batch and cannot be put together from parts; "
            f"use {' and '.join(remedies)}, or leave it out with --losses.{name} 0"
        )


# --------------------------------------------------------------------------------------- processes


def connect(
    coordinator: str | None, process: int | None, processes: int | None, *, auto: bool = False
) -> None:
    """Joins the processes of a run when its flags ask for it. Nothing may have used a device before.

    Args:
      coordinator: --distributed.coordinator, HOST:PORT of process 0; None, and the next two, for one process.
      process: --distributed.process, the number of this one, from 0.
      processes: --distributed.processes, how many there are.
      auto: --distributed.auto, where the cluster's environment says it all (Slurm, Open MPI, Kubernetes, see
        `jax.distributed.initialize`).

    Raises:
      TrainError: flags are missing or wrong, or the processes do not find one another.
    """
    three = (coordinator, process, processes)
    if not auto and all(value is None for value in three):
        return
    if auto == any(value is not None for value in three) or (None in three and not auto):
        raise TrainError(
            "several processes need --distributed.coordinator HOST:PORT, --distributed.process and "
            "--distributed.processes, all three, or --distributed.auto alone"
        )
    _initialize(*three)


def _initialize(coordinator: str | None, process: int | None, processes: int | None) -> None:
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise TrainError(f"--distributed.coordinator is {coordinator!r}; give HOST:PORT")
    if process is not None and processes is not None and not 0 <= process < processes:
        raise TrainError(
            f"--distributed.process is {process} of --distributed.processes {processes}; they count from 0"
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=JOIN,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=LEAVE,
        )
    except (RuntimeError, ValueError) as error:
        raise TrainError(f"the processes do not find one another ({_first_line(error)})") from None


def is_first() -> bool:
    """Whether this process is the one that writes; true where there is only one."""
    return jax.process_index() == 0


def greatest(number: int, after: Any = None) -> int:
    """The greatest of the processes' numbers, asked when `after` is computed. All of them have to ask.

    Programs that exchange something must not run side by side: they may wait for one another for ever.
    """
    if jax.process_count() == 1:
        return number
    jax.block_until_ready(after)
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def from_first(tree: Tree) -> Tree:
    """The arrays of process 0, for all processes; the others give arrays of the same shapes."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def here(tree: Tree) -> Tree:
    """The copy of a placed state, or a part of one, on the first device of this process."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


@contextmanager
def together() -> Iterator[None]:
    """Something that all processes must get through, or none goes on.

    Raises:
      TrainError: another process did not; what this one raised itself passes on as it is.
    """
    failure: Exception | None = None
    try:
        yield
    except (ValueError, OSError) as error:
        failure = error
    others = greatest(int(failure is not None))
    if failure:
        raise failure
    if others:
        raise TrainError("another process of the run could not start; its own message says why")


def check_same(config: dict[str, Any]) -> None:
    """Raises TrainError unless process 0 was started with the same config."""
    own = zlib.crc32(repr(config).encode())
    if int(from_first(np.uint32(own))) != own:
        raise TrainError("this process was started with other flags than process 0; give all the same")


@contextmanager
def lost_processes() -> Iterator[None]:
    """What the runtime raises where a process is gone, as a TrainError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise TrainError(
            f"another process of the run is gone or hangs ({_first_line(error)}); start all of them again "
            "with --resume"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
