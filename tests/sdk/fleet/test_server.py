"""The real server as a process: what devices and operators say to it over HTTP, and what nobody should."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.fleet.client import Client, Where
from edgekit.fleet.errors import ServerError
from edgekit.signing import make_keys, sign
from edgekit_runtime.agent import protocol as p
from edgekit_runtime.agent.link import Link, Refusal
from edgekit_runtime.errors import EdgekitError, SignatureError, UsageError

from ..conftest import edgekit
from .conftest import bundle_file


class Server:
    """`edgekit fleet serve` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "edgekit-fleet"
        self.start()

    def start(self, *more: str, port: int = 0) -> None:
        command = [
            sys.executable,
            "-m",
            "edgekit",
            "fleet",
            "serve",
            "--port",
            str(port),
            "--max-bundle-mib",
            "1",
            *more,
        ]
        self.process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert line.startswith("edgekit fleet at "), line + self.process.stderr.read()
        self.url = line.split()[3].rstrip(";")
        self.heard: list[str] = []  # what it writes must be read, or it waits for ever
        threading.Thread(target=lambda: self.heard.extend(self.process.stderr), daemon=True).start()

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)

    @property
    def token(self) -> str:
        return (self.data / "tokens/enrolment").read_text().strip()

    def client(self) -> Client:
        return Client.find(Where(data=self.data))

    def ask(self, method: str, path: str, body: bytes | None = None, **head: str) -> tuple[int, dict, dict]:
        """(status, JSON, headers)."""
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in head.items()})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content), dict(response.getheaders())


class Board:
    """A device that talks to the server as the agent does."""

    def __init__(self, server: Server, name: str) -> None:
        self.link, self.name, self.secret, self.sequence = Link(server.url), name, f"secret-of-{name}", 0
        hashed = hashlib.sha256(self.secret.encode()).hexdigest()
        self.link.call("/api/v1/enroll", p.Enroll(name, hashed, ("porch",)), p.Enrolled, server.token)

    @property
    def authorization(self) -> str:
        return f"{self.name}:{self.secret}"

    def poll(self, *jobs: p.JobState, runs: str = "") -> p.Orders:
        self.sequence += 1
        slots = {"double": p.Running(runs, ready=True)} if runs else {}
        said = p.Poll(self.name, "boot", self.sequence, 0.0, slots, jobs, p.Health(temperature=61.0))
        return self.link.call("/api/v1/poll", said, p.Orders, self.authorization)

    def report(self, *numbers: int) -> dict[str, int]:
        said = p.Reports(self.name, tuple(p.Report("boot", n, "state", 0.0, {"n": n}) for n in numbers))
        return dict(self.link.call("/api/v1/reports", said, p.Received, self.authorization).acknowledged)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    assert made.stop() == 0, made.heard
    assert not (made.data / "server.json").exists()


