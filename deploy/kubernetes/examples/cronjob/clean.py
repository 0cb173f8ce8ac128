"""Deletes the account's jobs that were completed more than KEEP_DAYS days ago; prints them only while DRY_RUN is 1.

Nothing here knows of the proxy: the SDK finds it by HTTPS_PROXY and trusts it by REQUESTS_CA_BUNDLE, which the sidecar's component sets.
"""

import os
import sys
from datetime import datetime, timedelta, timezone

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError


def main():
    credential = AzureNamedKeyCredential(os.environ["BATCH_ACCOUNT"], os.environ["BATCH_KEY"])
    client = BatchClient(os.environ["BATCH_ENDPOINT"], credential)
    until = datetime.now(timezone.utc) - timedelta(days=float(os.environ.get("KEEP_DAYS", "30")))
    old = client.list_jobs(
        filter=f"state eq 'completed' and stateTransitionTime lt datetime'{until:%Y-%m-%dT%H:%M:%SZ}'",
        select=["id", "state", "stateTransitionTime"],
    )

    deleted = failed = 0
    # The list first: deleting while it is read would move its pages.
    for job in list(old):
        # Asked again, as what is deleted cannot be had back.
        if job.state != "completed" or job.state_transition_time >= until:
            continue
        if os.environ.get("DRY_RUN") == "1":
            print(f"{job.id}: completed {job.state_transition_time:%Y-%m-%d}, would be deleted")
            continue
        try:
            client.begin_delete_job(job.id).result()
            print(f"{job.id}: deleted")
            deleted += 1
        except HttpResponseError as error:
            print(f"{job.id}: {error}", file=sys.stderr)
            failed += 1
    print(f"{deleted} deleted, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
