"""SLO burn rates from the outcome counters: buckets of five minutes, kept for three days."""

from __future__ import annotations

import time
from typing import Any, Literal

from relier import keys
from relier.ledger import get_async_ledger, get_ledger

Outcome = Literal["success", "failed"]
WINDOWS = {"1h": 3600, "6h": 6 * 3600, "3d": 3 * 86_400}
# Two hundredths of a month's budget within an hour (0.02 * 30 * 24): Google's SRE Workbook, "Alerting on SLOs".
CRITICAL = 14.4


def _buckets(seconds: int, now: float) -> range:
    last = int(now // keys.SLO_BUCKET_SECONDS)
    return range(last - seconds // keys.SLO_BUCKET_SECONDS + 1, last + 1)


def counts(window: str, client: Any = None) -> tuple[int, int]:
    """Successes and failures within one of `WINDOWS`."""
    pipe = (client or get_ledger().client).pipeline(transaction=False)
    for bucket in _buckets(WINDOWS[window], time.time()):
        pipe.hmget(f"{keys.SLO}{bucket}", "success", "failed")
    rows = pipe.execute()
    return sum(int(row[0] or 0) for row in rows), sum(int(row[1] or 0) for row in rows)


def burn_rate(success: int, failed: int, target: float) -> float:
    """How many times faster than allowed the error budget burns: failures / (allowed error rate x events)."""
    total = success + failed
    return failed / ((1 - target) * total) if total else 0.0


class SLOMetrics:
    """Outcomes and burn rates. `target` is the share of tasks that must succeed, between 0 and 1; else `ValueError`."""

    def __init__(self, target: float = 0.999) -> None:
        if not 0 < target < 1:
            raise ValueError(f"The SLO target is {target}; give a share between 0 and 1, like 0.999.")
        self.target = target

    async def record_event(self, status: Outcome = "success") -> None:
        """Count an outcome of your own beside those that workers count. Raises `ValueError` for any other word."""
        if status not in ("success", "failed"):
            raise ValueError(f"status is {status!r}; use 'success' or 'failed'.")
        key = f"{keys.SLO}{int(time.time() // keys.SLO_BUCKET_SECONDS)}"
        pipe = get_async_ledger().client.pipeline()
        pipe.hincrby(key, status, 1)
        pipe.expire(key, WINDOWS["3d"] + 3600)
        await pipe.execute()

    def burn_rates(self) -> dict[str, float]:
        """The burn rate over each of `WINDOWS`: 1.0 spends the budget just in time, `CRITICAL` and more is an alarm."""
        return {window: burn_rate(*counts(window), self.target) for window in WINDOWS}
