"""Every mistake is one clear sentence: what is wrong, where, and what to do. Never a traceback, never a secret."""

from __future__ import annotations

import re
from typing import NoReturn


class Mistake(Exception):
    """A sentence for the person at the terminal, and the exit code."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def fail(sentence: str, code: int = 1) -> NoReturn:
    """End the command with a sentence."""
    raise Mistake(sentence, code)


def unreachable(endpoint: str, error: Exception) -> str:
    """Why Redis does not answer."""
    kind, text = type(error).__name__, str(error).strip().rstrip(".")
    if kind == "AuthenticationError":
        return (
            f"Relier cannot reach Redis ({endpoint}). It refuses the credentials ({text}); set RELIER_REDIS_PASSWORD."
        )
    if kind in ("NoPermissionError", "AuthorizationError"):
        return f"Redis ({endpoint}) forbids this to its user ({text}); widen the user's ACL."
    if kind == "MasterNotFoundError":
        return (
            f"Relier cannot reach Redis ({endpoint}). No Sentinel names a healthy master; check "
            "RELIER_REDIS_SENTINEL_MASTER_NAME, RELIER_REDIS_SENTINEL_NODES and RELIER_REDIS_SENTINEL_PASSWORD."
        )
    if kind == "ResponseError":
        return f"Redis ({endpoint}) answers with an error: {text}."
    return f"Relier cannot reach Redis ({endpoint}). {kind}: {text}. Start Redis or fix RELIER_REDIS_URL."


def invalid_settings(error: Exception) -> list[str]:
    """One sentence for every setting that pydantic refuses. Values are left out, for they may be secrets."""
    return [_invalid(detail) for detail in error.errors()]  # type: ignore[attr-defined]


def _invalid(detail: dict[str, object]) -> str:
    text = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
    place = detail["loc"]
    if isinstance(place, tuple) and place:
        return f"RELIER_{str(place[0]).upper()}: {text}."
    return f"{text}."


def explain(error: BaseException) -> str:
    """The sentence for any error that reaches the top of `rl`."""
    from redis.exceptions import RedisError

    if isinstance(error, Mistake):
        return str(error)
    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):
        return "The settings are not valid. " + " ".join(invalid_settings(error))  # type: ignore[arg-type]
    if isinstance(error, RedisError | ConnectionError | TimeoutError):
        from relier.settings import get_settings

        return unreachable(get_settings().endpoint, error)
    if isinstance(error, OSError):
        return f"{error.filename or 'The system'}: {error.strerror or error}."
    text = re.sub(r"\s+", " ", str(error)).strip()
    if type(error).__name__ == "NotRegistered":
        return f"The Celery app has no task {text}; it must import the module that defines it."
    if type(error).__module__.startswith("relier."):
        return text
    return f"rl met an error that it does not know ({type(error).__name__}: {text}); please report it."
