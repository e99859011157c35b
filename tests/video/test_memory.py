"""Peak memory does not grow with the length of the video."""

import subprocess
import sys

import pytest

INTERPOLATE = """
import sys
import vfijax
from vfijax.video import interpolate_video
interpolate_video(sys.argv[1], sys.argv[2], vfijax.create("blend", 0), factor=2)
"""
# A network that compiles in a moment; what streams through is what counts.
ZOOM = """
import sys
import vfijax
from vfijax.models import narrow
from vfijax.video import zoom_video
model = vfijax.create(narrow("zooming_slowmo", 8, blocks=1, ablation="a"), 0)
zoom_video(sys.argv[1], sys.argv[2], model, tile=64, tile_overlap=16, cuts=False)
"""
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(code, source, target) -> int:
    done = subprocess.run(
        [sys.executable, "-c", code + PEAK, source, target], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a fresh process is read from /proc")
def test_four_times_the_frames_take_the_same_memory(make_clip, tmp_path):
    """480 frames of 320x240 held in memory would be 110 MB, beside about 290 MB for the whole process."""
    clips = [make_clip(name=f"{n}.mp4", frames=n, width=320, height=240, audio="aac") for n in (60, 240)]
    short, long = (peak(INTERPOLATE, clip, tmp_path / "out.mp4") for clip in clips)
    assert long < 1.1 * short


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a fresh process is read from /proc")
def test_zooming_three_times_the_frames_takes_the_same_memory(make_clip, tmp_path):
    """240 more frames of 384x256 held in memory would be 71 MB; the encoder fills its own with the first."""
    clips = [make_clip(name=f"{n}.mp4", frames=n, width=96, height=64) for n in (60, 180)]
    short, long = (peak(ZOOM, clip, tmp_path / "out.mp4") for clip in clips)
    assert long - short < 24_000  # kB
