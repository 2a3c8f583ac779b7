"""Sizes and durations as people write them: `512mb`, `60s`, `7d`. Inside, bytes and seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

SIZES = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
SECONDS_UP_TO = 600  # 60s and 120s read better than 1m and 2m
A_SIZE = "a size above zero such as 512mb or 2gb"
A_SPAN = "a duration such as 60s, 5m, 1h or 7d"


def _parse(value: Any, units: Mapping[str, float], want: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([a-z]+)", value.lower()) if isinstance(value, str) else None
    if not match or match[2] not in units:
        raise PydanticCustomError("unit", "{want}", {"want": want})
    return float(match[1]) * units[match[2]]


def _size(value: Any) -> int:
    parsed = _parse(value, SIZES, A_SIZE)
    if parsed < 1 or parsed != int(parsed):
        raise PydanticCustomError("unit", "{want}", {"want": A_SIZE})
    return int(parsed)


def _span(value: Any) -> float:
    # 1.1h is 3960 s, and not 3960.0000000000005: scripts take whole numbers.
    return round(float(_parse(value, SPANS, A_SPAN)), 6)


def _above_zero(value: float) -> float:
    if value <= 0:
        raise PydanticCustomError("unit", "{want}", {"want": A_SPAN + ", above zero"})
    return value


def _not_negative(value: float) -> float:
    if value < 0:
        raise PydanticCustomError("unit", "{want}", {"want": A_SPAN + ", or 0"})
    return value


def _schema(units: Mapping[str, float], example: str) -> WithJsonSchema:
    pattern = rf"^\d+(\.\d+)? ?({'|'.join(units)})$"
    return WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "number", "minimum": 0}], "examples": [example]}
    )


Size = Annotated[int, BeforeValidator(_size), _schema(SIZES, "512mb")]
Seconds = Annotated[float, BeforeValidator(_span), AfterValidator(_above_zero), _schema(SPANS, "60s")]
Pause = Annotated[float, BeforeValidator(_span), AfterValidator(_not_negative), _schema(SPANS, "5s")]
Count = Annotated[int, Field(gt=0, le=1_000_000)]


def size(value: int) -> str:
    """Bytes as the largest unit that holds them whole."""
    name, factor = next((n, f) for n, f in reversed(SIZES.items()) if value % f == 0)
    return f"{value // factor}{name}"


def span(value: float) -> str:
    """Seconds as a person writes them."""
    if value < SECONDS_UP_TO or value % 60:
        return f"{number(value)}s"
    name, factor = next((n, f) for n, f in reversed(SPANS.items()) if value % f == 0)
    return f"{value / factor:g}{name}"


def milliseconds(value: float) -> float:
    """Of seconds, without what a binary fraction adds."""
    return round(value * 1000, 3)


def number(value: float) -> str:
    """A number without a needless `.0`, as settings and Redis read it."""
    return str(int(value)) if value == int(value) else repr(value)
