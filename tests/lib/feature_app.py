"""Relier's app with limits short enough for a test to outlast them.

`FEATURE_VISIBILITY`: kombu's visibility timeout, `FEATURE_BRIDGE`: the limit of the bridge; both in seconds.
"""

from __future__ import annotations

import os

from relier import bridge
from relier.tasks.app import celery_app

if visibility := os.environ.get("FEATURE_VISIBILITY"):
    celery_app.conf.broker_transport_options |= {
        "visibility_timeout": float(visibility),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
bridge.BRIDGE_LIMIT = float(os.environ.get("FEATURE_BRIDGE", bridge.BRIDGE_LIMIT))
app = celery_app
