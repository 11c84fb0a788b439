"""An app that authenticates its connections by Kerberos, as AddNegotiate does with a keytab."""

import base64
import itertools
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gssapi

numbers = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):  # once a connection
        super().setup()
        self.number, self.user = next(numbers), None

    def do_GET(self):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        answer = None
        if scheme == "Negotiate":
            try:
                context = gssapi.SecurityContext(usage="accept")
                answer = context.step(base64.b64decode(token))
                self.user = str(context.initiator_name) if context.complete else None
            except gssapi.exceptions.GSSError as e:
                print("refused:", e, flush=True)
                self.user = None
        body = f"{self.user} {self.number}\n".encode()
        self.send_response(200 if self.user else 401)
        if answer or not self.user:
            text = " " + base64.b64encode(answer).decode() if answer else ""
            self.send_header("WWW-Authenticate", "Negotiate" + text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
