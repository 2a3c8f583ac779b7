"""The names that users import, old and new."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.resources import files

import pytest

import relier
from harness.process import clean_env

DOCUMENTED = {
    "rl_task",
    "TaskContext",
    "task_context",
    "TaskReceipt",
    "idempotency_lock",
    "SchemaRegistry",
    "DeadLetterQueue",
    "SLOMetrics",
    "get_settings",
    "AdmissionRejectedError",
    "IdempotencyInFlightError",
    "PayloadIntegrityError",
    "SchemaMigrationError",
    "CheckpointTooLargeError",
    "HardTimeoutError",
}


def test_every_documented_name_is_there():
    assert set(relier.__all__) >= DOCUMENTED
    for name in relier.__all__:
        assert getattr(relier, name) is not None


def test_the_public_names_are_sorted_and_complete():
    assert relier.__all__ == sorted(relier.__all__)
    assert len(set(relier.__all__)) == len(relier.__all__)
    assert set(relier.__all__) == set(relier._HOMES)


def test_a_star_import_brings_exactly_the_public_names():
    space: dict[str, object] = {}
    exec("from relier import *", space)  # noqa: S102
    assert set(space) - {"__builtins__"} == set(relier.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        relier.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("checkpoint", ["CheckpointTooLargeError"]),
        ("idempotency", ["idempotency_lock", "IdempotencyInFlightError"]),
        ("schema", ["SchemaRegistry", "SchemaMigrationError"]),
        ("dlq", ["DeadLetterQueue"]),
        ("slo", ["SLOMetrics"]),
    ],
)
def test_the_old_import_paths_lead_to_the_same_objects(module, names):
    old = importlib.import_module(f"relier.core.{module}")
    for name in names:
        assert getattr(old, name) is getattr(relier, name)


def test_the_old_import_paths_work_in_a_fresh_interpreter():
    program = "from relier.core.idempotency import idempotency_lock; from relier.core.dlq import DeadLetterQueue"
    subprocess.run([sys.executable, "-c", program], env=clean_env(), check=True, timeout=20)


def test_importing_relier_does_not_import_celery_redis_or_telemetry():
    program = "import relier, sys; print(sorted({'celery', 'kombu', 'redis', 'opentelemetry'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_env(), check=True, timeout=20, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_telemetry_is_not_imported_unless_it_is_on():
    """redis-py imports OpenTelemetry where it finds it, so what counts is that Relier's own use of it stays out."""
    program = (
        "import relier.tasks.app, relier.tasks.chaos, sys; from relier import telemetry; telemetry.inject()\n"
        "print('relier.instruments' in sys.modules)"
    )
    for wanted in ("false", "true"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=clean_env({"RELIER_OTEL_ENABLED": wanted}),
            check=True,
            timeout=20,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == wanted.title()


def test_every_error_is_a_relier_error_with_a_sentence_of_its_own():
    errors = [getattr(relier, name) for name in relier.__all__ if name.endswith("Error")]
    for error in errors:
        assert issubclass(error, relier.RelierError)
        assert str(error()).endswith(".")
    assert issubclass(relier.HardTimeoutError, TimeoutError)
    assert issubclass(relier.PreflightError, RuntimeError)


def test_the_package_is_typed_and_ships_its_scripts():
    assert (files("relier") / "py.typed").is_file()
    assert (files("relier") / "lua" / "push.lua").is_file()


def test_the_app_is_where_the_documents_say():
    program = "from relier.tasks.app import celery_app; print(celery_app.main, celery_app.conf.task_default_queue)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_env(), check=True, timeout=20, capture_output=True, text=True
    )
    assert done.stdout.split() == ["relier", "default"]


def test_tasks_use_reliers_broker_though_only_rl_task_was_imported(tmp_path):
    """A producer that never imports the app must not fall back to Celery's amqp://."""
    (tmp_path / "my_tasks.py").write_text(
        "from relier import rl_task\n@rl_task()\ndef noop() -> None: ...\nprint(noop.app.conf.broker_url)\n"
    )
    env = clean_env({"RELIER_REDIS_URL": "redis://somewhere:7000/3"})
    done = subprocess.run(
        [sys.executable, "my_tasks.py"],
        env=env, cwd=tmp_path, check=True, timeout=20, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "redis://somewhere:7000/3"
