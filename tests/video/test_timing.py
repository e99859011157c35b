from fractions import Fraction as F
from itertools import count, pairwise

import pytest

from vfijax.video.timing import Timing

SOURCES = {  # times of the source frames, duration of the last one
    "25 per second": ([F(i, 25) for i in range(5)], F(1, 25)),
    "film": ([F(1001 * i, 24000) for i in range(4)], F(1001, 24000)),
    "variable": ([F(0), F(1, 30), F(1, 10), F(1, 2)], F(1, 30)),
    "last frame held": ([F(0), F(1, 10), F(2, 10)], F(5)),
    "starts late": ([F(7, 5), F(8, 5), F(9, 5)], F(1, 5)),
}


def schedule(timing: Timing, times: list[F], duration: F | None) -> list[tuple[F, F]]:
    return list(timing.schedule((time, duration) for time in times))


@pytest.fixture(params=SOURCES)
def source(request):
    return SOURCES[request.param]


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_source_frames_keep_their_times_and_new_ones_are_equally_spaced(source, factor):
    times, duration = source
    made = [time for time, _ in schedule(Timing(factor), times, duration)]
    assert made[::factor] == times
    assert len(made) == Timing(factor).frames(len(times))
    for start, end, i in zip(times, times[1:], range(len(times)), strict=False):
        between = made[i * factor : (i + 1) * factor]
        assert between == [start + (end - start) * k / factor for k in range(factor)]


@pytest.mark.parametrize("slowmo", [False, True])
@pytest.mark.parametrize("factor", [2, 4])
def test_every_frame_lasts_until_the_next(source, factor, slowmo):
    entries = schedule(Timing(factor, slowmo), *source)
    for (time, lasting), (following, _) in pairwise(entries):
        assert time + lasting == following


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_duration_shrinks_by_less_than_one_source_frame(source, factor):
    times, duration = source
    time, lasting = schedule(Timing(factor), times, duration)[-1]
    lost = times[-1] + duration - (time + lasting)
    assert 0 <= lost < times[-1] - times[-2]


def test_a_constant_rate_stays_constant_to_the_last_frame():
    entries = schedule(Timing(4), *SOURCES["film"])
    assert {lasting for _, lasting in entries} == {F(1001, 96000)}


def test_a_held_last_frame_stays_held():
    assert schedule(Timing(2), *SOURCES["last frame held"])[-1][1] == 5 - F(1, 20)


def test_an_unknown_last_duration_is_that_of_the_frame_before():
    times, _ = SOURCES["variable"]
    assert schedule(Timing(2), times, None)[-1] == (F(1, 2), F(2, 5) / 2)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_slow_motion_stretches_time_about_the_first_frame(source, factor):
    times, duration = source
    made = [time for time, _ in schedule(Timing(factor, slowmo=True), times, duration)]
    assert made[::factor] == [times[0] + (time - times[0]) * factor for time in times]


@pytest.mark.parametrize("slowmo", [False, True])
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_all_times_are_multiples_of_the_time_base(factor, slowmo):
    base, times = F(1, 90000), [F(t, 90000) for t in (0, 3003, 7000, 7001)]
    timing = Timing(factor, slowmo)
    for time, _ in schedule(timing, times, F(1, 90000) * 3003):
        assert (time / timing.time_base(base)).denominator == 1


def test_rates_are_multiplied_or_kept():
    rate = F(24000, 1001)
    assert Timing(4).rate(rate) == F(96000, 1001)
    assert Timing(4, slowmo=True).rate(rate) == rate


@pytest.mark.parametrize("factor", [1, 0, -2])
def test_a_factor_below_two_is_refused(factor):
    with pytest.raises(ValueError, match=f"factor is {factor}; give 2, 4, 8"):
        Timing(factor)


def test_the_schedule_of_a_stream_reads_only_what_it_needs():
    moments = count()
    entries = Timing(4).schedule((F(i, 25), None) for i in moments)
    assert [next(entries)[0] for _ in range(9)] == [F(i, 100) for i in range(9)]
    assert next(moments) == 4


def test_one_frame_has_no_schedule():
    with pytest.raises(ValueError, match="one source frame is given; two are needed"):
        schedule(Timing(2), [F(0)], None)
