"""`interpolate_video` from end to end, with the model that averages."""

import os
import threading
from fractions import Fraction as F

import jax
import numpy as np
import pytest

import vfijax.video.interpolating as interpolating
from vfijax import pairs
from vfijax.media import Frame, MediaError, VideoReader, VideoWriter, find_images, read_image, write_image
from vfijax.models import MODELS
from vfijax.params import ModelParams
from vfijax.video import interpolate_video


@pytest.fixture
def run(tmp_path, blend):
    def run(source, name="out.mp4", **options):
        return interpolate_video(source, tmp_path / name, blend, **options)

    return run


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("rate", [F(24000, 1001), F(25), F(30)])
def test_a_video_gets_factor_times_the_frames_at_exact_times(make_clip, run, probe, rate, factor):
    summary = run(make_clip(rate=rate, frames=4), factor=factor)
    result = probe(summary.target)
    assert result.times == [i / (rate * factor) for i in range(3 * factor + 1)]
    assert result.rate == rate * factor
    assert abs(result.duration - 4 / rate) < 1 / rate
    assert (summary.source_frames, summary.frames, summary.rate) == (4, 3 * factor + 1, rate * factor)
    assert summary.duration == result.duration


def test_variable_source_times_are_kept(make_clip, run, probe):
    times = [0, 512, 1800, 2000, 9000]
    summary = run(make_clip(frames=5, times=times, time_base=F(1, 12800)), factor=4)
    assert probe(summary.target).times[::4] == [F(t, 12800) for t in times]


def test_new_frames_lie_between_and_source_frames_stay(make_clip, run, probe):
    source = make_clip(pixels="yuv444p", frames=4)
    result = probe(run(source, crf=0).target)
    given = probe(source)
    for frame, kept in zip(given.images, result.images[::2], strict=True):
        assert np.abs(frame.astype(int) - kept).mean() < 1.5
    for first, last, new in zip(given.images, given.images[1:], result.images[1::2], strict=False):
        assert np.abs((first.astype(float) + last) / 2 - new).mean() < 1.5


def test_source_frames_and_new_frames_have_the_same_colours(make_clip, run, probe):
    """On a still video any difference between neighbouring frames would be seen as flicker."""
    source = make_clip(frames=4)
    still = probe(source).images[0]
    with (
        VideoReader(source) as reader,
        VideoWriter(source.with_name("still.mp4"), reader.info, crf=0) as writer,
    ):
        for i in range(4):
            writer.write(Frame(still, F(i, 25), F(1, 25)))
    images = probe(run(source.with_name("still.mp4"), crf=0).target).images
    assert len(images) == 7
    for image in images[1:]:
        assert np.abs(image.astype(int) - images[0]).max() <= 1


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.mkv", "libopus")])
def test_audio_packets_are_copied_as_they_are(make_clip, run, probe, name, codec):
    source = make_clip(name=name, audio=codec, frames=20)
    summary = run(source, f"out.{name[2:]}")
    assert probe(source).audio
    assert probe(summary.target).audio == probe(source).audio
    assert "copied" in summary.audio


def test_audio_is_left_out_when_asked(make_clip, run, probe):
    summary = run(make_clip(audio="aac"), audio=False)
    assert not probe(summary.target).audio
    assert "left out as asked" in summary.audio


@pytest.mark.parametrize("factor", [2, 4])
def test_slow_motion_keeps_the_rate_stretches_time_and_drops_audio(make_clip, run, probe, factor):
    rate = F(30000, 1001)
    summary = run(make_clip(rate=rate, audio="aac", frames=5), factor=factor, slowmo=True)
    result = probe(summary.target)
    assert result.times == [i / rate for i in range(4 * factor + 1)]
    assert result.rate == rate
    assert not result.audio
    assert "does not fit slow motion" in summary.audio


def test_rotation_pixel_aspect_and_colour_tags_are_carried(make_clip, run, probe):
    source = make_clip(rotation=90, pixel_aspect=F(4, 3), matrix=1, range=2)
    given, result = probe(source), probe(run(source).target)
    assert result.frame.rotation == given.frame.rotation == 90
    assert result.pixel_aspect == F(4, 3)
    assert (result.frame.colorspace, result.frame.color_range) == (1, 2)


def test_an_untagged_source_is_tagged_with_what_was_assumed(make_clip, run, probe):
    frame = probe(run(make_clip(tagged=False)).target).frame
    assert (frame.colorspace, frame.color_range) == (6, 1)


