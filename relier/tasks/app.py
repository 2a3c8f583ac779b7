"""The Celery app that workers are started with: `celery -A relier.tasks.app worker`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES
from pydantic import ValidationError

from relier import keys
from relier.connection import encrypted, sentinel_credentials
from relier.settings import Settings, get_settings

# kombu turns to the next Sentinel by its URL, whose scheme would bring kombu's own transport back.
TRANSPORT_ALIASES["sentinel"] = "relier.tasks.broker:SentinelTransport"
HEALTH_CHECK = 5
VISIBILITY_TIMEOUT = 3600


def with_credentials(url: str, settings: Settings) -> str:
    """The Redis URL with the user and password of the settings, unless it has its own."""
    parts = urlsplit(url)
    password = settings.secret("redis_password")
    if parts.password or not password:
        return url
    user = quote(settings.redis_username or "", safe="")
    location = f"{user}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=location))


def broker_url(settings: Settings) -> str:
    """Where kombu connects to."""
    if not settings.redis_use_sentinel:
        return with_credentials(encrypted(settings), settings)
    nodes = (f"sentinel://{host}:{port}/0" for host, port in settings.redis_sentinel_nodes)
    return ";".join(with_credentials(node, settings) for node in nodes)


def _transport_options(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": settings.redis_socket_timeout,
        "socket_connect_timeout": settings.redis_connect_timeout,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK,
    }
    if settings.redis_use_sentinel:
        options["master_name"] = settings.redis_sentinel_master_name
    return options


def _result_options(settings: Settings) -> dict[str, Any]:
    """The result backend has no channel class of ours that would know how to talk to Sentinels."""
    known = {"sentinel_kwargs": sentinel_credentials(settings)} if settings.redis_use_sentinel else {}
    return _transport_options(settings) | known


def celery_config(settings: Settings) -> dict[str, Any]:
    """Celery's settings for a worker that keeps the promise."""
    transport = "SentinelTransport" if settings.redis_use_sentinel else "Transport"
    options, url = _transport_options(settings), broker_url(settings)
    config: dict[str, Any] = {
        "broker_url": url,
        "broker_transport": f"relier.tasks.broker:{transport}",
        "broker_transport_options": options
        | {
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "result_backend": url,
        "result_backend_transport_options": _result_options(settings),
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_default_queue": "default",
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in keys.ALL_QUEUES],
        "worker_consumer": "relier.tasks.consumer:LedgerConsumer",
        "worker_prefetch_multiplier": 4,
        "worker_enable_prefetch_count_reduction": False,
        "worker_lost_wait": 1.0,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": True,
    }
    if settings.redis_tls:
        tls = {"ssl_ca_certs": str(settings.redis_tls_ca_file)} if settings.redis_tls_ca_file else {}
        config |= {"broker_use_ssl": tls, "redis_backend_use_ssl": tls}
    return config


def _settings() -> Settings:
    """The settings; `celery -A` answers an invalid one with a sentence, a program gets the exception."""
    try:
        return get_settings()
    except ValidationError as error:
        if "celery" not in Path(sys.argv[0]).parts[-2:]:
            raise
        from relier.cli.errors import invalid_settings

        sys.exit(" ".join(invalid_settings(error)))


def configure(app: Celery, settings: Settings | None = None) -> Celery:
    """Give an app of your own what Relier needs: its transport, its queues and its worker steps."""
    from relier.tasks import worker

    app.conf.update(celery_config(settings or _settings()))
    worker.install(app)
    return app


celery_app: Any = configure(Celery("relier", include=["relier.tasks.chaos"]))
celery_app.set_default()
app = celery_app
