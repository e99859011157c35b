"""Line and bar charts as pictures, drawn by matplotlib without pyplot and its global state."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bar_chart", "line_chart"]

Series = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]

# The palette of Okabe and Ito, which colour-blind readers can tell apart too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FAINT, GRID = "#666666", "#E4E4E4"
DPI = 64  # a power of two, so that pixels become inches and pixels again without rounding
TEXT, HEADING = 13, 16  # points of 1/72 inch
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
      title, x_label, y_label: texts.
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
    figure, axes = _chart(*size, title, x_label)
    axes.set_ylabel(_plain(y_label), size=TEXT, color=FAINT)
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.grid(color=GRID)
    for i, (xs, ys) in enumerate(curves.values()):
        there = np.isfinite(xs) & np.isfinite(ys)
        beside = np.pad(there, 1)
        dots = there if len(xs) <= MOST_DOTS else there & ~beside[:-2] & ~beside[2:]  # else those alone
        ys = np.where(there, ys, np.nan)
        axes.plot(xs, ys, color=COLOURS[i % len(COLOURS)], linewidth=2, marker="o", markevery=dots)
    if curves:
        names = [_short(name) for name in curves]
        columns = max(1, size[1] // (50 + 9 * max(map(len, names))))
        style = {"fontsize": TEXT, "frameon": False}
        figure.legend(axes.get_lines(), names, loc="outside upper right", ncols=columns, **style)
    return _picture(figure)


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
    figure, axes = _chart(90 + BAR * len(bars), width, title, x_label)
    axes.set_xlim(0, (end or 1) * 1.1)  # room for a value at the end of the longest
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(bars)), [_short(name) for name in bars])
    axes.tick_params("y", length=0, labelcolor="black")
    axes.grid(axis="x", color=GRID)
    drawn = axes.barh(range(len(bars)), list(bars.values()), height=0.625, color=COLOURS[0])
    axes.bar_label(drawn, fmt="{:.3g}", padding=4, size=TEXT, color=FAINT)
    return _picture(figure)


def _chart(height: int, width: int, title: str, x_label: str) -> "tuple[Figure, Axes]":
    # matplotlib takes half a second to import, and few who import this module draw anything
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)  # inches
    figure = Figure((width / DPI, height / DPI), DPI, layout=layout)
    figure.suptitle(_plain(title), x=0.02, horizontalalignment="left", size=HEADING)
    axes = figure.add_subplot(axisbelow=True)
    axes.set_xlabel(_plain(x_label), size=TEXT, color=FAINT)
    axes.xaxis.set_major_formatter("{x:,.10g}")  # ten digits hide the rounding of floats
    axes.tick_params(labelsize=TEXT, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _picture(figure: "Figure") -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _short(name: str) -> str:
    """Names may be paths, whose end tells most."""
    return _plain(f"...{name[-LONGEST_NAME:]}" if len(name) > LONGEST_NAME else name)


def _plain(text: str) -> str:
    """Text in which dollars do not begin a formula."""
    return text.replace("$", r"\$")
