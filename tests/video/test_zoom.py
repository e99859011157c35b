"""`zoom_video` and `vfijax zoom` from end to end."""

import os
import threading
from fractions import Fraction as F

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from vfijax import clips
from vfijax.checkpoint import save
from vfijax.cli import main
from vfijax.media import MediaError, VideoReader, find_images, read_image, write_image
from vfijax.models import MODELS, narrow
from vfijax.params import ModelParams
from vfijax.video import interpolate_video, zoom_video, zooming

SMALL = {"width": 24, "height": 16}
DECAY = 0.4  # of the stand-in `recurrent`, per output


@pytest.fixture(scope="session")
def model():
    """The ablation without alignment and memory, which compiles in a moment; its output is seldom clipped."""
    params = vfijax.create(narrow("zooming_slowmo", 8, blocks=1, ablation="a"), 0)
    last = params.tree["frames"]["last"]
    last = {"kernel": 4 * last["kernel"], "bias": last["bias"] * 0 + 0.5}
    return ModelParams({**params.tree, "frames": {**params.tree["frames"], "last": last}}, params.config)


@pytest.fixture
def run(tmp_path, model):
    def run(source, name="out.mp4", params=model, **options):
        return zoom_video(source, tmp_path / name, params, **options)

    return run


def repeated(images):
    """[..., H, W, 3] to four times the size."""
    return np.repeat(np.repeat(images, 4, -3), 4, -2)


@pytest.fixture
def plain(monkeypatch):
    """Stands in for the network: repeats pixels, averages frames. Gives the sizes of all clips it saw."""
    calls = []

    def zoom(params, frames):
        calls.append(frames.shape)
        return np.rint(doubled(repeated(frames.astype(float)))).astype(np.uint8)

    monkeypatch.setattr(zooming, "zoom", zoom)
    return calls


def doubled(images):
    """The averages of neighbours between the images."""
    result = np.empty((2 * len(images) - 1, *images.shape[1:]))
    result[::2], result[1::2] = images, (images[1:] + images[:-1]) / 2
    return result


def recurrent(params, frames):
    """Stands in for the network where its reach counts: states run over time in both directions, and sums
    over 9x9 pixels see zeros beyond the border."""
    x = doubled(repeated(frames.astype(float)))
    padded = np.pad(x, ((0, 0), (16, 16), (16, 16), (0, 0)))
    x = sum(np.roll(padded, (4 * i, 4 * j), (1, 2)) for i in range(-4, 5) for j in range(-4, 5)) / 81
    x, out = x[:, 16:-16, 16:-16], 0
    for direction in (1, -1):
        state, states = np.zeros_like(x[0]), []
        for features in x[::direction]:
            state = DECAY * state + (1 - DECAY) * features
            states.append(state)
        out = out + np.stack(states[::direction]) / 2
    return np.rint(out).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """`folder(levels)` writes flat pictures of these grey levels."""

    def folder(levels):
        (tmp_path / "in").mkdir()
        for i, level in enumerate(levels):
            write_image(tmp_path / "in" / f"{i}.png", np.full((16, 24, 3), level, np.uint8))
        return tmp_path / "in"

    return folder


def levels(folder):
    return [int(read_image(path).mean()) for path in find_images(folder)]


# Frames, times, and what is carried over


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 7, 9])
def test_n_frames_become_2n_minus_1_at_exact_times(make_clip, run, probe, length):
    rate = F(24000, 1001)
    summary = run(make_clip(**SMALL, rate=rate, frames=length))
    result = probe(summary.target)
    assert result.times == [i / (2 * rate) for i in range(2 * length - 1)]
    assert result.rate == 2 * rate
    assert {image.shape for image in result.images} == {(64, 96, 3)}
    assert (summary.source_frames, summary.frames, summary.dropped) == (length, 2 * length - 1, 0)
    assert summary.duration == result.duration


@pytest.mark.parametrize("length", [2, 4, 5, 8, 11])
def test_frames_come_in_order_whatever_the_windows(folder, run, plain, length):
    given = [5 * i for i in range(length)]
    summary = run(folder(given), "out", window=4, overlap=2)
    assert summary.cuts == ()
    made = levels(summary.target)
    assert made[::2] == given
    assert all(a < m < b for a, m, b in zip(given, made[1::2], given[1:], strict=False))
    assert {shape[0] for shape in plain} == {min(4, length)}


