"""`rl admission` and the parts of `rl admin` that change Redis."""

from __future__ import annotations

import math
from typing import Any

import typer

from relier.cli.output import Json, show

app = typer.Typer(no_args_is_help=True, help="Admission control.")
BATCH = 1000


def read() -> dict[str, Any]:
    """How full the window is, by the server's clock, computed as `push.lua` does but without a change."""
    from relier import keys
    from relier.cli.fleet import client
    from relier.settings import get_settings

    settings = get_settings()
    pipe = client().pipeline(transaction=False)
    pipe.hgetall(keys.ADMISSION).time()
    row, (seconds, micros) = pipe.execute()
    now = seconds * 1000 + micros // 1000
    window, width = (int(part) for part in row.get(b"shape", b"0/1").split(b"/"))
    first = math.floor((now - window) / width)
    buckets = {int(name): int(count) for name, count in row.items() if name.isdigit() and int(name) >= first}
    count, limit = sum(buckets.values()), settings.admission_limit
    wait = (min(buckets) + 1) * width + window - now if buckets and count >= limit else 0
    return {
        "status": "SHEDDING" if count >= limit else "ALLOWING",
        "admitted": count,
        "limit": limit,
        "window_seconds": settings.admission_window,
        "retry_after_seconds": max(0, wait) / 1000,
    }


@app.command()
def status(as_json: Json = False) -> None:
    """Show how full the admission window is; SHEDDING means that pushes are rejected."""
    state = read()
    show(state, lambda: _text(state), as_json)


def _text(state: dict[str, Any]) -> str:
    share = state["admitted"] / state["limit"]
    wait = f"\nRetry after: {state['retry_after_seconds']:.2f} s" if state["status"] == "SHEDDING" else ""
    return (
        f"Status: {state['status']} ({state['admitted']}/{state['limit']}, {share:.1%})\n"
        f"Window: {state['window_seconds']}s{wait}"
    )


def reset() -> None:
    """Empty the admission window: pushes are admitted again at once."""
    from relier import keys
    from relier.cli.fleet import client

    client().delete(keys.ADMISSION)
    print("The admission window is empty.")


def purge_locks() -> None:
    """Free every idempotency key whose run is marked as in flight; results of finished runs stay."""
    from relier import keys
    from relier.cli.fleet import client

    freed, batch = 0, []
    for key in client().scan_iter(match=keys.IDEMPOTENCY + "*", count=BATCH):
        batch.append(key)
        if len(batch) == BATCH:
            freed, batch = freed + _free(batch), []
    freed += _free(batch)
    print(f"Freed {freed} idempotency locks.")


def _free(names: list[bytes]) -> int:
    """`unlock` frees a key only while the owner that was read still has it, so no result can be lost between."""
    from relier import keys
    from relier.cli.fleet import client
    from relier.ledger import get_ledger

    freed = 0
    for name, entry in zip(names, client().mget(names) if names else (), strict=True):
        if entry and entry.startswith(b"busy\n"):
            owner, key = entry.partition(b"\n")[2], name.removeprefix(keys.IDEMPOTENCY.encode())
            freed += get_ledger().call("unlock", key, owner, "release", "", 0) == b"ok"
    return freed
