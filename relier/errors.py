"""Every error that Relier raises on purpose.

RelierError
├── AdmissionRejectedError      the admission window is full
├── IdempotencyInFlightError    the same operation is running elsewhere
├── PayloadIntegrityError       an envelope is not what was signed
├── SchemaMigrationError        an old payload could not be upgraded
├── CheckpointTooLargeError     a checkpoint exceeds the inline limit
├── HardTimeoutError            a body ran past its hard timeout
├── FencedError                 this incarnation no longer owns its task
├── DurabilityError             Redis could not confirm the asked durability
└── PreflightError              Redis is not fit to keep the promise
"""

from __future__ import annotations


class RelierError(Exception):
    """Something went wrong in Relier."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().split("\n")[0])


class AdmissionRejectedError(RelierError):
    """The cluster's admission window is full; retry later."""

    def __init__(self, message: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message or f"The admission window is full; retry after {retry_after:.2f} s.")
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[AdmissionRejectedError], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class IdempotencyInFlightError(RelierError):
    """The same operation is in flight elsewhere."""


class PayloadIntegrityError(RelierError):
    """The envelope does not match its signature."""


class SchemaMigrationError(RelierError):
    """A payload could not be migrated to the current schema version."""


class CheckpointTooLargeError(RelierError, RuntimeError):
    """The checkpoint exceeds the inline limit."""


class HardTimeoutError(RelierError, TimeoutError):
    """The task ran past its hard timeout and was cancelled."""


class FencedError(RelierError):
    """This incarnation no longer owns its task; another one does."""


class DurabilityError(RelierError):
    """Redis did not confirm the asked durability in time; the task may or may not exist."""


class PreflightError(RelierError, RuntimeError):
    """Redis is not fit to keep Relier's promise."""