def test_a_signed_bundle_goes_out_and_comes_back_as_an_operator_types_it(tmp_path):
    server = Server(tmp_path)
    make_keys(tmp_path / "release")
    files = {note: bundle_file(tmp_path / f"{note}.edgekit", note) for note in ("old", "new")}
    done = edgekit("fleet", "rollout", "create", "old.edgekit", "--group", "porch", cwd=tmp_path)
    assert done.returncode == 1 and "is not signed" in done.stderr and done.stderr.count("\n") == 1
    for file in files.values():
        sign(file, tmp_path / "release.key")
    board, jobs = Board(server, "pi-1"), []
    for file in files.values():
        done = edgekit(
            "fleet", "rollout", "create", file.name, "--group", "porch", "--soak", "5", "--json", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        job = board.poll(runs=jobs[-1].digest if jobs else "").job
        assert (job.digest, job.job, job.soak.seconds) == (said["digest"], f"{said['rollout']}-1", 5.0)
        assert job.signature is not None and job.signature.algorithm == "ed25519"
        target = tmp_path / "part"
        target.write_bytes(file.read_bytes()[:100])  # what an earlier try left
        board.link.download(
            f"/api/v1/bundles/{job.digest}", target, job.size, board.authorization, lambda _: None, lambda: False
        )
        assert (
            target.read_bytes() == file.read_bytes() and hashlib.sha256(target.read_bytes()).hexdigest() == job.sha256
        )
        target.unlink()
        board.poll(p.JobState(job.job, p.DOWNLOADING))
        assert board.poll(p.JobState(job.job, p.SUCCEEDED), runs=job.digest).settled == (job.job,)
        jobs.append(job)
    shown = edgekit("fleet", "devices", cwd=tmp_path)
    assert shown.returncode == 0 and "pi-1" in shown.stdout and jobs[-1].digest[:8] in shown.stdout
    shown = edgekit("fleet", "rollout", "status", cwd=tmp_path)
    assert "1 SUCCEEDED" in " ".join(shown.stdout.split()) and "porch" in shown.stdout
    shown = json.loads(edgekit("fleet", "rollout", "status", "2", "--json", cwd=tmp_path).stdout)
    assert shown["devices"][0]["before"] == jobs[0].digest
    done = edgekit("fleet", "rollout", "undo", "2", cwd=tmp_path)
    assert done.returncode == 0 and "devices that go back: 1" in done.stdout
    assert board.poll(runs=jobs[1].digest).job.digest == jobs[0].digest
    shown = edgekit("fleet", "status", cwd=tmp_path)
    assert "1 device, 1 online, hottest 61 °C; jobs: 1 QUEUED" in shown.stdout
    shown = edgekit("fleet", "watch", "--count", "1", cwd=tmp_path)
    assert shown.returncode == 0 and "pi-1" in shown.stdout
    assert edgekit("fleet", "remove", "pi-1", cwd=tmp_path).returncode == 0
    with pytest.raises(Refusal, match="not known"):
        board.poll()
    server.stop()
    done = edgekit("fleet", "status", cwd=tmp_path)
    assert done.returncode == 2 and "no fleet server runs" in done.stderr


def test_a_restart_in_the_middle_changes_nothing_for_devices(tmp_path):
    server = Server(tmp_path)
    board = Board(server, "pi-1")
    file = bundle_file(tmp_path / "one.edgekit", "one")
    client = server.client()
    digest = client.upload(file, allow_unsigned=True)["digest"]
    client.call("POST", "/rollouts", {"digest": digest, "group": "porch"})
    job = board.poll().job
    assert board.report(1, 2) == {"boot": 2}
    port = int(server.url.rpartition(":")[2])
    assert server.stop(signal.SIGKILL) != 0
    server.start(port=port)  # what the killed one left, server.json and incoming files, is no hindrance
    assert board.poll().job == job
    assert board.report(1, 2, 3) == {"boot": 3}
    assert board.poll(p.JobState(job.job, p.SUCCEEDED), runs=digest).settled == (job.job,)
    server.stop()


def test_only_who_may_is_let_in(server):
    board = Board(server, "pi-in")
    for path in ("enroll", "poll", "reports", "fleet/rollouts", "fleet/bundles", "fleet/rollouts/1/undo"):
        for authorization in ("", "Bearer", "Bearer x", "Basic eDp5", "Bearer pi-in:wrong", "Bearer \xff:\xff"):
            status, said, _ = server.ask("POST", f"/api/v1/{path}", b"{}", Authorization=authorization)
            assert status == 401 and said["error"], (path, authorization)
    operator = (server.data / "tokens/operator").read_text().strip()
    for path in ("fleet/devices", "fleet/status", "fleet/rollouts", "fleet/rollouts/1", "bundles/" + "a" * 64):
        assert server.ask("GET", f"/api/v1/{path}", Authorization=f"Bearer {server.token}")[0] == 401
    # the kinds of secret do not stand in for each other
    assert server.ask("POST", "/api/v1/enroll", b"{}", Authorization=f"Bearer {operator}")[0] == 401
    assert server.ask("GET", "/api/v1/fleet/status", Authorization=f"Bearer {board.authorization}")[0] == 401
    other = p.to_json(p.Poll("pi-other", "b", 1, 0.0))
    status, said, _ = server.ask("POST", "/api/v1/poll", other, Authorization=f"Bearer {board.authorization}")
    assert status == 403 and "cannot speak for pi-other" in said["error"]
    for name in ("enrolment", "operator"):
        assert stat.S_IMODE((server.data / "tokens" / name).stat().st_mode) == 0o600


def test_refusals_are_one_sentence_with_the_right_status(server):
    board = Board(server, "pi-says")
    head = {"Authorization": f"Bearer {board.authorization}"}
    operator = {"Authorization": f"Bearer {(server.data / 'tokens/operator').read_text().strip()}"}
    poll = json.loads(p.to_json(p.Poll("pi-says", "b", 1, 0.0)))

    def status(method: str, path: str, body: bytes | None = None, **more: str) -> int:
        code, said, _ = server.ask(method, path, body, **more)
        assert set(said) == {"error"} and "\n" not in said["error"]
        return code

    assert status("POST", "/api/v1/poll", json.dumps({**poll, "protocol": 2}).encode(), **head) == 426
    assert status("POST", "/api/v1/poll", b'{"protocol": 9, "other": 1}', **head) == 426
    assert status("POST", "/api/v1/poll", b"[", **head) == 400
    assert status("POST", "/api/v1/poll", json.dumps({**poll, "boot": "\ud800"}).encode(), **head) == 400
    assert status("POST", "/api/v1/poll", json.dumps({**poll, "sequence": 2**64}).encode(), **head) == 400
    assert status("POST", "/api/v1/poll", b" " * (p.MAX_MESSAGE + 1), **head) == 413
    assert status("POST", "/api/v1/fleet/bundles", b"PK" * 2**20, **operator) == 413
    assert status("POST", "/api/v1/fleet/bundles", b"PK", **operator) == 422
    assert status("POST", "/api/v1/fleet/bundles", b"PK", Edgekit_Signature="?", **operator) == 400
    assert status("POST", "/api/v1/fleet/rollouts/77/undo", b"", **operator) == 404
    assert status("GET", f"/api/v1/fleet/rollouts/{10**30}", None, **operator) == 404
    assert status("DELETE", "/api/v1/fleet/devices/nobody", None, **operator) == 404
    assert status("GET", "/api/v1/bundles/..%2f..%2ffleet.db", None, **head) == 404
    assert status("GET", "/api/v1/bundles/" + "a" * 64, None, **head) == 404
    assert status("GET", "/api/v1/poll", None, **head) == 405
    assert status("GET", "/elsewhere") == 404
    enroll = p.to_json(p.Enroll("pi-says", "1" * 64))
    assert status("POST", "/api/v1/enroll", enroll, Authorization=f"Bearer {server.token}") == 409
    for span in ("bytes=9-1", "bytes=x", "lines=1-", "bytes=0-0,5-9", "bytes=99999999999999999999-"):
        assert server.ask("GET", "/api/v1/bundles/" + "a" * 64, None, Range=span, **head)[0] == 404
    assert list((server.data / "bundles/incoming").iterdir()) == [], "what was refused leaves nothing"


def test_a_signature_must_be_of_the_bundle(server, tmp_path):
    make_keys(tmp_path / "k")
    one, two = (bundle_file(tmp_path / f"{n}.edgekit", n) for n in ("sig-one", "sig-two"))
    sign(one, tmp_path / "k.key")
    Path(f"{two}.sig").write_bytes(Path(f"{one}.sig").read_bytes())
    client = server.client()
    with pytest.raises(SignatureError, match="is of bundle"):
        client.upload(two)
    operator = (server.data / "tokens/operator").read_text().strip()
    beside = base64.b64encode(Path(f"{one}.sig").read_bytes()).decode()
    head = {"Authorization": f"Bearer {operator}", "Edgekit_Signature": beside}
    status, said, _ = server.ask("POST", "/api/v1/fleet/bundles", two.read_bytes(), **head)
    assert status == 422 and "is not an ed25519 one of bundle" in said["error"]
    assert client.upload(one)["key"]
    assert client.upload(one, allow_unsigned=True) == client.upload(one), "twice is once"
    two.write_bytes(two.read_bytes()[:-100])
    with pytest.raises(EdgekitError):
        client.upload(two, allow_unsigned=True)


MESSAGES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_message_makes_the_server_fail(server, fuzzed, data):
    """Well-formed messages with one place that holds something else, and bytes that are none."""
    path, good, authorization = data.draw(st.sampled_from(fuzzed))
    if data.draw(st.booleans()):
        message = json.loads(json.dumps(good))
        place, keys = message, data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=4))
        for key in keys:
            names = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not names:
                break
            name = names[key % len(names)]
            if not isinstance(place[name], (dict, list)) or not place[name] or data.draw(st.booleans()):
                place[name] = data.draw(MESSAGES)
                break
            place = place[name]
        body = json.dumps(message).encode()
    else:
        body = (
            data.draw(st.binary(max_size=60)) if data.draw(st.booleans()) else json.dumps(data.draw(MESSAGES)).encode()
        )
    status, said, _ = server.ask("POST", path, body, Authorization=f"Bearer {authorization}")
    assert status < 500, (said, server.heard[-5:])
    assert status == 200 or said["error"]


