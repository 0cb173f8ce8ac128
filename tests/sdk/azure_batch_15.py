#!/usr/bin/env python3
"""A workload on the real azure-batch 15 client, with the client's own retries off.

It goes through HTTPS_PROXY and trusts REQUESTS_CA_BUNDLE, both from the environment. Each call prints one line of JSON; the exit
status is 0 only if all succeeded. The client never retries (retry_total, retry_connect, retry_read and retry_status are 0), so
whatever succeeds after a fault was replayed by the proxy.
"""

import json
import sys

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential

ACCOUNT = "testacct"
KEY = "ZmFrZS1rZXktb2YtdGhlLXRlc3RzLW5vdC1hLXNlY3JldA=="
ENDPOINT = "https://testacct.westeurope.batch.azure.com"
FILE = bytes(index % 251 for index in range(200_000))


def list_pools(client):
    """Two pages: the second is behind an absolute odata.nextLink."""
    pools = [pool.id for pool in client.list_pools()]
    expect(pools, ["pool1", "pool2", "pool3"])


def get_job(client):
    expect(client.get_job("job1").id, "job1")


def create_job(client):
    client.create_job(models.BatchJobCreateOptions(id="jobA", pool_info=models.BatchPoolInfo(pool_id="pool1")))


def create_task_collection(client):
    tasks = [models.BatchTaskCreateOptions(id=f"t{n:03}", command_line=f"echo {n}") for n in range(100)]
    result = client.create_task_collection("jobA", models.BatchTaskGroup(task_values=tasks))
    expect([(task.task_id, task.status) for task in result.result_values], [(task.id, models.BatchTaskAddStatus.SUCCESS) for task in tasks])


def read_task_file(client):
    content = b"".join(client.download_task_file("job1", "task1", "wd/stdout.txt"))
    if content != FILE:
        raise AssertionError(f"the file differs: {len(content)} bytes of {len(FILE)}")


def delete_job(client):
    """A DELETE, and a GET that finds the job gone. A poll that failed would show in the status alone."""
    poller = client.begin_delete_job("jobA", polling_interval=0)
    poller.result()
    expect(poller.status(), "Succeeded")


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r:.300}, not {wanted!r:.300}")


def main():
    client = BatchClient(
        ENDPOINT,
        AzureNamedKeyCredential(ACCOUNT, KEY),
        retry_total=0,
        retry_connect=0,
        retry_read=0,
        retry_status=0,
    )
    succeeded = True
    for call in [list_pools, get_job, create_job, create_task_collection, read_task_file, delete_job]:
        error = None
        try:
            call(client)
        except Exception as exception:  # Whatever went wrong is the result of this call; the next one is tried all the same.
            error = f"{type(exception).__name__}: {exception}"
            succeeded = False
        print(json.dumps({"call": call.__name__, "ok": error is None, "error": error}), flush=True)
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
