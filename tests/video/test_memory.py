"""Peak memory does not grow with the length of the video."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Prints the process's peak memory in kB after 50 frames of the source, and at the end. The encoder fills its
# own memory with the first frames.
PEAKS = """
import sys
import vfijax
from vfijax.models import narrow
from vfijax.video import interpolate_video, zoom_video

def peaks(done, total):
    if done in (100, total):
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
# Networks that compile in a moment, if at all; what streams through is what counts.
RUNS = {
    "interpolating": 'interpolate_video(*sys.argv[1:], vfijax.create("blend", 0), factor=2, progress=peaks)',
    "zooming": """
model = vfijax.create(narrow("zooming_slowmo", 8, blocks=1, ablation="a"), 0)
zoom_video(*sys.argv[1:], model, tile=64, tile_overlap=16, cuts=False, progress=peaks)
""",
}
# What is freed goes back at once, so that the peak is of what is held and not of how it lies in memory.
RETURNED = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a fresh process is read from /proc")
@pytest.mark.parametrize(("run", "width", "height"), [("interpolating", 384, 256), ("zooming", 96, 64)])
def test_four_times_the_frames_take_the_same_memory(run, width, height, make_clip, tmp_path):
    """The 259 further frames of the result, 384x256 in both, would be 76 MB."""
    clip = make_clip(frames=180, width=width, height=height, audio="aac")
    done = subprocess.run(
        [sys.executable, "-c", PEAKS + RUNS[run], clip, tmp_path / "out.mp4"],
        env={**os.environ, **RETURNED},
        capture_output=True,
        text=True,
        check=True,
    )
    early, late = map(int, done.stdout.split())
    assert late - early < 24_000  # kB
