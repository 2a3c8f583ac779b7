"""What a forked child must not share with its parent: connections, threads, event loops."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(forget: Callable[[], None]) -> None:
    """Call `forget` in every child that this process forks. Where nothing forks, nothing needs forgetting."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)
