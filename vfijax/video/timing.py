"""Which frames a result has, and when: pure arithmetic on exact times.

Between each pair of neighbouring source frames come factor - 1 new ones, equally spaced. Source
frames keep their exact times, also at a variable rate, and the first and the last frame stay the
first and the last: n frames become (n - 1) * factor + 1. The last frame gives up as much of its
duration as the spacing shrank before it, so that a constant rate stays exactly constant (rate times
factor) and a last frame that is held stays held. The result is therefore shorter than the source by
(factor - 1) / factor of one source frame.

In slow motion times are stretched by the factor about the first frame instead, and the rate stays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Timing:
    """How many frames are made, and how their times follow from the source's.

    Attributes:
      factor: each interval between source frames is divided into so many; 2 or more.
      slowmo: stretches time by the factor, so that the frame rate stays as it is.
    """

    factor: int
    slowmo: bool = False

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ValueError(f"factor is {self.factor}; give 2, 4, 8 or another number from 2 on")

    @property
    def stretch(self) -> int:
        return self.factor if self.slowmo else 1

    def frames(self, source_frames: int) -> int:
        """The number of frames made of a number of source frames."""
        return (source_frames - 1) * self.factor + 1

    def rate(self, source_rate: Fraction) -> Fraction:
        """Average frames per second."""
        return source_rate * self.factor / self.stretch

    def time_base(self, source_time_base: Fraction) -> Fraction:
        """Every time of the result is a whole multiple of it if the source's are of theirs."""
        return source_time_base * self.stretch / self.factor

    def schedule(
        self, moments: Iterable[tuple[Fraction, Fraction | None]]
    ) -> Iterator[tuple[Fraction, Fraction]]:
        """(time, duration) of every frame of the result, from those of the source frames, at least two.

        A source frame is asked for only when the times up to it are needed.
        """
        moments = iter(moments)
        time, duration = next(moments)
        origin, interval = time, None
        for following, next_duration in moments:
            yield from self.times(time, following, origin)
            time, duration, interval = following, next_duration, following - time
        if interval is None:
            raise ValueError("schedule: one source frame is given; two are needed")
        yield self.last(time, duration, interval, origin)

    def times(self, start: Fraction, end: Fraction, origin: Fraction) -> Iterator[tuple[Fraction, Fraction]]:
        """(time, duration) of a source frame at `start` and of the new frames before the next at `end`.

        Args:
          start, end: source times of two neighbouring frames, in seconds.
          origin: source time of the first frame of all.
        """
        spacing = (end - start) * self.stretch / self.factor
        first = origin + (start - origin) * self.stretch
        return ((first + i * spacing, spacing) for i in range(self.factor))

    def last(
        self, time: Fraction, duration: Fraction | None, interval: Fraction, origin: Fraction
    ) -> tuple[Fraction, Fraction]:
        """(time, duration) of the last frame.

        Args:
          time, duration: of the last source frame; the duration is None where the source has none.
          interval: source time between the last two frames.
          origin: source time of the first frame of all.
        """
        shown = interval if duration is None else duration
        lost = min(shown, interval) * (self.factor - 1) / self.factor
        return origin + (time - origin) * self.stretch, (shown - lost) * self.stretch
