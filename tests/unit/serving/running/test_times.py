from __future__ import annotations

from serving.running.times import MIN_CALLS, TRY_EVERY, WINDOW, UsualTime


def after(*seconds: float) -> UsualTime:
    usual = UsualTime()
    for one in seconds:
        usual.add(one)
    return usual


def test_nothing_is_refused_before_enough_is_known() -> None:
    usual = after(*[9.0] * (MIN_CALLS - 1))
    assert usual.fits(0.001)
    usual.add(9.0)
    assert [usual.fits(0.001) for _ in range(3)] == [True, False, False], "the first one is tried"
    assert usual.fits(9.0)


def test_a_few_slow_calls_of_a_new_process_refuse_nothing() -> None:
    cold = after(9.0, 9.0, *[0.001] * (MIN_CALLS - 2))
    assert [cold.fits(0.1) for _ in range(3)] == [True] * 3
    cold.add(9.0)
    assert [cold.fits(0.1) for _ in range(3)] == [True, False, False]
    cold.add(0.001)
    assert cold.fits(0.1), "the one that was tried was fast"


def test_it_is_the_95th_percentile_of_the_last_calls() -> None:
    assert after(*range(100, 0, -1)).p95_s == 61  # of 64 … 1 the one at place 60
    assert after(*[1.0] * 63, 50.0).p95_s == 1.0, "one slow call in many does not count"
    assert after(*[50.0] * WINDOW, *[1.0] * WINDOW).p95_s == 1.0


def test_the_median_does_not_mind_interruptions() -> None:
    assert after(*[1.0] * (MIN_CALLS - 1)).median_s == 0.0, "nothing is known yet"
    assert after(*[1.0, 9.0, 1.0] * 10).median_s == 1.0
    assert after(*[1.0, 9.0, 9.0] * 10).median_s == 9.0


def test_a_stage_that_was_slow_for_a_while_comes_back() -> None:
    usual = after(*[0.5] * WINDOW)
    started = [usual.fits(0.1) for _ in range(3 * TRY_EVERY)]
    assert started.count(True) == 3
    usual.add(0.5)
    assert [usual.fits(0.1) for _ in range(TRY_EVERY)].count(True) == 1, "it is still slow"
    usual.add(0.01)
    assert usual.fits(0.1), "it is fast again"
