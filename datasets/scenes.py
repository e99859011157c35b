"""Scenes with large motion, drawn at any time, with the exact motion of what is seen; needs no download.

A scene is a background and one to five shapes in front of it, blobs and now and then thin bars, all with
the photographs of `datasets.synthetic` on them. Each surface moves with constant velocity, turns and grows,
and in half of the scenes a camera moves all of them. Frames may have motion blur, noise, and brightness
that changes. Coordinates here are OpenCV's, x then y, with pixel centres at whole numbers; what comes out
has rows then columns, as everywhere.
"""

import functools
import itertools
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.synthetic import MASK_SIDE, blob, photographs
from vfijax.media import MediaError

MOST_SURFACES = 5  # in front of the background
BLUR_STEP = 1.5  # pixels from one exposure to the next of a blurred frame
MOST_BLUR = 9.0  # pixels
LARGEST = 800  # pixels a side; the table of noise is for no more
MOST_MOTION = 4  # times the side of the frames
LEAST_TIME = 1 / 16  # of random times; the greatest is 1 - this

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Course:
    """Where something is, how it lies and how large it is, with constant velocity.

    Attributes:
      centre: (x, y), in pixels, and velocity: its change while `age` grows by one.
      angle, spin: radians.
      log_scale, growth: natural logarithm of the magnification.
    """

    centre: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    spin: float = 0.0
    log_scale: float = 0.0
    growth: float = 0.0

    def at(self, age: float) -> np.ndarray:
        """[3, 3], from own coordinates to those of the frame."""
        x, y = (c + v * age for c, v in zip(self.centre, self.velocity, strict=True))
        angle, scale = self.angle + self.spin * age, math.exp(self.log_scale + self.growth * age)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        return np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]])


