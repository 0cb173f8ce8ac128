"""Asks once, then stops the proxy, as the program of a Job has to where the sidecar is an ordinary container."""

import urllib.request

import ask

ask.main(1)
with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:9464/shutdown", method="POST"), timeout=10) as answer:
    print(answer.status)
