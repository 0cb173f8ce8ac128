#!/usr/bin/env python3
"""A day's work on the real azure-batch 15 client, with the client's own retries off: pool, job, tasks in bulk, list in pages, file, end.

Endpoint, account and key come from BATCH_ENDPOINT, BATCH_ACCOUNT and BATCH_KEY; the way there from the environment that `run` gives. With
the argument `aio` it uses the asynchronous client. Fails on the first call that does.
"""

import asyncio
import os
import sys

from azure.batch import BatchClient, models
from azure.batch.aio import BatchClient as AsyncBatchClient
from azure.core.credentials import AzureNamedKeyCredential

TASKS = 300
NO_RETRIES = {"retry_total": 0, "retry_connect": 0, "retry_read": 0, "retry_status": 0}
POOL = models.BatchPoolCreateOptions(id="pool", vm_size="standard_d2s_v3")
JOB = models.BatchJobCreateOptions(id="job", pool_info=models.BatchPoolInfo(pool_id="pool"))


def ids():
    return [f"task-{n:04}" for n in range(TASKS)]


def tasks():
    return [models.BatchTaskCreateOptions(id=name, command_line="true") for name in ids()]


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r:.300}, not {wanted!r:.300}")


def synchronous(arguments):
    client = BatchClient(*arguments, **NO_RETRIES)
    client.create_pool(POOL)
    client.create_job(JOB)
    client.create_tasks("job", tasks())
    expect(sorted(task.id for task in client.list_tasks("job", max_results=50)), ids())
    content = b"".join(client.download_task_file("job", "task-0000", "stdout.txt"))
    assert content, "the file is empty"
    client.begin_terminate_job("job", {"terminateReason": "done"}, polling_interval=1).result()
    client.begin_delete_job("job", polling_interval=1).result()


async def asynchronous(arguments):
    # aiohttp looks at HTTPS_PROXY and SSL_CERT_FILE only where it is told to trust the environment, which azure-core does.
    async with AsyncBatchClient(*arguments, **NO_RETRIES) as client:
        await client.create_pool(POOL)
        await client.create_job(JOB)
        await client.create_tasks("job", tasks())
        expect(sorted([task.id async for task in client.list_tasks("job", max_results=50)]), ids())
        stream = await client.download_task_file("job", "task-0000", "stdout.txt")
        content = b"".join([piece async for piece in stream])
        assert content, "the file is empty"
        await (await client.begin_terminate_job("job", {"terminateReason": "done"}, polling_interval=1)).result()
        await (await client.begin_delete_job("job", polling_interval=1)).result()


def main():
    credential = AzureNamedKeyCredential(os.environ["BATCH_ACCOUNT"], os.environ["BATCH_KEY"])
    arguments = (os.environ["BATCH_ENDPOINT"], credential)
    if sys.argv[1:] == ["aio"]:
        asyncio.run(asynchronous(arguments))
    else:
        synchronous(arguments)


if __name__ == "__main__":
    main()
