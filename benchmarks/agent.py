"""What the resident agent costs: memory and processor time, polling a stand-in fleet server over HTTPS.

python benchmarks/agent.py [--polls N]

The agent is a real process, with its own serving process on an empty store beside it. Goal: 25 MiB RSS for the agent.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgekit_runtime.agent import protocol

GOAL = 25.0  # MiB


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    plain, no = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, plain, no) + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class StandIn:
    """Enrols everybody, orders nothing, and counts polls."""

    def __init__(self, pem: Path) -> None:
        self.polls, self.changed = 0, threading.Condition()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words: object) -> None: ...

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer: object = protocol.Orders(0.0, 0.1)
                if self.path.endswith("/enroll"):
                    answer = protocol.Enrolled(body["device"], 0.1)
                elif self.path.endswith("/reports"):
                    highest = {r["boot"]: r["sequence"] for r in body["reports"]}
                    answer = protocol.Received(highest)
                content = protocol.to_json(answer)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                with stand_in.changed:
                    stand_in.polls += self.path.endswith("/poll")
                    stand_in.changed.notify_all()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self, polls: int) -> None:
        """Until so many have come."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.polls >= polls, 120):
                raise SystemExit(f"the agent polled {self.polls} times, not {polls}")


def memory(process: int) -> dict[str, float]:
    """MiB by kind: VmRSS, VmHWM (its highest) and Pss (shared pages by their share)."""
    found = {}
    for file in ("status", "smaps_rollup"):
        for line in Path(f"/proc/{process}/{file}").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "VmHWM", "Pss"):
                found[name] = int(rest.split()[0]) / 1024
    return found


def cpu_seconds(process: int) -> float:
    """Processor time of the process itself."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the resident agent costs over HTTPS.")
    parser.add_argument("--polls", type=int, default=60)
    polls = parser.parse_args().polls
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pem = certificate(folder)
        server = StandIn(pem)
        command = [sys.executable, "-m", "edgekit_runtime", "agent", "--server", server.url, "--ca", str(pem)]
        command += ["--root", str(folder / "root"), "--name", "board", "--allow-unsigned", "--poll-seconds", "0.1"]
        environment = {**os.environ, "EDGEKIT_AGENT_TOKEN": "enrolment-token"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as agent:
            try:
                server.wait(10)
                first, begun = memory(agent.pid), cpu_seconds(agent.pid)
                server.wait(10 + polls)
                last, spent = memory(agent.pid), cpu_seconds(agent.pid) - begun
            finally:
                agent.terminate()
    print(f"after 10 polls: {first['VmRSS']:.1f} MiB RSS, {first['Pss']:.1f} PSS")
    print(
        f"after {10 + polls} polls: {last['VmRSS']:.1f} MiB RSS (goal {GOAL:g}), {last['Pss']:.1f} PSS, "
        f"{last['VmHWM']:.1f} at its highest"
    )
    print(f"{spent / polls * 1e3:.1f} ms of processor time a poll, new TLS connection included")


if __name__ == "__main__":
    main()
