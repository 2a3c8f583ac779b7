"""How a worker's watcher speaks with systemd: on the real script, with a program that answers and one that listens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.infra.ansible.play import KIT

WATCHED = KIT / "roles" / "common" / "files" / "watched"


def _said(folder: Path, ready_after: int, limit: int, seconds: int) -> list[str]:
    """What systemd hears of a worker that lives, and consumes after so many looks."""
    said, looks = folder / "said", folder / "looks"
    looks.touch()
    rl = f'#!/bin/sh\n[ "$2" = ready ] || exit 0\necho >>{looks}\n[ "$(wc -l <{looks})" -gt {ready_after} ]\n'
    for name, text in (("rl", rl), ("systemd-notify", f'#!/bin/sh\nprintf "%s\\n" "$1" >>{said}\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "worker").symlink_to("/bin/sleep")
    names = {"PATH": f"{folder}{os.pathsep}/usr/bin:/bin", "NOTIFY_SOCKET": "/nowhere"}
    argv = ["/bin/sh", str(WATCHED), "high@here", str(folder / "worker"), str(seconds)]
    subprocess.run(argv, env=names | {"WATCHED_START_SECONDS": str(limit)}, check=True, timeout=60)
    return said.read_text().split() if said.exists() else []


def test_a_worker_that_comes_to_consume_is_given_the_time(tmp_path: Path) -> None:
    said = _said(tmp_path, ready_after=3, limit=180, seconds=4)
    assert said[:4] == ["EXTEND_TIMEOUT_USEC=60000000"] * 3 + ["--ready"]


@pytest.mark.parametrize(("limit", "extended"), [(62, True), (60, False)])
def test_a_worker_that_lives_and_never_consumes_is_not_waited_for_for_ever(
    tmp_path: Path, limit: int, extended: bool
) -> None:
    said = _said(tmp_path, ready_after=999, limit=limit, seconds=5)
    assert "--ready" not in said and bool(said) == extended
    assert len(said) <= 4  # two seconds of half seconds; systemd's own minute follows
