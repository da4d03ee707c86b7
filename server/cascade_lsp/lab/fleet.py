"""Many machines record together: tasks go to Dask workers, each of which holds its models.

Without a scheduler's address the workers are processes of this machine.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from cascade_lsp.errors import UsageError
from cascade_lsp.lab import rows
from cascade_lsp.lab.record import Engines, Recipe, Task, record


async def rows_of(
    tasks: Sequence[Task], recipe: Recipe, scheduler: str | None, workers: int, threads: int
) -> AsyncIterator[rows.Row]:
    """Yield the rows of tasks as they come: recorded here, or by Dask where workers are asked for.

    A task that failed on a worker raises here; what came before is kept by the caller.
    """
    if scheduler is None and workers <= 1:
        engines = Engines(threads)
        try:
            for task in tasks:
                yield await record(engines.of(task.model), task.model, task.problem, recipe)
        finally:
            await engines.close()
        return
    distributed = _distributed()
    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    options = {"address": scheduler} if scheduler else local
    async with distributed.Client(asynchronous=True, **options) as client:
        futures = client.map(_recorded, tasks, recipe=recipe, threads=threads, pure=False)
        async for _, row in distributed.as_completed(futures, with_results=True):
            yield row


async def _recorded(task: Task, recipe: Recipe, threads: int) -> rows.Row:
    """Record one row on a Dask worker, whose engines stay for the next one."""
    worker = _distributed().get_worker()
    if not hasattr(worker, "cascade_engines"):
        worker.cascade_engines = Engines(threads)
    engine = worker.cascade_engines.of(task.model)
    return await record(engine, task.model, task.problem, recipe)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            "Recording on several workers needs Dask: pip install 'cascade-lsp[lab]'."
        ) from error
    return distributed
