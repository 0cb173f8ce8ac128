#!/usr/bin/env python3
"""Calls on the real azure-batch 15 client with its retries as they come: defaults_15.py [aio] CALL...

Endpoint, account and key come from BATCH_ENDPOINT, BATCH_ACCOUNT and BATCH_KEY; the way there from the environment that `run` gives. Each call
prints one line of JSON with the error it ended in; the exit status is 0 only if all succeeded. With `aio` it uses the asynchronous client.
"""

import asyncio
import json
import os
import sys

from azure.batch import BatchClient, models
from azure.batch.aio import BatchClient as AsyncBatchClient
from azure.core.credentials import AzureNamedKeyCredential

JOB = models.BatchJobCreateOptions(id="job", pool_info=models.BatchPoolInfo(pool_id="pool"))
TASKS = [models.BatchTaskCreateOptions(id=f"task-{n:04}", command_line="true") for n in range(300)]
CALLS = {
    "get job": lambda client: client.get_job("job"),
    "create job": lambda client: client.create_job(JOB),
    "delete job": lambda client: client.begin_delete_job("job"),
    "add tasks": lambda client: client.create_tasks("job", TASKS),
}


def report(call, error):
    print(json.dumps({"call": call, "error": error and f"{type(error).__name__}: {error}"}), flush=True)
    return error is None


def synchronous(arguments, calls):
    client = BatchClient(*arguments)
    succeeded = True
    for call in calls:
        error = None
        try:
            CALLS[call](client)
        except Exception as exception:  # Whatever it is, it is the result.
            error = exception
        succeeded &= report(call, error)
    return succeeded


async def asynchronous(arguments, calls):
    succeeded = True
    async with AsyncBatchClient(*arguments) as client:
        for call in calls:
            error = None
            try:
                await CALLS[call](client)
            except Exception as exception:  # Whatever it is, it is the result.
                error = exception
            succeeded &= report(call, error)
    return succeeded


def main(arguments):
    credential = AzureNamedKeyCredential(os.environ["BATCH_ACCOUNT"], os.environ["BATCH_KEY"])
    client = (os.environ["BATCH_ENDPOINT"], credential)
    if arguments[0] == "aio":
        return asyncio.run(asynchronous(client, arguments[1:]))
    return synchronous(client, arguments)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
