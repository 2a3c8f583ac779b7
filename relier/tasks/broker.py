"""kombu's Redis transports, except that a claim check is never written back to Redis while a worker holds it.

The record is what survives a worker, so kombu's `unacked` copy of the message would be work for nothing. Messages of
plain Celery tasks have no record and keep kombu's bookkeeping.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis.exceptions import RedisError

from relier.outbox import current_outbox

logger = logging.getLogger("relier")


def is_claim_check(message: Any) -> bool:
    return "rl" in (message.headers or ())


class LedgerQoS(kombu_redis.QoS):
    """Claim checks are held in memory only; everything else as kombu does."""

    def append(self, message: Any, delivery_tag: str) -> None:
        if is_claim_check(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._is_light(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self._is_light(delivery_tag):
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
        super().restore_unacked(client)

    def unclaimed(self) -> list[str]:
        """The task ids of the claim checks held here; those that run already no longer need one."""
        held = list(self._delivered.items())
        return [m.headers["id"] for tag, m in held if tag not in self._dirty and is_claim_check(m)]

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
    """What both channels add to kombu's."""

    QoS = LedgerQoS

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        outbox = current_outbox()
        if outbox is None:
            super()._put(queue, message, **kwargs)  # type: ignore[misc]
        else:
            priority = self._get_message_priority(message, reverse=False)  # type: ignore[attr-defined]
            outbox.add_raw(self._q_for_pri(queue, priority), dumps(message))  # type: ignore[attr-defined]


class Channel(_LedgerChannel, kombu_redis.Channel):
    """A channel to one Redis."""


class SentinelChannel(_LedgerChannel, kombu_redis.SentinelChannel):
    """A channel to the master behind Sentinel."""


class Transport(kombu_redis.Transport):
    """`broker_transport` for one Redis."""

    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """`broker_transport` for Sentinel."""

    Channel = SentinelChannel
