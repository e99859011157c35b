"""GridNet, the synthesis network of CDFI: 3 rows (scales) by 6 columns (CDFI, section 3.2).

The first three columns go down the scales, the last three go up. All arrays of a row are sums, so
that a row has one channel space.
"""

import flax.linen as nn
import jax

from vfijax.channels import Edge, Widths
from vfijax.layers import Conv, PReLU, upsample

ROWS = (0, 1, 2)
ROW_WIDTHS = (32, 64, 96)


def gridnet_blocks() -> dict[str, tuple[str, str]]:
    """Every block with the channel spaces that it reads and writes."""
    blocks = {"lateral_init": ("synthesis_in", "grid0"), "lateral_final": ("grid0", "rgb")}
    blocks |= {f"lateral_{row}_{i}": (f"grid{row}", f"grid{row}") for row in ROWS for i in range(5)}
    blocks |= {f"down_{row}_{i}": (f"grid{row}", f"grid{row + 1}") for row in (0, 1) for i in range(3)}
    blocks |= {f"up_{row}_{i}": (f"grid{row + 1}", f"grid{row}") for row in (0, 1) for i in range(3)}
    return blocks


def gridnet_edges(inputs: tuple[str, ...]) -> tuple[Edge, ...]:
    """The layers by channel space; `inputs` are the spaces that are concatenated for the network."""
    edges = []
    for name, (source, target) in gridnet_blocks().items():
        sources = inputs if source == "synthesis_in" else (source,)
        edges.append(Edge(("synthesis", name, "conv_0"), sources, f"{name}_mid", size=3))
        edges.append(Edge(("synthesis", name, "conv_1"), (f"{name}_mid",), target, size=3))
        if name in ("lateral_init", "lateral_final"):
            edges.append(Edge(("synthesis", name, "skip"), sources, target, size=3))
    return tuple(edges)


def gridnet_slopes() -> tuple[tuple[str, ...], ...]:
    """The paths of the PReLUs."""
    return tuple(("synthesis", name, f"prelu_{i}") for name in gridnet_blocks() for i in (0, 1))


def gridnet_widths() -> Widths:
    """The published widths: 32, 64, 96 in the rows; in a block the width of what it writes."""
    rows = {f"grid{row}": width for row, width in zip(ROWS, ROW_WIDTHS, strict=True)}
    sizes = {**rows, "rgb": 3}
    return Widths.of({**rows, **{f"{name}_mid": sizes[to] for name, (_, to) in gridnet_blocks().items()}})


class Block(nn.Module):
    """PReLU, convolution, PReLU, convolution; lateral blocks add their input.

    Attributes:
      mid, out: channels of the two convolutions.
      kind: "lateral" (adds the input), "skip" (adds a convolution of it), "down" (the first
        convolution has stride 2) or "up" (the input is doubled first, corners not aligned).
    """

    mid: int
    out: int
    kind: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = upsample(x, align_corners=False) if self.kind == "up" else x
        stride = 2 if self.kind == "down" else 1
        y = Conv(self.mid, stride=stride, name="conv_0")(PReLU(name="prelu_0")(y))
        y = Conv(self.out, name="conv_1")(PReLU(name="prelu_1")(y))
        if self.kind == "lateral":
            return y + x
        if self.kind == "skip":
            return y + Conv(self.out, name="skip")(x)
        return y


class GridNet(nn.Module):
    """[B, H, W, C] with H and W multiples of 4 to [B, H, W, 3], no final activation."""

    widths: Widths

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        blocks = gridnet_blocks()

        def run(name: str, x: jax.Array, kind: str = "") -> jax.Array:
            mid, out = self.widths[f"{name}_mid"], self.widths[blocks[name][1]]
            return Block(mid, out, kind or name.split("_")[0], name=name)(x)

        row0 = run("lateral_init", x, "skip")
        row1 = run("down_0_0", row0)
        row2 = run("down_1_0", row1)
        for i in (0, 1):
            row0 = run(f"lateral_0_{i}", row0)
            row1 = run(f"down_0_{i + 1}", row0) + run(f"lateral_1_{i}", row1)
            row2 = run(f"down_1_{i + 1}", row1) + run(f"lateral_2_{i}", row2)
        for i in (2, 3, 4):
            row2 = run(f"lateral_2_{i}", row2)
            row1 = run(f"up_1_{i - 2}", row2) + run(f"lateral_1_{i}", row1)
            row0 = run(f"up_0_{i - 2}", row1) + run(f"lateral_0_{i}", row0)
        return run("lateral_final", row0, "skip")
