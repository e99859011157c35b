"""Block choice: how the work of an op is cut into programs, as a pure function of its static sizes.

The numbers follow from registers, spills and memory instructions counted in compiled sm_90 code, and
from compile time. None has been tuned on a device yet, so the device kind plays no part so far.
"""

from dataclasses import dataclass

THREADS_PER_WARP = 32
ACCUMULATORS = 24
# Taps times channels in one unrolled loop body: 60 gathers. All 25 taps of F=5 unrolled take over a
# minute to compile.
BODY = 16


@dataclass(frozen=True)
class BlockConfig:
    """Attributes:
    channels: channels held in registers at a time.
    columns: taps of one row of the tap grid unrolled into one loop body.
    warps: a program owns one pixel per thread. With more, the compiler widens the accesses to
      parameters, doubles the registers and halves the occupancy.
    stages: of software pipelining; gathers cannot be pipelined by the compiler.
    """

    channels: int
    columns: int
    warps: int = 4
    stages: int = 1

    @property
    def pixels(self) -> int:
        """Pixels of one program; a power of two, as every array in a kernel must be."""
        return self.warps * THREADS_PER_WARP


def adacof_forward(channels: int, side: int) -> BlockConfig:
    """One accumulator per channel, in groups as equal as possible (20 channels took 72 registers)."""
    groups = -(-channels // ACCUMULATORS)
    return _unrolled(-(-channels // groups), side)


def adacof_backward(channels: int, side: int) -> BlockConfig:
    """Channels are summed within a program: all at once if few, else four per turn of a loop."""
    return _unrolled(channels if channels <= 8 else 4, side)


def _unrolled(channels: int, side: int) -> BlockConfig:
    return BlockConfig(channels, columns=side if side * channels <= BODY else 1)
