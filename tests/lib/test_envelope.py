"""What was signed at the push is what runs; anything else ends in the DLQ and never runs."""

from __future__ import annotations

import hashlib
import json

import pytest

from harness.process import wait_until
from relier.envelope import Envelope, dumps, key_id, keyring, loads, sign, verify
from relier.errors import PayloadIntegrityError

pytest_plugins = ("tests.lib.crew",)
KEY, OLD, RETIRED = "the key of today", "the key of yesterday", "the key of last year"


@pytest.fixture(scope="module")
def keyed(server, tmp_path_factory):
    """A worker that signs with `KEY` and still accepts `OLD`."""
    from tests.lib.crew import recruit

    crew = recruit(server, tmp_path_factory.mktemp("keyed"))
    crew.start(env={"RELIER_SECRET_KEY": KEY, "RELIER_SECRET_KEYS_PREVIOUS": f"{OLD}, another"})
    crew.start_resurrector()
    yield crew
    crew.stop()


@pytest.fixture
def parked(keyed, features, producer, token):
    """Push a task that waits, so that it can be tampered with; the returned function lets it go."""
    producer(secret_key=KEY)
    receipt = features.noted.apply_async((token, "as pushed"), countdown=3600)
    return receipt, f"rl:phoenix:{receipt.id}"


def let_go(crew, task_id):
    crew.client.zadd("rl:delayed", {task_id: 0})


def refused(crew, task_id, token):
    """The entry of a task that was rejected without a start."""
    entry = crew.quarantined(task_id)
    assert entry["reason"] == "PayloadIntegrityError"
    assert crew.runs(token) == (0, 0)
    assert not crew.record(task_id)
    return entry


def test_an_untouched_task_runs(keyed, parked):
    receipt, record = parked
    assert keyed.client.hget(record, "signature").startswith(f"hmac:{key_id(KEY)}:")
    let_go(keyed, receipt.id)
    assert receipt.get(timeout=20) == "as pushed"


def test_an_altered_envelope_is_refused(keyed, parked, token):
    receipt, record = parked
    envelope = keyed.client.hget(record, "envelope").replace("as pushed", "as forged")
    keyed.client.hset(record, "envelope", envelope)
    let_go(keyed, receipt.id)
    assert "does not match its signature" in refused(keyed, receipt.id, token)["error"]
    with pytest.raises(PayloadIntegrityError):
        receipt.get(timeout=20)


def test_an_altered_envelope_with_a_fresh_checksum_but_no_key_is_refused(keyed, features, parked, token):
    receipt, record = parked
    envelope = keyed.client.hget(record, "envelope").replace("as pushed", "as forged")
    bound = b"\0".join((receipt.id.encode(), features.noted.name.encode(), envelope.encode()))
    signature = "sha256:" + hashlib.sha256(bound).hexdigest()
    keyed.client.hset(record, mapping={"envelope": envelope, "signature": signature})
    let_go(keyed, receipt.id)
    assert "not signed, but RELIER_SECRET_KEY is set" in refused(keyed, receipt.id, token)["error"]


def test_an_envelope_replayed_under_another_id_is_refused(keyed, features, parked, token):
    receipt, record = parked
    stolen = keyed.client.hmget(record, "envelope", "signature")
    let_go(keyed, receipt.id)
    receipt.get(timeout=20)
    other = features.noted.apply_async(("unused",), countdown=3600)
    fields = dict(zip(("envelope", "signature"), stolen, strict=True))
    keyed.client.hset(f"rl:phoenix:{other.id}", mapping=fields)
    let_go(keyed, other.id)
    assert keyed.quarantined(other.id)["reason"] == "PayloadIntegrityError"
    assert keyed.runs(token) == (1, 1)


def test_an_envelope_under_another_tasks_name_is_refused(keyed, features, parked, token):
    receipt, record = parked
    keyed.client.hset(record, "name", features.failing.name)
    let_go(keyed, receipt.id)
    refused(keyed, receipt.id, token)


@pytest.mark.parametrize("key", [RETIRED, "a key of the attacker's"])
def test_an_envelope_signed_with_another_key_is_refused(keyed, features, producer, token, key):
    producer(secret_key=key)
    receipt = features.noted.push(token)
    assert "unknown or retired key" in refused(keyed, receipt.id, token)["error"]


def test_a_key_that_still_verifies_is_accepted(keyed, features, producer, token):
    producer(secret_key=OLD)
    assert features.noted.push(token, 3).get(timeout=20) == 3


