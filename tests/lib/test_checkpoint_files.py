"""Checkpoints too large for Redis: files that all workers share, for exactly as long as their tasks need them."""

from __future__ import annotations

import os
import time

import pytest

from harness.process import wait_until

pytest_plugins = ("tests.lib.crew",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def spilling(server, tmp_path_factory, folder):
    """A worker that keeps large checkpoints as files."""
    from tests.lib.crew import recruit

    crew = recruit(server, tmp_path_factory.mktemp("spilling"))
    crew.start(env={"RELIER_CHECKPOINT_BACKEND": "filesystem", "RELIER_CHECKPOINT_DIR": str(folder)})
    crew.start_resurrector()
    yield crew
    crew.stop()


def test_a_large_checkpoint_spills_over_and_its_file_goes_with_the_commit(spilling, features, token, folder):
    receipt = features.bulky.push(token, 2_000_000)
    assert receipt.get(timeout=30) == 2_000_000
    wait_until(lambda: not list(folder.iterdir()), 5, "the file removed")


def test_a_small_checkpoint_stays_inline_though_files_are_on(spilling, features, token, folder):
    assert features.bulky.push(token, 1000).get(timeout=30) == 1000
    assert not list(folder.iterdir())


def test_the_file_of_a_quarantined_task_stays_until_the_purge(spilling, features, token, folder, run, producer):
    from relier import DeadLetterQueue

    receipt = features.bulky_and_failing.push(token, 300_000)
    spilling.quarantined(receipt.id)
    assert len(list(folder.iterdir())) == 1
    producer(checkpoint_backend="filesystem", checkpoint_dir=str(folder))
    assert run(DeadLetterQueue().purge()) == 1
    assert not list(folder.iterdir())


def test_old_files_are_swept_and_young_ones_stay(producer, tmp_path):
    from relier import checkpoint

    producer(checkpoint_dir=str(tmp_path))
    for name, age in (("old.1.ckpt", 26), ("young.1.ckpt", 1)):
        (tmp_path / name).write_bytes(b"x")
        then = time.time() - age * 3600
        os.utime(tmp_path / name, (then, then))
    assert checkpoint.sweep() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["young.1.ckpt"]
