"""Asks `HOST:PORT`s on loopback for a TLS handshake, as ssl's default context verifies them; says for each how it went."""

import socket
import ssl
import sys

context = ssl.create_default_context(cafile=sys.argv[1])
for asked in sys.argv[2:]:
    host, port = asked.rsplit(":", 1)
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as plain, context.wrap_socket(plain, server_hostname=host):
            print("accepted", asked)
    except ssl.SSLError as error:
        print("refused", asked, error)
