"""What systemd hears of the resurrector: that it is ready, once, after a scan that went well."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relier import systemd
from relier.phoenix import Resurrector


@pytest.fixture(params=["notify", f"@relier-test-{os.getpid()}"], ids=["file", "abstract"])
def heard(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[bytes]]]:
    """What was said since the last look. The address is relative, for a long one is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", request.param)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(request.param.replace("@", "\0"))
        link.setblocking(False)

        def read() -> list[bytes]:
            try:
                return [link.recv(100), *read()]
            except BlockingIOError:
                return []

        yield read


def test_a_resurrector_is_ready_after_its_first_scan(
    heard: Callable[[], list[bytes]], settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resurrector = Resurrector(settings(), interval=0.01)
    scan, before = resurrector.scan, []

    def watched() -> Any:
        before.append(heard())
        if len(before) == 1:
            raise ConnectionError("Redis is away")
        if len(before) == 4:
            resurrector.stop.set()
        return scan()

    monkeypatch.setattr(resurrector, "scan", watched)
    resurrector.run()
    assert [*before, heard()] == [[], [], [b"READY=1"], [], []]


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_a_process_that_nobody_waits_for_goes_on(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.ready()
    assert "NOTIFY_SOCKET" not in os.environ
