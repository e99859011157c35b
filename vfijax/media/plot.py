"""Line and bar charts as pictures, drawn with Pillow."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["bar_chart", "line_chart"]

Series = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]
Box = tuple[float, float, float, float]  # left, top, right, bottom

# The palette of Okabe and Ito, which colour-blind readers can tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT, GRID = "#222222", "#666666", "#E4E4E4"
OVERSAMPLE = 2  # drawn larger and reduced, which smooths the lines
LONGEST_NAME = 32  # letters of a series or a bar
BAR = 16  # pixels that a bar takes up, with its gap
MOST_DOTS = 60  # points of a series that are few enough to be marked


def line_chart(
    series: Mapping[str, Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    size: tuple[int, int] = (420, 800),
) -> np.ndarray:
    """Draws curves with axes, grid and legend.

    Args:
      series: name to (xs, ys), of equal length. Points that are not finite break the line.
      title, x_label, y_label: texts; the y label stands above its axis.
      size: height and width of the picture in pixels.

    Returns:
      uint8 [H, W, 3], RGB; for `vfijax.media.images.write_image`.

    Raises:
      ValueError: the xs and ys of a curve differ in number, or the picture is too small for its axes.
    """
    curves = {name: (np.asarray(xs, float), np.asarray(ys, float)) for name, (xs, ys) in series.items()}
    for name, (xs, ys) in curves.items():
        if xs.ndim != 1 or xs.shape != ys.shape:
            raise ValueError(f"line_chart: {name} has xs {xs.shape} and ys {ys.shape}; give two equal lists")
    if min(size) < 160:
        raise ValueError(f"line_chart: size is {size}; 160 pixels is the least height and width")
    canvas = Image.new("RGB", (size[1] * OVERSAMPLE, size[0] * OVERSAMPLE), "white")
    _Chart(canvas, curves).draw(title, x_label, y_label)
    return np.asarray(canvas.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def bar_chart(
    bars: Mapping[str, float],
    *,
    title: str = "",
    x_label: str = "",
    x_max: float | None = None,
    width: int = 800,
) -> np.ndarray:
    """Draws one horizontal bar per name, the first on top, with its value at its end.

    Args:
      bars: name to a finite value, 0 or more.
      title, x_label: texts, above the chart and below its axis.
      x_max: where the axis ends; default the greatest value.
      width: of the picture in pixels; its height follows from the number of bars.

    Returns:
      uint8 [H, W, 3], RGB; for `vfijax.media.images.write_image`.

    Raises:
      ValueError: a value is negative, not finite or past `x_max`, or the picture is too narrow.
    """
    end = max(bars.values(), default=0) if x_max is None else x_max
    for name, value in bars.items():
        if not (0 <= value <= end and math.isfinite(value)):
            raise ValueError(f"bar_chart: {name} is {value}; bars are from 0 to {end:g}")
    if width < 320:
        raise ValueError(f"bar_chart: width is {width}; 320 pixels is the least")
    height = 44 + 46 + BAR * len(bars)
    canvas = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE), "white")
    _draw_bars(ImageDraw.Draw(canvas), canvas.size, bars, title, x_label, end or 1.0)
    return np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS))


def _draw_bars(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    bars: Mapping[str, float],
    title: str,
    x_label: str,
    end: float,
) -> None:
    unit = OVERSAMPLE
    small, large = (ImageFont.load_default(s * unit) for s in (12, 15))
    names = [_short(name) for name in bars]
    left = max((pen.textlength(name, small) for name in names), default=0) + 22 * unit
    right, top, bottom = size[0] - 56 * unit, 44 * unit, size[1] - 46 * unit
    pen.text((14 * unit, 12 * unit), title, INK, large)
    pen.text((right, size[1] - 10 * unit), x_label, FAINT, small, anchor="rs")
    for tick in ticks(0, end, most=10):
        x = left + tick / end * (right - left)
        pen.line((x, top, x, bottom), GRID, unit)
        pen.text((x, bottom + 8 * unit), _label(tick), FAINT, small, anchor="mt")
    for i, (name, value) in enumerate(zip(names, bars.values(), strict=True)):
        x, y = left + value / end * (right - left), top + (i + 0.5) * BAR * unit
        pen.rectangle((left, y - 5 * unit, x, y + 5 * unit), COLOURS[0] if value else FAINT)
        pen.text((left - 8 * unit, y), name, INK, small, anchor="rm")
        pen.text((x + 6 * unit, y), f"{value:.3g}", FAINT, small, anchor="lm")
    pen.line((left, top, left, bottom), FAINT, unit)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10, 20) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _extent(arrays: list[np.ndarray], margin: float) -> tuple[float, float]:
    """The finite range of all values with a margin, never empty."""
    values = np.concatenate([*arrays, np.empty(0)])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = (high - low) * margin
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = max(abs(low) * 0.05, 0.5)
    return low - pad, high + pad


class _Chart:
    """The drawing of one chart: the canvas, the data ranges and the box between the axes."""

    def __init__(self, canvas: Image.Image, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self.pen = ImageDraw.Draw(canvas)
        self.width, self.height = canvas.size
        self.curves = curves
        self.small, self.large = (ImageFont.load_default(s * OVERSAMPLE) for s in (12, 15))
        both = [np.isfinite(xs) & np.isfinite(ys) for xs, ys in curves.values()]
        self.x_range = _extent([xs[ok] for (xs, _), ok in zip(curves.values(), both, strict=True)], 0.02)
        self.y_range = _extent([ys[ok] for (_, ys), ok in zip(curves.values(), both, strict=True)], 0.08)

    def draw(self, title: str, x_label: str, y_label: str) -> None:
        unit = OVERSAMPLE
        y_ticks = ticks(*self.y_range, most=8)
        widest = max((self.pen.textlength(_label(t), self.small) for t in y_ticks), default=0)
        self.box: Box = (widest + 22 * unit, 66 * unit, self.width - 18 * unit, self.height - 46 * unit)
        left, top, right, bottom = self.box
        self.pen.text((14 * unit, 12 * unit), title, INK, self.large)
        self.pen.text((14 * unit, top - 10 * unit), y_label, FAINT, self.small, anchor="ls")
        self.pen.text((right, self.height - 10 * unit), x_label, FAINT, self.small, anchor="rs")
        for tick in y_ticks:
            y = self._y(tick)
            self.pen.line((left, y, right, y), GRID, unit)
            self.pen.text((left - 8 * unit, y), _label(tick), FAINT, self.small, anchor="rm")
        for tick in ticks(*self.x_range, most=10):
            x = self._x(tick)
            self.pen.line((x, bottom, x, bottom + 4 * unit), FAINT, unit)
            self.pen.text((x, bottom + 8 * unit), _label(tick), FAINT, self.small, anchor="mt")
        self.pen.line((left, bottom, right, bottom), FAINT, unit)
        for i, (xs, ys) in enumerate(self.curves.values()):
            self._curve(xs, ys, COLOURS[i % len(COLOURS)])
        self._legend(right, top - 10 * unit)

    def _x(self, value: float) -> float:
        low, high = self.x_range
        return self.box[0] + (value - low) / (high - low) * (self.box[2] - self.box[0])

    def _y(self, value: float) -> float:
        low, high = self.y_range
        return self.box[3] - (value - low) / (high - low) * (self.box[3] - self.box[1])

    def _curve(self, xs: np.ndarray, ys: np.ndarray, colour: str) -> None:
        finite = np.isfinite(xs) & np.isfinite(ys)
        points = [(self._x(x), self._y(y)) if ok else None for x, y, ok in zip(xs, ys, finite, strict=True)]
        run: list[tuple[float, float]] = []
        for point in [*points, None]:
            if point is not None:
                run.append(point)
            elif run:
                self.pen.line(run, colour, 2 * OVERSAMPLE, joint="curve")
                if len(run) == 1 or len(points) <= MOST_DOTS:
                    for x, y in run:
                        self.pen.circle((x, y), 3 * OVERSAMPLE, colour)
                run = []

    def _legend(self, right: float, baseline: float) -> None:
        unit = OVERSAMPLE
        for i, name in reversed(list(enumerate(self.curves))):
            name = _short(name)
            right -= self.pen.textlength(name, self.small)
            self.pen.text((right, baseline), name, INK, self.small, anchor="ls")
            self.pen.line(
                (right - 22 * unit, baseline - 4 * unit, right - 6 * unit, baseline - 4 * unit),
                COLOURS[i % len(COLOURS)],
                3 * unit,
            )
            right -= 40 * unit


def _short(name: str) -> str:
    """Names may be paths, whose end tells most."""
    return f"...{name[-LONGEST_NAME:]}" if len(name) > LONGEST_NAME else name


def _label(tick: float) -> str:
    """Ten digits hide the rounding of floats: 3 * 0.1 is written 0.3."""
    return f"{tick:,.10g}"
