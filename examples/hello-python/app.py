"""hello-python: a web app with Python's standard library that answers the proxy only.

On one machine every user can connect to every loopback port. Roost therefore
gives each instance a random token, and sends it along with each request: what
comes without it did not come through the proxy.
"""

import hmac
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH_BASE = os.environ.get("ROOST_PATH_BASE", "")
# Taken out of the environment, so that no child process of the app inherits it.
TOKEN = os.environ.pop("ROOST_TOKEN", "").encode()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        # compare_digest takes the same time wherever the two differ: == would tell how much was guessed right.
        if not hmac.compare_digest(self.headers.get("Roost-Token", "").encode(), TOKEN):
            self.answer(403, "Forbidden: this did not come through the proxy.\n")
            return
        self.answer(
            200,
            f"Hello from Python {sys.version.split()[0]}: {self.command} {self.path}\n"
            f'below "{PATH_BASE}", instance {os.environ.get("ROOST_INSTANCE")}, '
            f'pid {os.getpid()}, for {self.headers.get("X-Forwarded-For")}\n',
        )

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for the requests that are open


def main():
    if not TOKEN:
        sys.exit("hello-python: ROOST_TOKEN is not set: this app runs behind Roost only")
    stop = {signal.SIGTERM, signal.SIGINT}
    # Blocked in every thread, and picked up by sigwait below.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)

    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}).start()
    print(f"hello-python: listening on 127.0.0.1:{server.server_port}", flush=True)

    signal.sigwait(stop)
    print("hello-python: stopping", flush=True)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
