# Tries each HTTP client of this Python once, as the Batch clients use it, and prints a line for each.
import asyncio
import os
import platform
import re
import socket
import sys

host, url = sys.argv[1], sys.argv[2]
headers = {"Authorization": "Bearer doctor"}
went_direct = False


def guarded(name, *rest, real=socket.getaddrinfo, **more):
    # The name is for the proxy: who asks for its address goes around it. It is in no DNS, and nobody is to be asked.
    global went_direct
    if name in (host, host.encode()):
        went_direct = True
        raise socket.gaierror(socket.EAI_NONAME, "the proxy is not used")
    return real(name, *rest, **more)


socket.getaddrinfo = guarded


def say(client, version, outcome, detail=""):
    executable = os.path.realpath(sys.executable or "") + ":" + sys.prefix
    version = "%s, %s %s" % (platform.python_version(), client, version)
    line = ("doctor", client, version, outcome, re.sub(r"\s+", " ", str(detail)), executable)
    print("\t".join(line), flush=True)


def attempt(client, version, fetch):
    global went_direct
    went_direct = False
    try:
        via = fetch()
    except Exception as error:
        text = "%s: %s" % (type(error).__name__, error)
        if went_direct:
            say(client, version, "direct")
        elif re.search("CERTIFICATE_VERIFY_FAILED|certificate verify failed", text):
            say(client, version, "untrusted")
        else:
            say(client, version, "failed", text)
    else:
        say(client, version, "works" if "batch-retry-proxy" in (via or "") else "direct")


def by_requests():
    return requests.get(url, headers=headers, timeout=5).headers.get("proxy-status")


def by_aiohttp():
    async def fetch():
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(trust_env=True, timeout=timeout) as session:
            async with session.get(url, headers=headers) as answer:
                return answer.headers.get("proxy-status")

    return asyncio.run(fetch())


def by_urllib():
    import urllib.request

    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.headers.get("proxy-status")


found = 0
try:
    import requests
except Exception as error:
    missing = error
else:
    found += 1
    attempt("requests", requests.__version__, by_requests)
try:
    import aiohttp
except Exception:
    pass
else:
    found += 1
    attempt("aiohttp", aiohttp.__version__, by_aiohttp)
if not found:
    say("requests", "", "missing", missing)
    attempt("urllib", "", by_urllib)
