#!/usr/bin/env python3
"""Checks the Shared Key signature of recorded requests: check_signatures.py FILE...

A file holds one request as it was received, head and body. The string to sign is made from those bytes alone, by the rules of the
service's REST reference ("Authenticate requests to the Azure Batch service"), not by the client's code. The last line printed is
the number of requests that were right; the exit status is 1 if one was not.
"""

import base64
import hashlib
import hmac
import sys
import urllib.parse

from azure_batch_15 import ACCOUNT, KEY

SIGNED = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
]


def string_to_sign(head):
    lines = head.decode("ascii").split("\r\n")
    method, target, _ = lines[0].split(" ")
    fields = {}
    for line in lines[1:]:
        name, value = line.split(":", 1)
        fields[name.lower()] = value.strip()
    path, _, query = target.partition("?")
    parameters = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    ocp = sorted(name for name in fields if name.startswith("ocp-"))
    text = "\n".join([method, *(fields.get(name, "") for name in SIGNED), *(f"{name}:{fields[name]}" for name in ocp)])
    return f"{text}\n/{ACCOUNT}{path}" + "".join(f"\n{name.lower()}:{value}" for name, value in parameters), fields


def fault(request):
    """What is wrong with a request; None if nothing is."""
    head, separator, body = request.partition(b"\r\n\r\n")
    if not separator:
        return "no end of the head"
    text, fields = string_to_sign(head)
    if len(body) != int(fields.get("content-length", "0")):
        return f"{len(body)} bytes of body"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    wanted = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    if fields.get("authorization") != wanted:
        return f"signature of another request than {text!r}"
    return None


def main(paths):
    right = 0
    for path in paths:
        with open(path, "rb") as file:
            wrong = fault(file.read())
        if wrong:
            print(f"{path}: {wrong}")
        else:
            right += 1
    print(right)
    return 0 if right == len(paths) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
