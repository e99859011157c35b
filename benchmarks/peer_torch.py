"""The ops and the AdaCoF family in PyTorch, for comparison; float32, NCHW, on the CPU.

The sampling op of AdaCoF exists in two forms that give the same result:

- `gathers`, called the published form: the published arithmetic (the published code has a CUDA kernel
  only) in plain PyTorch: a loop over the taps, four gathers per tap and call, and one call per map. A
  CDFI frame takes twelve calls: the frame and five feature maps, for either side.
- `grid_samples`: a loop over the taps, one `grid_sample` with bordering padding per tap. It cannot
  truncate offsets as the published kernels do.

The networks take their shapes and weights from a `ModelParams`; the flow of data is written here again,
layer by layer as published: no two layers are merged, no two maps are sampled in one pass.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf

from vfijax.params import ModelParams
from vfijax.torch_weights import OIHW

Sampler = Callable[[Tensor, Tensor, Tensor, Tensor, int, str], Tensor]


def set_threads(count: int) -> None:
    torch.set_num_threads(count)


# --------------------------------------------------------------------------- the op
#
# image [B, C, H + (F-1)d, W + (F-1)d], already padded; fields [B, F*F, H, W]; result [B, C, H, W].


def gathers(
    image: Tensor, weight: Tensor, offset_y: Tensor, offset_x: Tensor, dilation: int, rounding: str
) -> Tensor:
    """Four gathers per tap: the published form."""
    batch, channels, in_height, in_width = image.shape
    _, taps, height, width = weight.shape
    size = math.isqrt(taps)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    whole = torch.floor if rounding == "floor" else torch.trunc
    flat = image.reshape(batch, channels, -1)

    def at(index: Tensor) -> Tensor:
        index = index.reshape(batch, 1, -1).expand(-1, channels, -1)
        return flat.gather(2, index).reshape(batch, channels, height, width)

    out = torch.zeros(batch, channels, height, width)
    for t in range(taps):
        step_y, step_x = whole(offset_y[:, t]), whole(offset_x[:, t])
        fy, fx = (offset_y[:, t] - step_y)[:, None], (offset_x[:, t] - step_x)[:, None]
        y = rows + t // size * dilation + step_y.long()
        x = columns + t % size * dilation + step_x.long()
        north, south = (v.clamp(0, in_height - 1) * in_width for v in (y, y + 1))
        west, east = (v.clamp(0, in_width - 1) for v in (x, x + 1))
        above = at(north + west) * (1 - fx) + at(north + east) * fx
        below = at(south + west) * (1 - fx) + at(south + east) * fx
        out.addcmul_(weight[:, t, None], above * (1 - fy) + below * fy)
    return out


def grid_samples(
    image: Tensor, weight: Tensor, offset_y: Tensor, offset_x: Tensor, dilation: int, rounding: str
) -> Tensor:
    """One `grid_sample` per tap."""
    if rounding != "floor":
        raise ValueError(f"grid_sample interpolates; rounding {rounding!r} is beyond it")
    batch, channels, in_height, in_width = image.shape
    _, taps, height, width = weight.shape
    size = math.isqrt(taps)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    out = torch.zeros(batch, channels, height, width)
    for t in range(taps):
        y = (rows + t // size * dilation + offset_y[:, t]) * (2 / (in_height - 1)) - 1
        x = (columns + t % size * dilation + offset_x[:, t]) * (2 / (in_width - 1)) - 1
        grid = torch.stack([x, y], dim=-1)
        sample = nnf.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
        out.addcmul_(weight[:, t, None], sample)
    return out


SAMPLERS: dict[str, Sampler] = {"gathers": gathers, "grid_samples": grid_samples}


def planar(image: Any) -> Tensor:
    """[B, H, W, C] to a tensor [B, C, H, W]."""
    return torch.from_numpy(np.array(image)).permute(0, 3, 1, 2).contiguous()


def channels_last(image: Tensor) -> np.ndarray:
    """[B, C, H, W] to an array [B, H, W, C]."""
    return image.permute(0, 2, 3, 1).numpy()


def op(
    sampler: str, image: Any, weight: Any, offset_y: Any, offset_x: Any, *, dilation: int, rounding: str
) -> Callable[[], Tensor]:
    """A call of the op on the arrays of `vfijax.ops.adacof`. Edges are replicated within the call."""
    tensor = planar(image)
    taps, rows, columns = (torch.from_numpy(np.array(f)) for f in (weight, offset_y, offset_x))
    apron = (math.isqrt(weight.shape[1]) - 1) * dilation
    padded = image.shape[2] == weight.shape[3] + apron
    pad = (0 if padded else apron // 2,) * 4

    def call() -> Tensor:
        with torch.inference_mode():
            ready = nnf.pad(tensor, pad, mode="replicate") if any(pad) else tensor
            return SAMPLERS[sampler](ready, taps, rows, columns, dilation, rounding)

    return call


def deform_by_gathers(
    image: Tensor, offset_y: Tensor, offset_x: Tensor, mask: Tensor, weight: Tensor
) -> Tensor:
    """Modulated deformable convolution, stride 1, of [B, C, H, W] by [O, C, K, K]: four gathers for all
    groups and taps, zeros outside, then one matrix product."""
    batch, channels, height, width = image.shape
    size = weight.shape[2]
    split = (batch, -1, 1, size**2, height, width)
    y, x, share = (field.reshape(split) for field in (offset_y, offset_x, mask))
    taps = torch.arange(size**2)[:, None, None]
    y = y + torch.arange(height)[:, None] - size // 2 + taps // size
    x = x + torch.arange(width) - size // 2 + taps % size
    north, west = torch.floor(y), torch.floor(x)
    fy, fx = y - north, x - west
    groups = y.shape[1]
    flat = image.reshape(batch, groups, channels // groups, -1)
    sample = torch.zeros(batch, groups, channels // groups, *y.shape[3:])
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = north.long() + dy, west.long() + dx
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        index = index.reshape(batch, groups, 1, -1).expand(-1, -1, channels // groups, -1)
        part = share * inside * (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
        sample.addcmul_(flat.gather(3, index).reshape(sample.shape), part)
    return _product(weight, sample)


def deform_by_grid_sample(
    image: Tensor, offset_y: Tensor, offset_x: Tensor, mask: Tensor, weight: Tensor
) -> Tensor:
    """The same with one `grid_sample` for all groups and taps."""
    batch, _, height, width = image.shape
    size = weight.shape[2]
    split = (-1, size**2, height, width)
    taps = torch.arange(size**2)[:, None, None]
    y = offset_y.reshape(split) + torch.arange(height)[:, None] - size // 2 + taps // size
    x = offset_x.reshape(split) + torch.arange(width) - size // 2 + taps % size
    # Pixel centres lie at half-integers of the range [-1, 1].
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    each = len(grid)  # batch times groups
    sample = nnf.grid_sample(
        image.reshape(each, -1, height, width),
        grid.view(each, -1, width, 2),
        padding_mode="zeros",
        align_corners=False,
    )
    sample = sample.view(each, -1, *split[1:]) * mask.reshape(split)[:, None]
    return _product(weight, sample.view(batch, -1, *sample.shape[1:]))


def _product(weight: Tensor, sample: Tensor) -> Tensor:
    """[O, C, K, K] with the samples [B, G, C/G, K*K, H, W] to [B, O, H, W]."""
    batch, height, width = sample.shape[0], *sample.shape[-2:]
    out = weight.reshape(len(weight), -1) @ sample.reshape(batch, -1, height * width)
    return out.view(batch, -1, height, width)


Deform = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
DEFORMS: dict[str, Deform] = {"gathers": deform_by_gathers, "grid_sample": deform_by_grid_sample}


def deform_conv(form: str, image: Any, *fields: Any, kernel: Any) -> Callable[[], Tensor]:
    """A call of `vfijax.ops.deform_conv` on its arrays, at stride 1 and with the padding of K // 2."""
    tensor = planar(image)
    offset_y, offset_x, mask = (torch.from_numpy(np.array(field)) for field in fields)
    weight = torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1).contiguous()

    def call() -> Tensor:
        with torch.inference_mode():
            return DEFORMS[form](tensor, offset_y, offset_x, mask, weight)

    return call


