"""Payload migrations: code of today runs payloads of yesterday."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from relier.errors import SchemaMigrationError

Payload = tuple[Any, dict[str, Any]]
Migration = Callable[[Any, dict[str, Any]], Payload]


class SchemaRegistry:
    """Migrations by task name and version. Raise `CURRENT_VERSION` when a signature breaks."""

    CURRENT_VERSION: ClassVar[int] = 1
    _migrations: ClassVar[dict[tuple[str, int], Migration]] = {}

    @classmethod
    def register_migration(cls, task_name: str, from_version: int) -> Callable[[Migration], Migration]:
        """Decorate `(args, kwargs) -> (args, kwargs)`, which lifts a payload from `from_version` to the next."""

        def register(migration: Migration) -> Migration:
            """Raises `ValueError` for a second migration from the same version."""
            if (task_name, from_version) in cls._migrations:
                raise ValueError(f"{task_name} already has a migration from version {from_version}; keep one of them.")
            cls._migrations[task_name, from_version] = migration
            return migration

        return register

    @classmethod
    def migrate(cls, task_name: str, version: int, args: Any, kwargs: dict[str, Any]) -> Payload:
        """The payload at the current version. Raises `SchemaMigrationError` if a step fails or it is newer."""
        if version > cls.CURRENT_VERSION:
            raise SchemaMigrationError(
                f"{task_name} was pushed with schema version {version}, but this worker knows only "
                f"{cls.CURRENT_VERSION}; deploy the newer code first."
            )
        for step in range(version, cls.CURRENT_VERSION):
            migration = cls._migrations.get((task_name, step))
            if migration is None:
                continue
            try:
                args, kwargs = migration(tuple(args), dict(kwargs))
            except Exception as error:
                raise SchemaMigrationError(
                    f"{task_name}: the migration from version {step} raised {type(error).__name__}: {error}"
                ) from error
        return args, kwargs

    @classmethod
    def validate(cls) -> list[str]:
        """One sentence for every gap: a task that migrates from one version but not from a later one."""
        gaps = []
        for name in sorted({name for name, _ in cls._migrations}):
            known = {version for task, version in cls._migrations if task == name}
            for version in range(min(known), cls.CURRENT_VERSION):
                if version not in known:
                    gaps.append(f"{name} has no migration from version {version} to {version + 1}.")
        return gaps