def test_slow_motion_keeps_the_rate_and_drops_audio(make_clip, run, probe, plain):
    summary = run(make_clip(**SMALL, audio="aac"), slowmo=True)
    result = probe(summary.target)
    assert result.times == [F(i, 25) for i in range(11)]
    assert not result.audio
    assert "does not fit slow motion" in summary.audio


def test_audio_rotation_pixel_aspect_and_colour_tags_are_carried(make_clip, run, probe, plain):
    source = make_clip(**SMALL, audio="aac", rotation=90, pixel_aspect=F(4, 3), matrix=1, range=2)
    given, result = probe(source), probe(run(source).target)
    assert given.audio == result.audio != []
    assert result.frame.rotation == given.frame.rotation == 90
    assert result.pixel_aspect == F(4, 3)
    assert (result.frame.colorspace, result.frame.color_range) == (1, 2)


def test_variable_times_and_odd_sizes(make_clip, run, probe):
    times = [0, 512, 1800, 2000, 9000]
    source = make_clip(frames=5, times=times, time_base=F(1, 12800), width=21, height=17, pixels="yuv444p")
    result = probe(run(source).target)
    assert result.times[::2] == [F(t, 12800) for t in times]
    assert result.images[0].shape == (68, 84, 3)


def test_progress_counts_up_to_the_number_of_frames(make_clip, run, plain):
    calls = []
    run(make_clip(**SMALL, frames=7), progress=lambda *call: calls.append(call))
    assert calls == [(i, 13) for i in range(1, 14)]


# Windows, cuts and tiles against the whole


def given_and_made(source, target):
    with VideoReader(source) as reader:
        given = np.stack([frame.image for frame in reader])
    return given, np.stack([read_image(path) for path in find_images(target)]).astype(int)


def test_a_clip_of_one_window_is_what_the_network_makes_of_it(make_clip, run, model):
    source = make_clip(**SMALL, frames=4)
    given, made = given_and_made(source, run(source, "out", cuts=False).target)
    expected = np.asarray(vfijax.zoom(model, given))
    assert np.ptp(expected, axis=0).mean() > 1  # there is something to confuse
    assert np.array_equal(made, expected)


def test_outputs_are_taken_from_the_window_that_knows_more_of_both_sides(make_clip, run, monkeypatch):
    """Six frames in windows of four: frames 0 to 3 and 2 to 5, joined in the middle."""
    monkeypatch.setattr(zooming, "zoom", recurrent)
    source = make_clip(**SMALL, frames=6)
    given, made = given_and_made(source, run(source, "out", cuts=False).target)
    first, second = (recurrent(None, given[s : s + 4]) for s in (0, 2))
    assert not np.array_equal(first[4:], second[:3])
    assert np.array_equal(made, np.concatenate([first[:5], second[1:]]))


@pytest.mark.parametrize(("window", "overlap"), [(4, 2), (6, 4), (8, 6)])
def test_the_more_windows_share_the_nearer_they_are_to_the_whole(
    make_clip, run, monkeypatch, window, overlap
):
    """An output has at least overlap - 1 others of its window on each side, so many steps old are the states
    that are missing."""
    monkeypatch.setattr(zooming, "zoom", recurrent)
    source = make_clip(**SMALL, frames=20)
    target = run(source, "out", cuts=False, window=window, overlap=overlap).target
    given, made = given_and_made(source, target)
    error = np.abs(made - recurrent(None, given))
    assert error.max() <= 255 / 2 * DECAY**overlap + 1
    assert error[[0, -1]].max() <= 255 / 2 * DECAY ** (2 * window - 2) + 1


def test_tiles_are_equal_to_the_whole_where_they_share_more_than_the_network_sees(
    make_clip, run, monkeypatch
):
    monkeypatch.setattr(zooming, "zoom", recurrent)
    source = make_clip(width=72, height=56, frames=2)
    options = {"tile": 32, "cuts": False}
    given, made = given_and_made(source, run(source, "a", tile_overlap=16, **options).target)
    whole = recurrent(None, given)
    assert np.abs(made - whole).max() <= 1  # rounding
    _, made = given_and_made(source, run(source, "b", tile_overlap=4, **options).target)
    assert np.abs(made - whole).max() > 10
    assert np.abs(made - whole)[:, : 4 * 12, : 4 * 12].max() <= 1  # away from the joints