def test_a_retired_key_under_the_name_of_the_current_one_is_refused(keyed, features, producer, token):
    producer(secret_key=RETIRED)
    receipt = features.noted.apply_async((token,), countdown=3600)
    record = f"rl:phoenix:{receipt.id}"
    _, _, digest = keyed.client.hget(record, "signature").split(":")
    keyed.client.hset(record, "signature", f"hmac:{key_id(KEY)}:{digest}")
    let_go(keyed, receipt.id)
    refused(keyed, receipt.id, token)


@pytest.mark.parametrize("field", ["signature", "envelope"])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "nonsense"])
def test_a_damaged_record_is_refused(keyed, parked, token, field, damage):
    receipt, record = parked
    value = keyed.client.hget(record, field)
    if damage == "removed":
        keyed.client.hdel(record, field)
    else:
        keyed.client.hset(record, field, {"emptied": "", "cut": value[:-9], "nonsense": "\x00é:::"}[damage])
    let_go(keyed, receipt.id)
    refused(keyed, receipt.id, token)


def test_a_plain_message_that_nobody_signed_is_refused_where_a_key_is_set(keyed, features, token):
    receipt = features.app.send_task(features.noted.name, [token], queue="default")
    assert "not signed, but RELIER_SECRET_KEY is set" in refused(keyed, receipt.id, token)["error"]


def test_a_refused_payload_is_not_released_with_the_others(keyed, features, parked, token, run):
    from relier import DeadLetterQueue

    receipt, record = parked
    keyed.client.hset(record, "signature", "sha256:forged")
    let_go(keyed, receipt.id)
    refused(keyed, receipt.id, token)
    run(DeadLetterQueue().retry_all())
    assert keyed.client.hget("rl:dlq", receipt.id)
    assert run(DeadLetterQueue().release(receipt.id))
    wait_until(lambda: not keyed.record(receipt.id), 20, "refused again")
    refused(keyed, receipt.id, token)


def test_a_retry_and_a_chain_are_signed_by_the_worker(keyed, features, producer, token):
    producer(secret_key=KEY)
    work = features.retried.s(token, 2) | features.add.s(1)
    assert work.delay().get(timeout=20) == 3


def test_without_a_key_a_checksum_finds_corruption(settings, db):
    settings()
    signature = sign("an-id", "a.name", "the body")
    assert signature.startswith("sha256:")
    verify("an-id", "a.name", b"the body", signature)
    for wrong in (("an-id", "a.name", "the bodx"), ("an-ie", "a.name", "the body"), ("an-id", "a.namf", "the body")):
        with pytest.raises(PayloadIntegrityError):
            verify(*wrong, signature)


def test_a_worker_without_a_key_refuses_what_a_key_signed(settings):
    settings(secret_key=KEY)
    signature = sign("an-id", "a.name", "the body")
    verify("an-id", "a.name", "the body", signature)
    settings(secret_key="")
    with pytest.raises(PayloadIntegrityError, match="unknown or retired key"):
        verify("an-id", "a.name", "the body", signature)


def test_unsigned_envelopes_pass_for_as_long_as_the_setting_says_so(settings):
    settings()
    signature = sign("an-id", "a.name", "the body")
    settings(secret_key=KEY)
    with pytest.raises(PayloadIntegrityError, match="RELIER_ACCEPT_UNSIGNED=true lets it pass"):
        verify("an-id", "a.name", "the body", signature)
    settings(secret_key=KEY, accept_unsigned="true")
    verify("an-id", "a.name", "the body", signature)
    with pytest.raises(PayloadIntegrityError):
        verify("an-id", "a.name", "another body", signature)


def test_the_key_ring_holds_the_keys_that_still_verify(settings):
    settings(secret_key=KEY, secret_keys_previous=f"{OLD}, ,{RETIRED},")
    ring = keyring()
    assert ring.current == key_id(KEY)
    assert set(ring.keys) == {key_id(KEY), key_id(OLD), key_id(RETIRED)}


def test_a_signature_does_not_tell_the_key(settings):
    settings(secret_key=KEY)
    assert KEY not in sign("an-id", "a.name", "the body")
    assert KEY not in repr(settings())


def test_an_envelope_survives_its_journey():
    sealed = Envelope(3, [1, "é", None], {"k": [1.5]}, 12.25, {"retries": 1}, {"traceparent": "x"})
    assert Envelope.decode(sealed.encode()) == sealed
    assert json.loads(sealed.encode())["v"] == 3
    assert loads(dumps({"a": [1, {"b": "c"}]})) == {"a": [1, {"b": "c"}]}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"null", b'{"v":1}', b"\xff"])
def test_a_text_that_is_no_envelope_is_an_integrity_error(text):
    with pytest.raises(PayloadIntegrityError, match="unreadable"):
        Envelope.decode(text)
