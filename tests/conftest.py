"""Before any test module is imported: no settings of the reader's, and an address for the tests' own Redis.

Relier's app reads its settings once, when a module first needs it, so the address must stand before the first import.
Nothing listens there until a test of the library asks for its server.
"""

from __future__ import annotations

import os
import signal

import pytest

from harness.redis import LOOPBACK, free_port

for _name in [name for name in os.environ if name.startswith(("RELIER_", "CELERY_", "OTEL_"))]:
    del os.environ[_name]
os.environ["RELIER_REDIS_URL"] = f"redis://app:library@{LOOPBACK}:{free_port()}/0"
# A plugin of some modules, and imported by others, whichever come first.
pytest.register_assert_rewrite("tests.lib.crew")
# A script that starts us with `&` has SIGINT ignored, our children would inherit that, and nobody could interrupt them.
signal.signal(signal.SIGINT, signal.default_int_handler)