@pytest.mark.parametrize(("tile", "parts"), [(16, 18), (0, 1), (None, 1), (64, 2)])
def test_tiles_cover_frames_of_any_size(make_clip, run, plain, tile, parts):
    source = make_clip(width=66, height=34, frames=2, pixels="yuv444p")
    summary = run(source, "out", tile=tile, tile_overlap=4, cuts=False)
    given, made = given_and_made(source, summary.target)
    assert np.array_equal(made[::2], repeated(given))
    assert len(plain) == parts


def test_no_window_reaches_over_a_cut_and_the_frame_before_it_is_held(folder, run, plain):
    summary = run(folder([10, 14, 18, 200, 210, 90, 10, 14]), "out")
    assert summary.cuts == (3, 5, 6)
    assert levels(summary.target) == [10, 12, 14, 16, 18, 18, 200, 205, 210, 210, 90, 90, 10, 12, 14]
    assert [shape[0] for shape in plain] == [3, 2, 2, 2]  # a scene of one frame is given twice


@pytest.mark.parametrize("greys", [(30, 34), (30, 40, 30), (0, 12, 24, 36)])
def test_small_changes_of_flat_pictures_are_no_cuts(folder, run, plain, greys):
    assert run(folder(greys), "out").cuts == ()


def test_cuts_are_passed_over_when_asked(folder, run, plain):
    summary = run(folder([10, 14, 200, 210]), "out", cuts=False)
    assert summary.cuts == ()
    assert levels(summary.target)[3] == 107


@pytest.mark.parametrize(("length", "kept"), [(4, 4), (6, 4), (7, 7), (8, 7)])
def test_published_windows_drop_what_they_drop_and_say_so(folder, run, plain, length, kept):
    summary = run(folder([5 * i for i in range(length)]), "out", published=True)
    assert len(find_images(summary.target)) == 2 * kept - 1
    assert (summary.source_frames, summary.dropped) == (kept, length - kept)
    assert summary.duration == F(2 * kept - 1, 48)
    assert len(plain) == (kept - 1) // 3


# Mistakes, and what they leave behind


