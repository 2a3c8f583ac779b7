"""Sizes and durations, and YAML without its surprises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from infra.topology import units, yamlio

SIZE: TypeAdapter[int] = TypeAdapter(units.Size)
SECONDS: TypeAdapter[float] = TypeAdapter(units.Seconds)
PAUSE: TypeAdapter[float] = TypeAdapter(units.Pause)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1b", 1), ("1kb", 1024), ("512MB", 512 * 1024**2), ("1.5gb", 3 * 512 * 1024**2), ("2 gb", 2 * 1024**3), (7, 7)],
)
def test_a_size_is_read_as_redis_reads_it(text: str, value: int) -> None:
    assert SIZE.validate_python(text) == value


@pytest.mark.parametrize(
    "text", ["", "gb", "1", "1.3b", "0mb", 0, -1, 1.5, True, None, float("inf"), float("nan"), "1e3mb", "1_0mb"]
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        SIZE.validate_python(text)


@pytest.mark.parametrize(
    ("text", "value"), [("500ms", 0.5), ("60s", 60), ("5m", 300), ("1h", 3600), ("7d", 604_800), (2.5, 2.5)]
)
def test_a_duration_is_read_in_seconds(text: object, value: float) -> None:
    assert SECONDS.validate_python(text) == value


@pytest.mark.parametrize(
    ("text", "seconds", "ms"), [("1.1h", 3960, 3_960_000), ("1005ms", 1.005, 1005), (0.0005, 5e-4, 0.5)]
)
def test_a_duration_has_nothing_that_only_binary_fractions_have(text: object, seconds: float, ms: float) -> None:
    assert SECONDS.validate_python(text) == seconds
    assert units.milliseconds(SECONDS.validate_python(text)) == ms


def test_a_pause_may_be_nothing_and_a_duration_may_not() -> None:
    assert PAUSE.validate_python(0) == 0
    for bad in (0, "0s", -1, "1w", "s", True):
        with pytest.raises(ValidationError):
            SECONDS.validate_python(bad)
    with pytest.raises(ValidationError):
        PAUSE.validate_python(-0.1)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.integers(1, 2**45))
def test_a_size_is_written_so_that_it_reads_back(value: int) -> None:
    assert SIZE.validate_python(units.size(value)) == value


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.integers(1, 10**7))
def test_a_duration_is_written_so_that_it_reads_back(value: int) -> None:
    assert SECONDS.validate_python(units.span(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(60, "60s"), (599, "599s"), (600, "10m"), (601, "601s"), (7200, "2h"), (604_800, "7d"), (0.05, "0.05s")],
)
def test_a_duration_is_written_as_people_say_it(value: float, text: str) -> None:
    assert units.span(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0755", "0755"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("12", 12),
        ("-3", -3),
        ("0.5", 0.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {k: 1}\nb:\n  <<: *x\n  l: 2", {"a": {"k": 1}, "b": {"k": 1, "l": 2}}),
    ],
)
def test_yaml_means_what_it_looks_like(text: str, value: object) -> None:
    assert yamlio.loads(text) == value


def test_yaml_is_written_so_that_it_reads_back_and_lists_are_indented() -> None:
    data = {"a": ["yes", "1", "0755", 1, True, None], "b": {"c": "x: y"}}
    assert yamlio.loads(yamlio.dumps(data)) == data
    assert yamlio.dumps({"a": [1]}) == "---\na:\n  - 1\n"
