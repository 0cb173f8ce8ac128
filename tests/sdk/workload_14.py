#!/usr/bin/env python3
"""The same day's work as workload_15.py on the real azure-batch 14 client, with its retries off."""

import os

from azure.batch import BatchServiceClient, models
from azure.batch.batch_auth import SharedKeyCredentials

TASKS = 300


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r:.300}, not {wanted!r:.300}")


def main():
    credentials = SharedKeyCredentials(os.environ["BATCH_ACCOUNT"], os.environ["BATCH_KEY"])
    client = BatchServiceClient(credentials, batch_url=os.environ["BATCH_ENDPOINT"])
    # `retries` alone still lets urllib3 obey a Retry-After.
    policy = client.config.retry_policy.policy
    policy.total = policy.connect = policy.read = policy.status = 0
    policy.respect_retry_after_header = False
    policy.status_forcelist = []
    ids = [f"task-{n:04}" for n in range(TASKS)]
    client.pool.add(models.PoolAddParameter(id="pool", vm_size="standard_d2s_v3"))
    client.job.add(models.JobAddParameter(id="job", pool_info=models.PoolInformation(pool_id="pool")))
    client.task.add_collection("job", [models.TaskAddParameter(id=name, command_line="true") for name in ids])
    pages = models.TaskListOptions(max_results=50)
    expect(sorted(task.id for task in client.task.list("job", task_list_options=pages)), ids)
    content = b"".join(client.file.get_from_task("job", "task-0000", "stdout.txt"))
    assert content, "the file is empty"
    client.job.terminate("job", terminate_reason="done")
    client.job.delete("job")


if __name__ == "__main__":
    main()
