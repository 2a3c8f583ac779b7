"""kombu's Redis transports, except that a claim check is never written back to Redis while a worker holds it.

The record is what survives a worker, so kombu's `unacked` copy of the message would be work for nothing. Messages of
plain Celery tasks have no record and keep kombu's bookkeeping.
"""

from __future__ import annotations

import logging
from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import RedisError, ResponseError

from relier.connection import sentinel_credentials
from relier.outbox import current_outbox
from relier.scripts import load
from relier.settings import get_settings

logger = logging.getLogger("relier")
LARGEST_BATCH = 32
BRPOP_SECONDS = 2  # half of kombu's idle traffic; a stopping worker may wait this long for its last reply


def is_claim_check(message: Any) -> bool:
    """A message that only names its record, by the header `rl`; plain Celery messages carry their arguments."""
    return "rl" in (message.headers or ())


class LedgerQoS(kombu_redis.QoS):
    """Claim checks are held in memory only; everything else as kombu does."""

    #: Fetch more only when fewer messages than this are held, so that several come in one round trip.
    refill_below = float("inf")

    @property
    def room(self) -> int:
        """How many messages may come now."""
        held = len(self._delivered) - len(self._dirty)
        return min(LARGEST_BATCH, (self.prefetch_count or held + LARGEST_BATCH) - held)

    def can_consume(self) -> bool:
        """kombu asks this before each fetch; ours waits until fewer than `refill_below` are held."""
        return bool(super().can_consume()) and len(self._delivered) - len(self._dirty) < self.refill_below

    def append(self, message: Any, delivery_tag: str) -> None:
        """kombu's hook for a message that came; only a plain one is copied into `unacked`."""
        if is_claim_check(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Writes nothing for a claim check: its record says how the task stands."""
        if self._is_light(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        elif self._is_open():
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """With `requeue`, a record that still waits gets a new message; without, the claim check is only forgotten."""
        if not self._is_light(delivery_tag):
            if self._is_open():
                super().reject(delivery_tag, requeue=requeue)
            return
        if requeue:
            self._give_back([self._delivered[delivery_tag].headers["id"]])
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """On a clean stop: unclaimed tasks get a new message at the head of their queue."""
        self._flush()
        self._give_back(self.unclaimed())
        for tag in [tag for tag in self._delivered if self._is_light(tag)]:
            del self._delivered[tag]
        if self._delivered and self._is_open():
            super().restore_unacked(client)

    def unclaimed(self) -> list[str]:
        """The task ids of the claim checks held here; those that run already no longer need one."""
        held = list(self._delivered.items())
        return [m.headers["id"] for tag, m in held if tag not in self._dirty and is_claim_check(m)]

    def _is_open(self) -> bool:
        """A task that ran while the connection was lost acknowledges on a channel that is closed: nothing to do."""
        connection = self.channel.connection
        return connection is not None and connection.client is not None

    def _is_light(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and is_claim_check(message)

    def _give_back(self, ids: list[str]) -> None:
        if not ids:
            return
        from relier.ledger import get_ledger

        try:
            get_ledger().call("resend", *ids, window=1.0)
        except (RedisError, OSError) as error:
            logger.warning("Could not give %d tasks back (%s); Phoenix sends them again.", len(ids), error)


class _LedgerChannel:
    """What both channels add to kombu's: the outbox, and fetching in batches while there is work.

    A blocking BRPOP finds the first message. As long as fetches find something, the next ones are the script `take`,
    sent and read on the same connection in the same two steps as BRPOP, so that kombu's poller sees no difference.
    """

    QoS = LedgerQoS
    _busy = False
    _taking = False
    _known = False

    def _brpop_start(self: Any, timeout: float | None = None) -> None:
        self._taking = self._busy
        if not self._busy:
            super()._brpop_start(timeout)
        elif queues := self._queue_cycle.consume(len(self.active_queues)):
            self._in_poll = self.client.connection
            self._brpop_sent_at = monotonic()
            self.client.connection.send_command(*self._take(queues))

    def _take(self: Any, queues: list[str]) -> tuple[Any, ...]:
        script = load("take")
        lists = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        call = ("EVALSHA", script.sha) if self._known else ("EVAL", script.source)
        self._known = True
        return (*call, 0, self.qos.room, self.unacked_key, self.unacked_index_key, time(), *lists)

    def _brpop_read(self: Any, **options: Any) -> Any:
        if not self._taking:
            found = super()._brpop_read(**options)
            self._busy = True
            return found
        self._busy = self._taking = False
        try:
            reply = self._read_taken()
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        self._busy = bool(reply)
        return self._deliver_taken(reply)

    def _read_taken(self: Any) -> list[bytes]:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, "EVALSHA") or []
        except ResponseError as error:
            self._known = False
            logger.debug("Fetching one by one: %s", error)
            return []
        except self.connection_errors:
            connection.disconnect()
            raise

    def _deliver_taken(self: Any, reply: list[bytes]) -> bool:
        if not reply:
            raise Empty()
        for name, message in zip(reply[::2], reply[1::2], strict=True):
            queue = bytes_to_str(name).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self.connection._deliver(loads(bytes_to_str(message)), queue)
        return True

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        outbox = current_outbox()
        if outbox is None:
            super()._put(queue, message, **kwargs)
        else:
            priority = self._get_message_priority(message, reverse=False)  # type: ignore[attr-defined]
            outbox.add_raw(self._q_for_pri(queue, priority), dumps(message))  # type: ignore[attr-defined]


class Channel(_LedgerChannel, kombu_redis.Channel):
    """A channel to one Redis."""


class SentinelChannel(_LedgerChannel, kombu_redis.SentinelChannel):
    """A channel to the master behind Sentinel."""

    @property
    def sentinel_kwargs(self) -> dict[str, Any]:
        """No transport option: `celery inspect stats` shows these to whoever asks, and cannot write a `Retry` down."""
        return sentinel_credentials(get_settings())


class Transport(kombu_redis.Transport):
    """`broker_transport` for one Redis."""

    brpop_timeout = BRPOP_SECONDS
    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """`broker_transport` for Sentinel."""

    brpop_timeout = BRPOP_SECONDS
    Channel = SentinelChannel
