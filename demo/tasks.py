"""The same four tasks on Relier: an `async def`, a `def`, an idempotent one and one with a checkpoint."""

from __future__ import annotations

from demo import bodies
from relier import TaskContext, rl_task


@rl_task()
async def quick(number: int, ctx: TaskContext) -> int:
    return await bodies.quick(ctx.task_id, ctx.fence, number)


@rl_task()
def nap(number: int, ctx: TaskContext) -> int:
    return bodies.nap(ctx.task_id, ctx.fence, number)


@rl_task(queue="high_priority", idempotent=True)
async def charge(number: int, ctx: TaskContext) -> int:
    return await bodies.charge(ctx.task_id, ctx.fence, number)


@rl_task(queue="low_priority")
async def crawl(number: int, ctx: TaskContext) -> int:
    first = (ctx.partial_result or {}).get("next", 0)

    async def save(page: int) -> None:
        await ctx.set_partial({"next": page})

    return await bodies.crawl(ctx.task_id, ctx.fence, first, save)