@dataclass(frozen=True)
class Surface:
    """A textured plane; its own coordinates are pixels of the texture, from `anchor`.

    Attributes:
      texture: uint8 [h, w, 3], continued by reflection.
      anchor: (x, y) in the texture.
      mask: uint8, stretched over `reach` to every side, (x, y); None for the background.
      edge: contrast of the mask, so that its edge is as sharp where it is stretched.
      course: how it moves.
    """

    texture: np.ndarray
    anchor: tuple[float, float]
    course: Course
    mask: np.ndarray | None = None
    reach: tuple[float, float] = (0.0, 0.0)
    edge: float = 1.0

    def painted(self, canvas: np.ndarray, to_frame: np.ndarray, interpolation: int) -> np.ndarray:
        """The canvas, uint8 [H, W, 3], with this surface on it."""
        from_texture = to_frame @ _shift(-self.anchor[0], -self.anchor[1])
        box, alpha = self.cover(to_frame, canvas.shape[:2])
        picture = _warped(self.texture, from_texture, box, interpolation, cv2.BORDER_REFLECT_101)
        if alpha is None:
            return picture
        if picture.size:
            weight = alpha.astype(np.float32)
            canvas[box] = cv2.blendLinear(picture, canvas[box], weight, 255 - weight)
        return canvas

    def cover(self, to_frame: np.ndarray, shape: tuple[int, ...]) -> tuple[Box, np.ndarray | None]:
        """Where in a frame it can be seen, and how much it hides there, uint8; None for all of it."""
        if self.mask is None:
            return (slice(0, shape[0]), slice(0, shape[1])), None
        height, width = self.mask.shape
        x, y = (2 * reach / side for reach, side in zip(self.reach, (width, height), strict=True))
        from_mask = to_frame @ np.diag([x, y, 1.0]) @ _shift((1 - width) / 2, (1 - height) / 2)
        corners = from_mask @ np.array([[-1, width, -1, width], [-1, -1, height, height], [1, 1, 1, 1]])
        low, high = np.floor(corners.min(1)), np.ceil(corners.max(1)) + 1
        columns, rows = (
            slice(*(int(min(max(end[axis], 0), shape[1 - axis])) for end in (low, high))) for axis in (0, 1)
        )
        box = rows, columns
        alpha = _warped(self.mask, from_mask, box, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        if alpha.size and self.edge > 1:
            alpha = cv2.addWeighted(alpha, self.edge, alpha, 0, -127.5 * (self.edge - 1))
        return box, alpha


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def _warped(
    picture: np.ndarray, to_frame: np.ndarray, box: Box, interpolation: int, border: int
) -> np.ndarray:
    """The part of a frame in a box that the picture gives; empty where the box is."""
    rows, columns = box
    size = columns.stop - columns.start, rows.stop - rows.start
    if min(size) < 1:
        return np.empty((0, 0), np.uint8)
    matrix = (_shift(-columns.start, -rows.start) @ to_frame)[:2]
    return cv2.warpAffine(picture, matrix, size, flags=interpolation, borderMode=border)


@dataclass(frozen=True)
class Scene:
    """What there is to be seen, from time 0 to time 1.

    Attributes:
      size: side of the square frames, pixels.
      surfaces: from back to front.
      camera: its course; it starts at the middle of the frame.
      span: how much the age of all courses grows from time 0 to 1; it is 0 half-way.
      shutter: how long every frame is exposed, and exposures: how many pictures stand for that.
      fading: relative change of the brightness.
      noise: standard deviation, in levels of 255; independent in every frame, and seed: what it depends on.
    """

    size: int
    surfaces: tuple[Surface, ...]
    camera: Course
    span: float = 1.0
    shutter: float = 0.0
    exposures: int = 1
    fading: float = 0.0
    noise: float = 0.0
    seed: tuple[int, ...] = (0,)

    def draw(self, time: float) -> np.ndarray:
        """The frame at a time in [0, 1], uint8 [size, size, 3]."""
        if self.exposures == 1:
            frame: np.ndarray = self._exposure(time, cv2.INTER_CUBIC)
        else:
            total = np.zeros((self.size, self.size, 3), np.float32)
            for i in range(self.exposures):
                moment = time + self.shutter * ((i + 0.5) / self.exposures - 0.5)
                cv2.accumulate(self._exposure(moment, cv2.INTER_LINEAR), total)
            frame = total / self.exposures
        if self.exposures == 1 and not self.fading and not self.noise:
            return frame
        levels = frame * np.float32(1 + self.fading * (time - 0.5))
        if self.noise:
            rng = np.random.default_rng((*self.seed, round(time * 2**20)))
            start = rng.integers(len(_grain()) - levels.size)
            some = _grain()[start : start + levels.size].reshape(levels.shape)
            levels += np.float32(self.noise) * some
        return np.clip(levels + 0.5, 0, 255).astype(np.uint8)

    def _exposure(self, time: float, interpolation: int) -> np.ndarray:
        canvas = np.empty((self.size, self.size, 3), np.uint8)
        for surface, to_frame in zip(self.surfaces, self._places(time), strict=True):
            canvas = surface.painted(canvas, to_frame, interpolation)
        return canvas

    def _places(self, time: float) -> list[np.ndarray]:
        """Of every surface at a time: [3, 3], from its coordinates to those of the frame."""
        age, middle = self.span * (time - 0.5), (self.size - 1) / 2
        camera = self.camera.at(age) @ _shift(-middle, -middle)
        return [camera @ surface.course.at(age) for surface in self.surfaces]

    def truth(self, step: int = 1) -> np.ndarray:
        """The motion from time 0 to 1 of what the first [0] and the last frame [1] show.

        Args:
          step: from one pixel looked at to the next.

        Returns:
          float32 [2, 2, size / step, size / step]; rows and columns, in pixels. A pixel belongs to the
          surface that is at least half of it.
        """
        places = self._places(0.0), self._places(1.0)
        side = -(-self.size // step)
        axis = np.arange(side, dtype=np.float32) * step
        fields = np.empty((2, 2, side, side), np.float32)
        smaller = np.diag([1 / step, 1 / step, 1.0])
        for i, surface in enumerate(self.surfaces):
            first, last = places[0][i], places[1][i]
            moves = (last @ np.linalg.inv(first) - np.eye(3), np.eye(3) - first @ np.linalg.inv(last))
            for which, (place, move) in enumerate(zip((first, last), moves, strict=True)):
                (rows, columns), alpha = surface.cover(smaller @ place, (side, side))
                seen = True if alpha is None else alpha >= 128
                for component, (x, y, offset) in enumerate(move[1::-1].astype(np.float32)):
                    values = y * axis[rows, None] + (x * axis[columns] + offset)
                    if values.size:
                        np.copyto(fields[which, component, rows, columns], values, where=seen)
        return fields

    def greatest(self, step: int = 1) -> float:
        """The greatest displacement, in pixels, of anything that the first or the last frame shows."""
        return float(np.hypot(*self.truth(step).transpose(1, 0, 2, 3)).max())

    def triplet(self, time: float = 0.5) -> np.ndarray:
        """The first frame, the one at a time, and the last: uint8 [3, size, size, 3]."""
        return np.stack([self.draw(each) for each in (0.0, time, 1.0)])


@functools.cache
def _grain() -> np.ndarray:
    """Noise of unit variance, of which every frame takes a part: drawing it anew would take too long."""
    return np.random.default_rng(0).standard_normal(2**21, np.float32)


@dataclass(frozen=True)
class SceneSource:
    """Random scenes; item i is a function of the fields and of i alone.

    Attributes:
      size: side of the square frames in pixels, at most `LARGEST`.
      seed: of all random choices.
      motion: the greatest displacement of a scene is about log-uniform between 1 and this, in pixels.
      split: "train" or "val"; they share no photograph.
      length: how many items there are; they cost nothing until asked for.
      displacement: makes it this number of pixels in every scene, to half a percent.

    Raises:
      MediaError: a size, motion or displacement that cannot be drawn.
    """

    size: int
    seed: int = 0
    motion: float = 80.0
    split: str = "train"
    length: int = 1_000_000
    displacement: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= LARGEST:
            raise MediaError(f"scenes are drawn with sides of up to {LARGEST} pixels, not {self.size}")
        for name in ("motion", "displacement"):
            pixels = getattr(self, name)
            if pixels is not None and not 0 <= pixels <= MOST_MOTION * self.size:
                raise MediaError(
                    f"{name} of scenes is {pixels:g} pixels; frames of {self.size} pixels show at most "
                    f"{MOST_MOTION * self.size}, give less"
                )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Scene:
        for attempt in itertools.count():
            seed = self.seed, index, attempt
            rng = np.random.default_rng(seed)
            wanted = self.displacement or math.exp(rng.uniform(0, math.log(max(self.motion, 1))))
            scene = _random_scene(self.split, self.size, rng)
            if self.displacement:
                found = _moving_by(scene, wanted, step=1, tolerance=0.005, tries=8)
            else:
                found = _moving_by(scene, wanted, step=max(self.size // 32, 1), tolerance=0.2, tries=3)
            if found is not None:
                return _taken(found, wanted, seed, rng)
        raise AssertionError("unreachable")


def _moving_by(scene: Scene, wanted: float, *, step: int, tolerance: float, tries: int) -> Scene | None:
    """The scene with the span that gives a greatest displacement; None if that is not found soon."""
    span = wanted
    for _ in range(tries):
        scene = replace(scene, span=span)
        greatest = scene.greatest(step)
        if abs(greatest / wanted - 1) <= tolerance:
            return scene
        span = min(span * wanted / max(greatest, 1e-3), 3 * wanted)
    return None


def _taken(scene: Scene, displacement: float, seed: tuple[int, ...], rng: np.random.Generator) -> Scene:
    """The scene as a camera may take it."""
    blurred, fading, noisy = rng.random(3) < (0.25, 0.3, 0.5)
    shutter = min(0.5, MOST_BLUR / displacement) * rng.uniform() * blurred
    return replace(
        scene,
        shutter=shutter,
        exposures=1 + math.ceil(shutter * displacement / BLUR_STEP),
        fading=rng.uniform(-0.06, 0.06) * fading,
        noise=rng.uniform(0, 6) * noisy,
        seed=seed,
    )


def _random_scene(split: str, size: int, rng: np.random.Generator) -> Scene:
    middle = ((size - 1) / 2,) * 2
    panning, still = rng.random(2) < (0.5, 0.3)
    camera = _course(middle, size / 2, rng) if panning else Course(middle)
    backdrop = Course(middle) if still else _course(middle, size / 2, rng)
    surfaces = [_surface(split, backdrop, rng)]
    for _ in range(rng.integers(1, MOST_SURFACES + 1)):
        radius = size * rng.uniform(0.08, 0.35)
        surface = _surface(split, _course(tuple(rng.uniform(0, size, 2)), radius, rng), rng)
        shape = _bars if rng.random() < 0.15 else _blob
        surfaces.append(shape(surface, radius, rng))
    return Scene(size, tuple(surfaces), camera)


def _course(centre: tuple[float, ...], radius: float, rng: np.random.Generator) -> Course:
    """Up to one pixel a span, and no more than a third of that at the rim by turning and by growing."""
    direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1)
    return Course(
        (centre[0], centre[1]),
        (speed * math.cos(direction), speed * math.sin(direction)),
        spin=rng.uniform(-0.33, 0.33) / radius,
        growth=rng.uniform(-0.25, 0.25) / radius,
    )


def _surface(split: str, course: Course, rng: np.random.Generator) -> Surface:
    pictures = photographs(split)
    texture = pictures[rng.integers(len(pictures))]
    anchor = rng.uniform(0, (texture.shape[1], texture.shape[0]))
    angle = rng.uniform(-np.pi, np.pi) * (rng.random() < 0.5)
    return Surface(texture, tuple(anchor), replace(course, angle=angle, log_scale=rng.uniform(0, 0.4)))


def _blob(surface: Surface, radius: float, rng: np.random.Generator) -> Surface:
    own = radius / math.exp(surface.course.log_scale)  # in pixels of the texture
    return replace(surface, mask=np.asarray(blob(rng)), reach=(own, own), edge=2 * radius / MASK_SIDE)


def _bars(surface: Surface, radius: float, rng: np.random.Generator) -> Surface:
    """One bar, or several in parallel, each 2 to 6 pixels thick."""
    thickness, gap = rng.integers(2, 7), rng.integers(8, 31)
    count = rng.integers(1, 8) if rng.random() < 0.5 else 1
    across = (np.arange(count * (thickness + gap) - gap) % (thickness + gap) < thickness) * np.uint8(255)
    mask = np.repeat(across[:, None], round(4 * radius), axis=1)
    magnified = 2 * math.exp(surface.course.log_scale)
    return replace(surface, mask=mask, reach=(mask.shape[1] / magnified, mask.shape[0] / magnified))
