"""Checkpoints: inline in the record up to a limit, gzipped on shared storage above it."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relier.envelope import dumps, loads
from relier.errors import CheckpointTooLargeError, FencedError
from relier.ledger import get_async_ledger, get_ledger
from relier.settings import get_settings

if TYPE_CHECKING:
    from relier.context import Run

__all__ = ["CheckpointTooLargeError", "discard", "resolve", "save", "save_async", "sweep"]


PATIENCE = 60.0  # seconds that a checkpoint waits for Redis to come back


def save(run: Run, data: Any) -> None:
    """Keep `data` with the record of the running task, or raise `FencedError`."""
    stored = _store(run, data)
    _check(get_ledger().call("checkpoint", *run.fence, stored, window=PATIENCE), run)


async def save_async(run: Run, data: Any) -> None:
    """`save` for coroutines."""
    stored = _store(run, data)
    _check(await get_async_ledger().call("checkpoint", *run.fence, stored, window=PATIENCE), run)


def resolve(stored: bytes) -> Any:
    """What an earlier incarnation kept: the data, or None."""
    if not stored:
        return None
    kept = loads(stored)
    if "inline" in kept:
        return kept["inline"]
    return loads(gzip.decompress(_path(kept["ref"]).read_bytes()))


def discard(stored: bytes) -> None:
    """Remove the file behind a checkpoint, if it has one."""
    if stored and b'"ref"' in stored[:10]:
        for blob in get_settings().checkpoint_dir.glob(loads(stored)["ref"].rsplit(".", 2)[0] + ".*.ckpt"):
            blob.unlink(missing_ok=True)


def sweep(max_age: float = 25 * 3600) -> int:
    """Remove checkpoint files older than `max_age` seconds; returns how many. Running tasks rewrite theirs."""
    folder, limit = get_settings().checkpoint_dir, time.time() - max_age
    old = [blob for blob in folder.glob("*.ckpt") if blob.stat().st_mtime < limit] if folder.is_dir() else []
    for blob in old:
        blob.unlink(missing_ok=True)
    return len(old)


def _store(run: Run, data: Any) -> str:
    settings = get_settings()
    text = dumps(data)
    size = len(text.encode())
    if size <= settings.checkpoint_max_inline_bytes:
        return f'{{"inline":{text}}}'
    if settings.checkpoint_backend == "inline":
        raise CheckpointTooLargeError(
            f"Checkpoint for task '{run.task.name}' is {size} bytes, which exceeds the "
            f"{settings.checkpoint_max_inline_bytes}-byte inline limit. Keep less, or set "
            "RELIER_CHECKPOINT_BACKEND=filesystem with a directory that all workers share."
        )
    return dumps({"ref": _write(run, text), "bytes": size, "codec": "gzip"})


def _write(run: Run, text: str) -> str:
    """A file per incarnation, so that a zombie's late write cannot replace the living one's."""
    name = f"{run.task_id}.{run.incarnation}.ckpt"
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_bytes(gzip.compress(text.encode(), compresslevel=3))
    scratch.replace(path)
    return name


def _path(name: str) -> Path:
    return get_settings().checkpoint_dir / name.replace("/", "_")


def _check(reply: bytes, run: Run) -> None:
    if reply != b"ok":
        raise FencedError(f"Task {run.task_id}: incarnation {run.incarnation} no longer owns it.")
