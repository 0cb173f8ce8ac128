"""Makes a job of BATCH_TASKS tasks (20) in the pool BATCH_POOL, waits for them and fails if one of them did.

Nothing here knows of the proxy: the SDK finds it by HTTPS_PROXY and trusts it by REQUESTS_CA_BUNDLE, which the sidecar's component sets.
"""

import os
import sys
import time

from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential


def main():
    credential = AzureNamedKeyCredential(os.environ["BATCH_ACCOUNT"], os.environ["BATCH_KEY"])
    client = BatchClient(os.environ["BATCH_ENDPOINT"], credential)
    job = os.environ["BATCH_JOB"]
    names = [f"task-{number:04}" for number in range(int(os.environ.get("BATCH_TASKS", "20")))]

    client.create_job(models.BatchJobCreateOptions(id=job, pool_info=models.BatchPoolInfo(pool_id=os.environ["BATCH_POOL"])))
    client.create_tasks(job, [models.BatchTaskCreateOptions(id=name, command_line="/bin/sh -c 'echo done'") for name in names])
    print(f"{job}: {len(names)} tasks handed in")

    while True:
        counts = client.get_job_task_counts(job).task_counts
        print(f"{job}: {counts.completed} of {len(names)} done, {counts.failed} failed")
        if counts.completed >= len(names):
            break
        time.sleep(5)
    # A reason, as azure-batch 15.1.0 fails without.
    client.begin_terminate_job(job, {"terminateReason": "all tasks are done"}).result()
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
