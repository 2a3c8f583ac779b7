"""Keys can be changed while tasks are pushed and run."""

from __future__ import annotations

import threading
import time

import pytest

from harness.process import wait_until
from relier.envelope import key_id

pytest_plugins = ("tests.lib.crew",)
FIRST, SECOND = "the key of yesterday", "the key of today"
STAGES = [
    {"secret_key": FIRST, "secret_keys_previous": SECOND},
    {"secret_key": SECOND, "secret_keys_previous": FIRST},
    {"secret_key": SECOND, "secret_keys_previous": None},
]


def environment(stage):
    variables = {f"RELIER_{name.upper()}": value for name, value in stage.items() if value is not None}
    return variables | {"RELIER_GRACEFUL_SHUTDOWN_TIMEOUT": "3"}


class Load:
    """Pushes without a pause, from a thread of its own."""

    def __init__(self, features, token):
        self.features, self.token = features, token
        self.receipts, self.errors = [], []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            number = len(self.receipts)
            try:
                self.receipts.append(self.features.noted.push(f"{self.token}-{number}"))
                self.receipts.append(self.features.retried.push(f"{self.token}-{number + 1}", 1))
            except Exception as error:
                self.errors.append(error)
            time.sleep(0.01)

    def wait_for_more(self, count):
        seen = len(self.receipts)
        wait_until(lambda: len(self.receipts) > seen + count, 20, f"{count} more pushes")

    def stop(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def load(members, features, producer, token):
    producer(**STAGES[0])
    members.start_resurrector()
    load = Load(features, token)
    yield load
    load.stop()


def signed_with(crew, key):
    """Tasks in the ledger whose signature names this key."""
    records = crew.client.scan_iter("rl:phoenix:*-*", count=1000)
    return [r for r in records if (crew.client.hget(r, "signature") or "").startswith(f"hmac:{key_id(key)}:")]


def test_keys_rotate_under_load_without_a_loss(members, producer, load, token):
    """Accept the new key everywhere, then sign with it everywhere, then retire the old one."""
    before = members.start(name="stage-0", env=environment(STAGES[0]))
    for number, stage in enumerate(STAGES[1:], start=1):
        load.wait_for_more(50)
        after = members.start(name=f"stage-{number}", env=environment(stage), wait=number == 1)
        before.terminate()
        producer(**stage)
        if number == 1:
            load.wait_for_more(50)
            wait_until(lambda: not signed_with(members, FIRST), 30, "nothing left under the old key")
        before = after
    load.wait_for_more(50)
    load.stop()
    assert not load.errors
    for receipt in load.receipts:
        receipt.get(timeout=30)
    assert members.client.hlen("rl:dlq") == 0
    assert all(members.runs(f"{token}-{number}")[1] == 1 for number in range(0, len(load.receipts), 25))
