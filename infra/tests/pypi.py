"""A fake PyPI for pip-audit on the loopback interface, with the packages that a test defines."""

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def knowing(vulnerabilities: Mapping[str, Sequence[str]], folder: Path) -> Iterator[dict[str, str]]:
    """The environment variables that redirect a client of PyPI to this server, through a proxy.

    `vulnerabilities` has the ids of each package's vulnerabilities, possibly none; other packages return 404.
    """
    authority = _certificate(folder, "authority", "-addext", "keyUsage=keyCertSign")

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            host = self.path.partition(":")[0]
            signed = ("-CA", str(authority), "-CAkey", str(authority), "-addext", f"subjectAltName=DNS:{host}")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(_certificate(folder, host, *signed))
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
            self.close_connection = False

        def do_GET(self) -> None:
            names = vulnerabilities.get(self.path.split("/")[2])
            body = json.dumps({"vulnerabilities": [_vulnerability(name) for name in names or ()]}).encode()
            self.send_response(404 if names is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        proxy = f"http://127.0.0.1:{server.server_port}"
        yield {"HTTPS_PROXY": proxy, "https_proxy": proxy, "REQUESTS_CA_BUNDLE": str(authority), "NO_PROXY": ""}
    finally:
        server.shutdown()
        server.server_close()


def _certificate(folder: Path, name: str, *options: str) -> Path:
    """A certificate for one day, in one file with its key."""
    path, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={name}", *options, "-keyout", str(key), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return path


def _vulnerability(name: str) -> dict[str, object]:
    return {"id": name, "aliases": [], "fixed_in": ["9.9"], "summary": "planted", "details": "", "withdrawn": None}
