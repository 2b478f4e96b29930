"""Waiting before another try."""

from __future__ import annotations

import pytest

from taut.engines._retry import RetryLater, delay_s, retry_after_s


def test_the_wait_doubles_and_is_shortened_by_up_to_a_half() -> None:
    error = RetryLater("busy", kind="overloaded")
    for attempt, longest in [(0, 0.5), (1, 1.0), (2, 2.0), (20, 30.0)]:
        assert all(longest / 2 <= delay_s(attempt, error) <= longest for _ in range(50))


def test_the_servers_own_wish_wins() -> None:
    assert delay_s(0, RetryLater("busy", kind="overloaded", retry_after_s=7.0)) == 7.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT"}, 10.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "3"}, 0.25),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now_s=1445412480.0) == seconds