MISTAKES = {
    "a window of two": ({"window": 2}, "window is 2; give 3 frames or more"),
    "an overlap of one": ({"overlap": 1}, "overlap is 1; give 2 frames"),
    "an overlap as long as the window": ({"window": 5, "overlap": 5}, "overlap is 5; .* to 4"),
    "an overlap of published windows": ({"published": True, "overlap": 2}, "overlap is 2, but published"),
    "a published window of one": ({"published": True, "window": 1}, "window is 1; give 2"),
    "too large a published window": (
        {"published": True, "window": 8},
        r"clip\.mp4: has 6 frames; .* takes 8",
    ),
    "a tile off the grid": ({"tile": 30}, "tile is 30; give a multiple of 4"),
    "too large a share of a tile": ({"tile": 32, "tile_overlap": 20}, "tile overlap is 20; half the tile"),
    "a rate of a video": ({"fps": F(30)}, "fps is for folders of images"),
    "a suffix": ({"name": "out.gif"}, r"cannot write \.gif video"),
    "the source as target": ({"name": "clip.mp4"}, "is the source itself"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_and_nothing_is_left(make_clip, run, plain, tmp_path, case):
    options, message = MISTAKES[case]
    with pytest.raises(ValueError, match=message):
        run(make_clip(**SMALL), **options)
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_one_frame_is_not_enough(make_clip, run, tmp_path):
    with pytest.raises(MediaError, match=r"clip\.mp4: has one frame; two are needed"):
        run(make_clip(**SMALL, frames=1))
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_an_interrupted_run_leaves_nothing(make_clip, run, plain, tmp_path, failure, name):
    def interrupt(done, total):
        if done == 3:
            raise failure

    source, threads = make_clip(**SMALL, frames=30), set(threading.enumerate())
    with pytest.raises(failure):
        run(source, name, progress=interrupt)
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert set(threading.enumerate()) == threads


def test_an_interruption_need_not_wait_for_the_other_tiles(make_clip, run, plain, monkeypatch):
    """The encoder fails while the second window is being made; of its many tiles few are begun after that."""
    failed, after = threading.Event(), []
    zoom = zooming.zoom

    def slow(params, frames):
        if len(plain) >= 60:
            failed.wait(10)
            after.append(1)
        return zoom(params, frames)

    def fail(*_):
        failed.set()
        raise RuntimeError("disk lost")

    monkeypatch.setattr(zooming, "zoom", slow)
    with pytest.raises(RuntimeError, match="disk lost"):
        run(make_clip(width=96, height=64, frames=30), tile=16, tile_overlap=4, progress=fail)
    assert len(after) < 10


def test_a_full_device_is_reported_with_the_size_and_a_way_out(make_clip, run, tmp_path, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    monkeypatch.setattr(zooming, "zoom", fail)
    with pytest.raises(MemoryError, match=r"frames of 24x16 need more memory .* give smaller tiles"):
        run(make_clip(**SMALL))
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_models_for_something_else_are_refused_both_ways(make_clip, tmp_path, model, blend):
    source = make_clip(**SMALL)
    with pytest.raises(ValueError, match=r"the model is blend, .* `vfijax interpolate`"):
        zoom_video(source, tmp_path / "out.mp4", blend)
    with pytest.raises(ValueError, match=r"the model is zooming_slowmo, .* `vfijax zoom`"):
        interpolate_video(source, tmp_path / "out.mp4", model)
    assert os.listdir(tmp_path) == ["clip.mp4"]


# The command


@pytest.fixture
def checkpoint(tmp_path, model):
    save(tmp_path / "model", model)
    return tmp_path / "model"


def test_the_command_zooms_and_sums_up(make_clip, tmp_path, checkpoint, probe, plain, capsys):
    source = make_clip(**SMALL, frames=6)
    options = ["--model", str(checkpoint), "--window", "4", "--tile", "16", "--tile-overlap", "8"]
    assert main(["zoom", str(source), str(tmp_path / "out.mp4"), *options]) == 0
    assert "out.mp4: 11 frames from 6, 50 frames/s" in capsys.readouterr().out
    assert len(probe(tmp_path / "out.mp4").images) == 11


def test_the_command_says_what_was_cut_and_what_was_dropped(folder, tmp_path, checkpoint, plain, capsys):
    source = folder([10, 20, 200, 210, 220])
    arguments = ["zoom", str(source), "--model", str(checkpoint)]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    assert "scene cuts at source frames 2;" in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / "b"), "--published-windows"]) == 0
    assert "the last 1 source frames dropped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--model is missing: get published weights with `vfijax fetch zooming_slowmo`"),
        (["--model", "blend"], "the model is blend"),
        (["--model", "none"], "--model none: no such checkpoint"),
        (["--fps", "abc"], "--fps abc"),
        (["--window", "1"], "window is 1"),
    ],
)
def test_a_mistake_is_one_line(make_clip, tmp_path, checkpoint, capsys, options, message):
    model = [] if not options or "--model" in options else ["--model", str(checkpoint)]
    assert main(["zoom", str(make_clip(**SMALL)), str(tmp_path / "out.mp4"), *options, *model]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("vfijax: error: ") and errors.count("\n") == 1
    assert message in errors


# Programs


def test_videos_whose_frames_are_padded_to_one_size_share_a_program(make_clip, tmp_path, monkeypatch):
    traced = []

    def repeated(params, frames, **options):
        traced.append(frames.shape)
        return jnp.repeat(jnp.repeat(jnp.repeat(frames, 4, -2), 4, -3), 2, -4)[..., 1:, :, :, :]

    monkeypatch.setattr(clips, "apply_to_clip", repeated)
    jax.clear_caches()
    params = ModelParams({}, MODELS["zooming_slowmo"])
    for width, height in [(30, 22), (32, 24), (30, 24)]:
        source = make_clip(name=f"{width}x{height}.mp4", width=width, height=height, frames=4)
        zoom_video(source, tmp_path / f"{width}x{height}", params, cuts=False)
    assert traced == [(1, 4, 24, 32, 3)]
