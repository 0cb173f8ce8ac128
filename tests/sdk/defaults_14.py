#!/usr/bin/env python3
"""The calls of defaults_15.py on the real azure-batch 14 client, with its retries as they come: defaults_14.py CALL..."""

import json
import os
import sys

from azure.batch import BatchServiceClient, models
from azure.batch.batch_auth import SharedKeyCredentials

JOB = models.JobAddParameter(id="job", pool_info=models.PoolInformation(pool_id="pool"))
TASKS = [models.TaskAddParameter(id=f"task-{n:04}", command_line="true") for n in range(300)]
CALLS = {
    "get job": lambda client: client.job.get("job"),
    "create job": lambda client: client.job.add(JOB),
    "delete job": lambda client: client.job.delete("job"),
    "add tasks": lambda client: client.task.add_collection("job", TASKS),
}


def main(calls):
    credentials = SharedKeyCredentials(os.environ["BATCH_ACCOUNT"], os.environ["BATCH_KEY"])
    client = BatchServiceClient(credentials, batch_url=os.environ["BATCH_ENDPOINT"])
    succeeded = True
    for call in calls:
        error = None
        try:
            CALLS[call](client)
        except Exception as exception:  # Whatever it is, it is the result.
            error = f"{type(exception).__name__}: {exception}"
            succeeded = False
        print(json.dumps({"call": call, "error": error}), flush=True)
    return succeeded


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