@pytest.fixture(scope="module")
def fuzzed(server) -> list[tuple[str, dict, str]]:
    board = Board(server, "pi-fuzz")
    window = {"begun": 0.0, "ended": 9.0, "requests": 1, "errors": 0, "unfit": 0,
              "latency": {"buckets": [3, 1], "total": 0.1, "low": 0.1, "high": 0.1}}  # fmt: skip
    body = {"kind": "window", "slot": "double", "digest": "a" * 64, "window": window}
    poll = p.Poll("pi-fuzz", "b", 1, 0.0, {"double": p.Running("a" * 64, ready=True)}, (p.JobState("1-1", "SOAKING"),),
                  p.Health(0.1), {"machine": "x"}, {"sketch": 1})  # fmt: skip
    job = {"kind": "job", "job": "1-1", "state": "FAILED", "detail": ""}
    alarm = {"kind": "alarm", "slot": "double", "sentence": "hot"}
    reports = p.Reports("pi-fuzz", tuple(p.Report("b", n, "sketch", 0.0, b) for n, b in enumerate((body, job, alarm))))
    operator = (server.data / "tokens/operator").read_text().strip()
    create = {
        "digest": "a" * 64,
        "group": "g",
        "settings": {"soak": {"seconds": 1.0}, "limits": {"queued": 1.0}, "expires": 1.0},
    }
    return [
        ("/api/v1/poll", json.loads(p.to_json(poll)), board.authorization),
        ("/api/v1/reports", json.loads(p.to_json(reports)), board.authorization),
        ("/api/v1/enroll", json.loads(p.to_json(p.Enroll("pi-new", "2" * 64, ("g",)))), server.token),
        ("/api/v1/fleet/rollouts", create, operator),
    ]


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["serve", "--host", "192.0.2.1"], 2, "in the clear"),
        (["serve", "--cert", "c.pem"], 2, "a certificate needs its key"),
        (["serve", "--cert", "c.pem", "--key", "k.pem"], 2, "cannot use the certificate"),
        (["serve", "--host", "192.0.2.1", "--insecure-http"], 1, "cannot listen on 192.0.2.1"),
        (["status", "--server", "http://127.0.0.1:9"], 2, "wants the operator's token"),
        (["status", "--server", "http://fleet.example.org", "--token-file", "t"], 2, "token in the clear"),
        (["status", "--server", "ftp://x", "--token-file", "t"], 2, "is not the address of a server"),
        (["status", "--server", "http://127.0.0.1:9", "--token-file", "t"], 1, "does not answer"),
        (["status", "--server", "http://127.0.0.1:9", "--token-file", "none"], 2, "cannot read the operator's token"),
        (["rollout", "create", "x.edgekit"], 2, "for a group or for devices"),
    ],
)
def test_bad_usage_is_one_sentence(words, code, why, tmp_path):
    (tmp_path / "t").write_text("token")
    done = edgekit("fleet", *words, cwd=tmp_path)
    assert done.returncode == code and why in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_another_machine_is_reached_by_address_and_environment(server, monkeypatch):
    operator = (server.data / "tokens/operator").read_text().strip()
    monkeypatch.setenv("EDGEKIT_FLEET_SERVER", server.url)
    monkeypatch.setenv("EDGEKIT_FLEET_TOKEN", operator)
    assert "devices" in Client.find(Where()).call("GET", "/status")
    monkeypatch.setenv("EDGEKIT_FLEET_TOKEN", "wrong")
    with pytest.raises(ServerError, match="operator token is missing or wrong"):
        Client.find(Where()).call("GET", "/status")
    monkeypatch.delenv("EDGEKIT_FLEET_TOKEN")
    with pytest.raises(UsageError, match="wants the operator's token"):
        Client.find(Where())
    assert os.environ.get("EDGEKIT_FLEET_TOKEN") is None


@pytest.mark.tool("openssl")
def test_over_tls_with_a_certificate_of_ones_own(tmp_path):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-days", "2",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = Server.__new__(Server)
    made.folder, made.data = tmp_path, tmp_path / "edgekit-fleet"
    made.start("--cert", "cert.pem", "--key", "key.pem")
    assert made.url.startswith("https://") and made.client().call("GET", "/status")["devices"] == 0
    link = Link(made.url, ca=str(tmp_path / "cert.pem"))
    link.call("/api/v1/enroll", p.Enroll("pi-1", "1" * 64), p.Enrolled, made.token)
    with pytest.raises(EdgekitError, match="does not answer"):
        Link(made.url).call("/api/v1/enroll", p.Enroll("pi-1", "1" * 64), p.Enrolled, made.token)
    assert made.stop() == 0


def test_without_the_extra_the_line_to_install_it_is_printed(tmp_path):
    program = "import sys; sys.modules['sqlalchemy'] = None; sys.argv = ['edgekit', 'fleet', 'serve']; import edgekit.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4 and 'pip install "edgekit[fleet]"' in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