@pytest.mark.parametrize("pixels", ["gray", "yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_pixel_formats(make_clip, run, probe, pixels):
    result = probe(run(make_clip(pixels=pixels, frames=3)).target)
    assert len(result.images) == 5
    if pixels == "gray":
        assert np.ptp(result.images[1].astype(int), axis=-1).max() <= 2


def test_odd_sizes(make_clip, run, probe):
    result = probe(run(make_clip(width=51, height=37, pixels="yuv444p", frames=3)).target)
    assert {image.shape for image in result.images} == {(37, 51, 3)}


def test_one_frame_is_not_enough(make_clip, run, tmp_path):
    with pytest.raises(MediaError, match=r"clip\.mp4: has one frame; two are needed"):
        run(make_clip(frames=1))
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_progress_counts_up_to_the_number_of_frames(make_clip, run):
    calls = []
    run(make_clip(frames=5), factor=4, progress=lambda *call: calls.append(call))
    assert calls == [(i, 17) for i in range(1, 18)]


# What appears under the final name, and when


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_an_interrupted_run_leaves_nothing(make_clip, run, tmp_path, failure, name):
    def interrupt(done, total):
        if done == 3:
            raise failure

    source, threads = make_clip(frames=30), set(threading.enumerate())
    with pytest.raises(failure):
        run(source, name, progress=interrupt)
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert set(threading.enumerate()) == threads


def test_an_older_result_is_replaced_only_by_a_complete_one(make_clip, run, tmp_path, probe):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"older")
    source = make_clip(frames=30, width=160, height=120, options=(("movflags", "faststart"),))
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="truncated"):
        run(source)
    assert target.read_bytes() == b"older"
    source.write_bytes(whole)
    run(source, progress=lambda done, total: target.read_bytes() == b"older" or pytest.fail("replaced early"))
    assert len(probe(target).images) == 59


def test_a_model_that_fails_leaves_nothing(make_clip, run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("device lost")

    monkeypatch.setattr(interpolating, "interpolate_n", fail)
    with pytest.raises(RuntimeError, match="device lost"):
        run(make_clip())
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_a_full_device_is_reported_with_the_frame_size(make_clip, run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    monkeypatch.setattr(interpolating, "interpolate_n", fail)
    with pytest.raises(MemoryError, match="frames of 64x48 need more memory"):
        run(make_clip())
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_the_source_is_never_overwritten(make_clip, run):
    source = make_clip()
    before = source.read_bytes()
    with pytest.raises(MediaError, match="is the source itself"):
        run(source, "clip.mp4")
    assert source.read_bytes() == before


# Folders of images


@pytest.fixture
def folder(tmp_path):
    """Three images whose alphabetical order is not their natural one."""
    (tmp_path / "in").mkdir()
    for i, name in enumerate(("f1.png", "f2.png", "f10.png")):
        write_image(tmp_path / "in" / name, np.full((33, 47, 3), 60 * i, np.uint8))
    return tmp_path / "in"


def test_a_folder_becomes_a_folder(folder, run):
    summary = run(folder, "out", factor=4)
    images = find_images(summary.target)
    assert [p.name for p in images] == [f"{i:06d}.png" for i in range(9)]
    assert [int(read_image(p).mean()) for p in images] == [15 * i for i in range(9)]
    assert read_image(images[0]).shape == (33, 47, 3)


@pytest.mark.parametrize(("fps", "rate"), [(None, F(24)), (F(30000, 1001), F(30000, 1001))])
def test_a_folder_becomes_a_video_at_the_given_rate(folder, run, probe, fps, rate):
    result = probe(run(folder, fps=fps).target)
    assert result.times == [i / (2 * rate) for i in range(5)]
    assert result.images[0].shape == (33, 47, 3)


def test_a_video_becomes_a_folder_of_upright_images(make_clip, run, probe):
    source = make_clip(rotation=90, frames=3, pixels="yuv444p")
    images = find_images(run(source, "frames").target)
    assert len(images) == 5
    turned = np.rot90(probe(source).images[0])
    assert np.abs(read_image(images[0]).astype(int) - turned).mean() < 2


def test_an_empty_target_folder_is_filled_and_another_refused(folder, run, tmp_path):
    (tmp_path / "out").mkdir()
    assert len(find_images(run(folder, "out").target)) == 5
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(MediaError, match="exists and is no empty folder"):
        run(folder, "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_images_of_different_sizes_name_the_odd_one(folder, run, tmp_path):
    write_image(folder / "f11.png", np.zeros((32, 47, 3), np.uint8))
    with pytest.raises(MediaError, match=r"f11\.png: is 47x32, the images before it are 47x33"):
        run(folder, "out")
    assert os.listdir(tmp_path) == ["in"]


def test_a_rate_for_a_video_is_refused(make_clip, run):
    with pytest.raises(ValueError, match="fps is for folders of images"):
        run(make_clip(), fps=F(30))


def test_a_rate_of_zero_is_refused(folder, run):
    with pytest.raises(ValueError, match="fps is 0; give a positive number"):
        run(folder, fps=F(0))


# ------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize("factor", [2, 4])
def test_videos_whose_frames_are_padded_to_one_size_share_a_program(make_clip, tmp_path, monkeypatch, factor):
    traced = []

    def average(params, f0, f1, **options):
        traced.append(f0.shape)
        return (f0 + f1) / 2, {}

    monkeypatch.setattr(pairs, "apply_network", average)
    jax.clear_caches()
    params = ModelParams({}, MODELS["adacof"])
    for width, height in [(36, 40), (52, 64), (64, 64)]:
        source = make_clip(name=f"{width}.mp4", width=width, height=height, frames=3)
        interpolate_video(source, tmp_path / f"made{width}", params, factor=factor)
        made = find_images(tmp_path / f"made{width}")
        assert len(made) == 2 * factor + 1 and read_image(made[1]).shape == (height, width, 3)
    assert traced == [(1, 64, 64, 3)]
