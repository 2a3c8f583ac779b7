"""What every data node and Sentinel says of itself, and whom it refuses. Argument: the nodes, and the master's name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relier.connection import sentinel_credentials
from relier.settings import get_settings

settings = get_settings()
LOGIN = {"username": settings.redis_username, "password": settings.secret("redis_password")}
STRANGERS: dict[str, dict[str, Any]] = {
    "without a password": {},
    "with a wrong password": {"username": LOGIN["username"], "password": "wrong"},
    "as default with the app's password": {"username": "default", "password": LOGIN["password"]},
    "as a user that the plan has not": {"username": "relier-conformance", "password": LOGIN["password"]},
}


def connect(place: str, **options: Any) -> Any:
    host, _, port = place.rpartition(":")
    asked: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": 4,
        "retry": Retry(NoBackoff(), 0),
        "lib_name": None,
    }
    return redis.Redis(host=host, port=int(port), **asked, **options)


def tried(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (redis.RedisError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def refusals(place: str) -> dict[str, str]:
    """What each stranger is told; an answer means that it got in."""
    return {who: str(tried(connect(place, **login).ping)) for who, login in STRANGERS.items()}


def node(place: str) -> dict[str, Any]:
    client = connect(place, **LOGIN)
    return {
        "config": tried(lambda: client.config_get("*")),
        "info": tried(client.info),
        "refusals": refusals(place) if LOGIN["password"] else {},
    }


def sentinel(place: str, name: str) -> dict[str, Any]:
    login = {key: value for key, value in sentinel_credentials(settings).items() if key in ("username", "password")}
    client = connect(place, **login)

    return {
        "master": tried(lambda: raw(client, "MASTER", name)),
        "replicas": tried(lambda: raw(client, "REPLICAS", name)),
        "sentinels": tried(lambda: raw(client, "SENTINELS", name)),
        "quorum": str(tried(lambda: raw(client, "CKQUORUM", name))),
        "refusals": refusals(place) if login.get("password") else {},
    }


def raw(client: Any, command: str, name: str) -> Any:
    """The reply as field names and values in turn, before redis-py gives them types and other names."""
    connection = client.connection_pool.get_connection()
    connection.send_command("SENTINEL", command, name)
    reply = connection.read_response()
    return _row(reply) if command == "MASTER" else [_row(row) for row in reply] if isinstance(reply, list) else reply


def _row(flat: Any) -> dict[str, str]:
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))


def main() -> None:
    asked = json.loads(sys.argv[1])
    nodes = {place: node(place) for place in asked["nodes"]}
    watchers = {place: sentinel(place, asked["master"]) for place in asked["sentinels"]}
    print(json.dumps({"nodes": nodes, "sentinels": watchers}, default=str))


main()
