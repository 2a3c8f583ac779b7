"""`@rl_task` refuses at decoration what cannot work, in a sentence that says what to do instead."""

from __future__ import annotations

import inspect

import pytest

from relier import rl_task

pytest_plugins = ("tests.lib.crew",)
pytestmark = pytest.mark.usefixtures("features")


def body():
    """A body to decorate."""


async def coroutine():
    """A body with timeouts."""


async def hook(context):
    """A soft hook."""


def refusal(function=body, **options):
    with pytest.raises(ValueError) as refused:
        rl_task(**options)(function)
    return str(refused.value)


def test_the_options_have_their_documented_defaults():
    parameters = inspect.signature(rl_task).parameters
    assert {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty} == {
        "queue": "default",
        "idempotent": False,
        "idempotency_ttl": 3600,
        "soft_timeout": None,
        "hard_timeout": None,
        "on_soft_timeout": None,
        "name": None,
        "max_resurrections": None,
        "durability": None,
        "bind": False,
    }
    positional = [name for name, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [
        "queue",
        "idempotent",
        "idempotency_ttl",
        "soft_timeout",
        "hard_timeout",
        "on_soft_timeout",
        "name",
    ]


def test_an_unknown_queue_is_refused_with_the_ones_there_are():
    message = refusal(queue="urgent")
    assert message.startswith("Unknown public queue 'urgent'")
    assert "high_priority, default, low_priority" in message


def test_the_internal_queue_is_refused():
    message = refusal(queue="re-queue")
    assert "'re-queue' is internal" in message
    assert "only Phoenix may publish into it" in message


@pytest.mark.parametrize("queue", ["high_priority", "default", "low_priority"])
def test_the_three_public_queues_are_accepted(queue):
    assert rl_task(queue=queue, name=f"tests.on_{queue}")(body).rl_queue == queue


def test_a_queue_that_was_added_to_celerys_own_is_accepted(features):
    from kombu.entity import Queue

    conf = features.app.conf
    before = conf.task_queues
    conf.task_queues = [*before, Queue("reports")]
    try:
        assert rl_task(queue="reports", name="tests.on_reports")(body).rl_queue == "reports"
        assert "re-queue" not in refusal(queue="urgent")
    finally:
        conf.task_queues = before


@pytest.mark.parametrize("options", [{"soft_timeout": 1}, {"hard_timeout": 2}, {"on_soft_timeout": hook}])
def test_timeouts_on_a_plain_function_are_refused(options):
    message = refusal(**options)
    assert message.startswith("Timeout parameters are only supported for async functions.")
    assert "asyncio.to_thread" in message


def test_a_soft_timeout_alone_is_refused():
    assert "needs a hard_timeout" in refusal(coroutine, soft_timeout=5)


@pytest.mark.parametrize("hard", [5, 4.9])
def test_a_hard_timeout_must_be_greater_than_the_soft_one(hard):
    message = refusal(coroutine, soft_timeout=5, hard_timeout=hard)
    assert message == f"hard_timeout ({hard:g} s) must be greater than soft_timeout (5 s)."


@pytest.mark.parametrize("hard", [120, 500])
def test_a_hard_timeout_must_be_shorter_than_the_in_flight_ttl(hard):
    message = refusal(coroutine, hard_timeout=hard)
    assert message.startswith(f"hard_timeout ({hard} s) must be < IDEMPOTENCY_INFLIGHT_TTL (120 s)")


def test_a_longer_in_flight_ttl_allows_a_longer_hard_timeout(settings):
    settings(idempotency_inflight_ttl=700)
    assert rl_task(hard_timeout=600, name="tests.long")(coroutine).limits.hard == 600
    assert "IDEMPOTENCY_INFLIGHT_TTL (700 s)" in refusal(coroutine, hard_timeout=700)


def test_a_hook_that_is_no_coroutine_function_is_refused():
    message = refusal(coroutine, soft_timeout=1, hard_timeout=2, on_soft_timeout=body)
    assert "on_soft_timeout must be an async function" in message


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"acks_late": False}, None),
        ({"acks_late": True}, None),
        ({"priority": 5}, "queue='high_priority'"),
        ({"rate_limit": "10/m"}, "admission control"),
        ({"reject_on_worker_lost": True}, "max_resurrections"),
        ({"base": object}, "decorator of your own"),
        ({"idempotency_ttl": 0}, "idempotency_ttl is 0"),
        ({"max_resurrections": -1}, "give 0 or more"),
        ({"durability": "forever"}, "local, replicated, fsynced"),
    ],
)
def test_options_that_relier_cannot_honour_are_refused_with_the_way_out(options, hint):
    if hint is None:
        rl_task(name=f"tests.late_{options}", **options)(body)
    else:
        assert hint in refusal(**options)


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generators_are_refused(function):
    assert "return a list instead" in refusal(function)


def test_the_decorator_without_brackets_is_a_clear_mistake():
    with pytest.raises(TypeError, match=r"@rl_task\(\)"):
        rl_task(body)


def test_a_task_is_named_after_its_module_unless_it_is_given_a_name(features):
    assert features.add.name == "tests.lib.feature_tasks.add"
    assert rl_task(name="billing.charge")(body).name == "billing.charge"


def test_a_task_keeps_the_name_and_the_words_of_its_function(features):
    assert features.described.__name__ == "described"
    assert features.described.__doc__ == "What arrived, as type names and texts."
    assert features.described.__module__ == "tests.lib.feature_tasks"


def test_a_task_takes_celerys_own_options(features):
    task = rl_task(name="tests.optioned", max_retries=7, default_retry_delay=2, ignore_result=True)(body)
    assert (task.max_retries, task.default_retry_delay, task.ignore_result) == (7, 2, True)


def test_the_context_is_no_argument_of_the_caller(features):
    with pytest.raises(TypeError, match="ctx"):
        features.in_context.push(1, ctx=2)


def test_a_task_is_registered_with_reliers_app(features):
    from relier.tasks.app import celery_app

    assert celery_app.tasks[features.add.name].rl_queue == "default"