def dsepconv(
    image: Tensor, vertical: Tensor, horizontal: Tensor, offset_y: Tensor, offset_x: Tensor, mask: Tensor
) -> Tensor:
    """Deformable separable convolution, one `grid_sample` per tap; image and result [B, C, H, W].

    A bordering sample beyond the border is the border pixel, which the op counts twice per axis.
    """
    n, height, width = vertical.shape[1:]
    image = nnf.pad(image, (n // 2,) * 4, mode="replicate")
    last_row, last_column = image.shape[2] - 1, image.shape[3] - 1
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    start = 1 - (n - 1) // 2
    out = torch.zeros(*image.shape[:2], height, width)
    for t in range(n * n):
        y = rows + t // n + start + offset_y[:, t]
        x = columns + t % n + start + offset_x[:, t]
        double = (1 + ((y < 0) | (y >= last_row)).float()) * (1 + ((x < 0) | (x >= last_column)).float())
        grid = torch.stack([x * (2 / last_column) - 1, y * (2 / last_row) - 1], dim=-1)
        sample = nnf.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
        weight = vertical[:, t // n] * horizontal[:, t % n] * mask[:, t] * double
        out = out + weight[:, None] * sample
    return out


def dsepconv_op(image: Any, *fields: Any, cotangent: Any = None) -> Callable[[], tuple[Tensor, ...]]:
    """A call on the arrays of `vfijax.ops.dsepconv`: the result, then all gradients if one is given for it.

    The image and its gradient are in the layout of vfijax.
    """
    tensors = [torch.from_numpy(np.array(array)) for array in (image, *fields)]
    tensors = [tensor.requires_grad_(cotangent is not None) for tensor in tensors]
    weights = None if cotangent is None else torch.from_numpy(np.array(cotangent))

    def call() -> tuple[Tensor, ...]:
        out = dsepconv(tensors[0].permute(0, 3, 1, 2).contiguous(), *tensors[1:]).permute(0, 2, 3, 1)
        if weights is None:
            return (out,)
        return out.detach(), *torch.autograd.grad(out, tensors, weights)

    return call


def separable(image: Any, vertical: Any, horizontal: Any) -> Callable[[], Tensor]:
    """A call of `vfijax.ops.sepconv` on its arrays, image padded: a loop over the n*n taps.

    The taps of a row are summed up first and weighted together, which is faster than the product of both
    kernels for each tap.
    """
    tensor = planar(image)
    columns, rows = (torch.from_numpy(np.array(f)) for f in (vertical, horizontal))
    _, n, height, width = columns.shape

    def call() -> Tensor:
        with torch.inference_mode():
            out = torch.zeros(*tensor.shape[:2], height, width)
            for k in range(n):
                filtered = torch.zeros_like(out)
                for l in range(n):
                    seen = tensor[:, :, k : k + height, l : l + width]
                    filtered.addcmul_(rows[:, l, None], seen)
                out.addcmul_(columns[:, k, None], filtered)
            return out

    return call


# --------------------------------------------------------------------------- the networks

_MEAN = (0.4631, 0.4352, 0.3990)


def weights(params: ModelParams) -> dict[tuple[str, ...], Tensor]:
    """The parameters by their paths in the tree, kernels as [out, in, size, size]."""
    table: dict[tuple[str, ...], Tensor] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params.tree):
        array = np.array(leaf)
        array = array.transpose(OIHW) if array.ndim == 4 else array
        table[tuple(key.key for key in path)] = torch.from_numpy(array.copy())
    return table


class Network:
    """AdaCoF or CDFI of any width: two frames [B, 3, H, W], H and W multiples of 32, to the middle one.

    The ablations of CDFI, for which nothing was published, are not here.
    """

    def __init__(self, params: ModelParams, sampler: str = "gathers") -> None:
        config = params.config
        if not (config.architecture == "adacof" or (config.architecture == "cdfi" and config.path_selection)):
            raise ValueError(f"{config.name}: no peer in PyTorch; there is one for adacof networks and cdfi")
        self.config, self.sampler = config, SAMPLERS[sampler]
        self.weights = weights(params)

    @torch.inference_mode()
    def __call__(self, f0: Tensor, f1: Tensor) -> Tensor:
        levels, shared = self.encode_decode(f0, f1)
        taps = [self.tap_fields(shared, side) for side in (1, 2)]
        pad = (self.config.taps - 1) * self.config.dilation // 2
        frames = [nnf.pad(frame, (pad,) * 4, mode="replicate") for frame in (f0, f1)]
        warped = [self.warp(frame, fields) for frame, fields in zip(frames, taps, strict=True)]
        if self.config.architecture == "adacof":
            return self.occluded(warped, shared)
        inputs = list(warped)
        for i, level in enumerate(levels, start=1):
            feature = self.conv(("features", f"level{i}"), level)
            resized = nnf.interpolate(feature, frames[0].shape[2:], mode="bilinear", align_corners=False)
            inputs += [self.warp(resized, fields) for fields in taps]
        synthesised = self.synthesise(torch.cat(inputs, dim=1))
        blend = torch.sigmoid(self.head("blend", shared))
        return blend * synthesised + (1 - blend) * self.occluded(warped, shared)

    def conv(self, path: tuple[str, ...], x: Tensor, stride: int = 1) -> Tensor:
        kernel, bias = self.weights[(*path, "kernel")], self.weights[(*path, "bias")]
        return nnf.conv2d(x, kernel, bias, stride, padding=1)

    def block(self, name: str, x: Tensor, layers: int = 3) -> Tensor:
        for i in range(layers):
            x = torch.relu(self.conv(("unet", f"{name}_{i}"), x))
        return x

    def encode_decode(self, f0: Tensor, f1: Tensor) -> tuple[list[Tensor], Tensor]:
        mean = torch.tensor(_MEAN)[:, None, None]
        x = torch.cat([f0 - mean, f1 - mean], dim=1)
        levels: list[Tensor] = []
        for level in range(1, 6):
            x = self.block(f"conv{level}", nnf.avg_pool2d(x, 2) if levels else x)
            levels.append(x)
        x = nnf.avg_pool2d(x, 2)
        for level in range(5, 1, -1):
            x = double(self.block(f"deconv{level}", x), align_corners=True)
            x = self.block(f"up{level}", x, layers=1) + levels[level - 1]
        return levels, x

    def head(self, name: str, x: Tensor) -> Tensor:
        return self.conv(("unet", f"{name}_3"), double(self.block(name, x), align_corners=True))

    def tap_fields(self, x: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
        weight, offset_y, offset_x = (self.head(f"{n}{side}", x) for n in ("weight", "offset_y", "offset_x"))
        return torch.softmax(weight, dim=1), offset_y, offset_x

    def warp(self, padded: Tensor, fields: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return self.sampler(padded, *fields, self.config.dilation, self.config.rounding)

    def occluded(self, warped: list[Tensor], shared: Tensor) -> Tensor:
        occlusion = torch.sigmoid(self.head("occlusion", shared))
        return occlusion * warped[0] + (1 - occlusion) * warped[1]

    def lateral(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        """The two convolutions of a block of the GridNet, each after its PReLU."""
        for i, step in enumerate((stride, 1)):
            x = nnf.prelu(x, self.weights[("synthesis", name, f"prelu_{i}", "slope")])
            x = self.conv(("synthesis", name, f"conv_{i}"), x, step)
        return x

    def synthesise(self, x: Tensor) -> Tensor:
        """The GridNet: three rows; three columns down, three up."""

        def beside(row: int, i: int, x: Tensor) -> Tensor:
            return x + self.lateral(f"lateral_{row}_{i}", x)

        def down(row: int, i: int, x: Tensor) -> Tensor:
            return self.lateral(f"down_{row}_{i}", x, stride=2)

        def up(row: int, i: int, x: Tensor) -> Tensor:
            return self.lateral(f"up_{row}_{i}", double(x, align_corners=False))

        def projected(name: str, x: Tensor) -> Tensor:
            return self.lateral(name, x) + self.conv(("synthesis", name, "skip"), x)

        top = projected("lateral_init", x)
        middle = down(0, 0, top)
        bottom = down(1, 0, middle)
        for i in (0, 1):
            top = beside(0, i, top)
            middle = down(0, i + 1, top) + beside(1, i, middle)
            bottom = down(1, i + 1, middle) + beside(2, i, bottom)
        for i in (2, 3, 4):
            bottom = beside(2, i, bottom)
            middle = up(1, i - 2, bottom) + beside(1, i, middle)
            top = up(0, i - 2, middle) + beside(0, i, top)
        return projected("lateral_final", top)


def double(x: Tensor, *, align_corners: bool) -> Tensor:
    return nnf.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)
