"""Asks the account for its jobs again and again, through the proxy and by the certificates that the environment names, which are read once.

ask.py COUNT [PAUSE]: prints a line of JSON for each question. Only the standard library, so that nothing retries.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request


def main(count, pause=0):
    request = urllib.request.Request(f"{os.environ['BATCH_ENDPOINT']}/jobs?api-version=2024-07-01.20.0", headers={"Authorization": "Bearer x"})
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    for _ in range(int(count)):
        began = time.monotonic()
        said = {"status": 0, "error": None}
        try:
            with opener.open(request, timeout=60) as answer:
                answer.read()
                said |= {"status": answer.status, "fate": answer.headers["Proxy-Status"]}
        except urllib.error.HTTPError as error:
            said |= {"status": error.code, "fate": error.headers["Proxy-Status"], "error": error.read().decode()}
        except OSError as error:
            said["error"] = str(error)
        print(json.dumps({**said, "took": time.monotonic() - began}), flush=True)
        time.sleep(float(pause))


if __name__ == "__main__":
    main(*sys.argv[1:])
