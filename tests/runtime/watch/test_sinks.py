"""Where answers go: a real broker, a real HTTP server, files, and each of them when it is away, slow or full."""

from __future__ import annotations

import functools
import json
import operator
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgekit_runtime.capture.sinks import About, Away, Sender
from edgekit_runtime.capture.sinks.file import File
from edgekit_runtime.capture.sinks.http import Http
from edgekit_runtime.capture.sinks.mqtt import Mqtt
from edgekit_runtime.capture.sinks.outlet import Outlet
from edgekit_runtime.capture.sinks.stdout import Stdout

ABOUT = About("digits", "0" * 64, "run")


def until(true, seconds=30.0):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not come to that"
        threading.Event().wait(0.02)


def outlet_of(sink, said=None, block=False, sender=None):
    say = (lambda _: None) if said is None else said.append
    return Outlet("sink", sink, sender or sink.open(ABOUT), say, block=block)


def body(number):
    return json.dumps({"sequence": number}).encode()


def lines(path):
    return [json.loads(line)["sequence"] for line in Path(path).read_text().splitlines()]


def test_a_file_is_turned_over_by_size_and_keeps_whole_lines(tmp_path):
    (tmp_path / "out").write_bytes(b'{"sequence": 0}\n{"seq')  # a power cut tore this one
    outlet = outlet_of(File(str(tmp_path / "out"), max_bytes=100, files=2))
    for number in range(1, 31):
        outlet.put(body(number))
    outlet.close(10)
    kept = [lines(tmp_path / name) for name in ("out.2", "out.1", "out")]
    assert (
        functools.reduce(operator.iadd, kept, []) == list(range(31))[-len(functools.reduce(operator.iadd, kept, [])) :]
        and len(functools.reduce(operator.iadd, kept, [])) > 10
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.1", "out.2"]
    assert outlet.sent == 30 and all((tmp_path / n).stat().st_size <= 100 for n in ("out", "out.1", "out.2"))


def test_a_torn_line_is_cut_off(tmp_path):
    (tmp_path / "out").write_bytes(b'{"sequence": 0}\n{"seq')
    outlet = outlet_of(File(str(tmp_path / "out")))
    outlet.put(body(1))
    outlet.close(10)
    assert lines(tmp_path / "out") == [0, 1]


def test_a_full_disk_is_said_once_and_memory_stays_bounded():
    said = []
    outlet = outlet_of(File("/dev/full", room=5), said)
    for number in range(100):
        outlet.put(body(number))
    until(lambda: said)
    assert outlet.waiting() <= 5 + 50
    outlet.close(0.1)
    assert len(said) == 1 and "No space left on device" in said[0]
    assert outlet.sent == 0 and outlet.lost == 100


class Slow(Sender):
    """Sends nothing until it is let."""

    def __init__(self):
        self.open, self.got = threading.Event(), []

    def send(self, messages):
        if not self.open.wait(30):
            raise Away("never let")
        self.got += [json.loads(m)["sequence"] for _, m in messages]
        return len(messages)


def test_a_sink_slower_than_the_source_drops_the_oldest():
    sink, sender = Stdout(), Slow()
    outlet = outlet_of(sink, sender=sender)
    outlet._room = 10
    for number in range(500):
        outlet.put(body(number))
    sender.open.set()
    outlet.close(20)
    assert sender.got[-10:] == list(range(490, 500)) and sender.got == sorted(sender.got)
    assert len(sender.got) + outlet.lost == 500 and len(sender.got) <= 60


def test_where_every_sample_counts_the_source_waits_for_the_sink():
    sink, sender = Stdout(), Slow()
    outlet = outlet_of(sink, sender=sender, block=True)
    outlet._room = 10
    putting = threading.Thread(target=lambda: [outlet.put(body(n)) for n in range(200)])
    putting.start()
    sender.open.set()
    putting.join(30)
    outlet.close(20)
    assert sender.got == list(range(200)) and outlet.lost == 0


class Receiver:
    """An HTTP server that can be taken down and brought up on the same port."""

    def __init__(self, port=0):
        received, answers, headers = [], [], []
        self.received, self.answers, self.headers = received, answers, headers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = answers.pop(0) if answers else 200
                if status == 200:
                    received.append(message["sequence"])
                headers.append(dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def test_posts_are_tried_again_and_refused_ones_are_let_go(tmp_path):
    (tmp_path / "token").write_text("s3cret")
    receiver, said = Receiver(), []
    receiver.answers += [503, 429, 200, 422]
    outlet = outlet_of(Http(f"http://127.0.0.1:{receiver.port}/x", token_file=str(tmp_path / "token")), said)
    for number in range(5):
        outlet.put(body(number))
    until(lambda: len(receiver.received) == 4)
    outlet.close(10)
    receiver.close()
    assert receiver.received == [0, 2, 3, 4] and (outlet.sent, outlet.refused, outlet.lost) == (5, 1, 0)
    assert receiver.headers[0]["Authorization"] == "Bearer s3cret"
    assert any("answered 503" in s for s in said) and "s3cret" not in " ".join(said)


def test_messages_wait_in_the_outbox_for_the_next_run(tmp_path):
    receiver = Receiver()
    receiver.close()
    sink = Http(f"http://127.0.0.1:{receiver.port}/", outbox=str(tmp_path / "outbox.db"))
    first = outlet_of(sink)
    for number in range(300):
        first.put(body(number))
    assert first.close(0.3) == 300 and first.lost == 0
    receiver = Receiver(receiver.port)
    second = outlet_of(sink)
    second.put(body(300))
    until(lambda: len(receiver.received) == 301)
    assert second.close(10) == 0 and receiver.received == list(range(301))
    receiver.close()


class Broker:
    """A real Mosquitto on a free port of loopback."""

    def __init__(self, folder: Path, *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.settings = folder, folder / "mosquitto.conf"
        allow = "allow_anonymous true" if not more else ""
        text = f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {folder}/\nuser root\n"
        text += "autosave_on_changes true\nautosave_interval 1\n"  # subscriptions outlive a kill
        self.settings.write_text("\n".join([text + "max_queued_messages 0", allow, *more, ""]))
        self.start()

    def start(self) -> None:
        self.child = subprocess.Popen([shutil.which("mosquitto"), "-c", str(self.settings)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        until(self._answers)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


class Listener:
    """Everything that is published, by a client that comes back after the broker does."""

    def __init__(self, port, user="", password="", topic="#"):
        mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed in this environment")
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.messages, self.ready = [], threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, "listener", protocol=mqtt.MQTTv5)
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_message = lambda _c, _d, m: self.messages.append((m.topic, json.loads(m.payload)))
        self.client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.reconnect_delay_set(1, 1)
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
        self.client.loop_start()
        assert self.ready.wait(20)

    def sequences(self):
        return [m["sequence"] for t, m in self.messages if t.endswith("answers")]

    def states(self):
        return [m["state"] for t, m in self.messages if t.endswith("status")]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.tool("mosquitto")
def test_a_broker_that_is_killed_and_comes_back_loses_nothing(tmp_path):
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed in this environment")
    broker, said = Broker(tmp_path), []
    listener = Listener(broker.port)
    sink = Mqtt("127.0.0.1", broker.port, outbox=str(tmp_path / "outbox.db"), home_assistant=True)
    outlet = outlet_of(sink, said)
    for number in range(100):
        outlet.put(body(number))
    until(lambda: len(set(listener.sequences())) == 100)
    broker.kill()
    for number in range(100, 200):
        outlet.put(body(number))
    until(lambda: said)
    broker.start()
    for number in range(200, 300):
        outlet.put(body(number))
    until(lambda: outlet.sent >= 300)
    assert outlet.close(10) == 0 and outlet.lost == 0 and outlet.refused == 0
    until(lambda: set(listener.sequences()) == set(range(300)))
    until(lambda: listener.states()[-1] == "offline")
    topics = dict(listener.messages)
    listener.close()
    broker.kill()
    card = topics["homeassistant/sensor/edgekit_digits/config"]
    assert card["state_topic"] == "edgekit/digits/answers" and "online" in listener.states()
    assert any("no connection" in s or "does not acknowledge" in s for s in said)


@pytest.mark.tool("mosquitto", "mosquitto_passwd")
def test_user_and_password_and_the_last_will(tmp_path):
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed in this environment")
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), "cam", "hunter2"], check=True)
    (tmp_path / "word").write_text("hunter2\n")
    (tmp_path / "wrong").write_text("hunter3\n")
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {tmp_path}/users")
    listener = Listener(broker.port, "cam", "hunter2")
    said = []
    refused = outlet_of(Mqtt("127.0.0.1", broker.port, user="cam", password_file=str(tmp_path / "wrong")), said)
    refused.put(body(1))
    until(lambda: any("Not authorized" in s or "Bad user name" in s for s in said))
    refused.close(0.1)
    assert refused.lost == 1 and "hunter3" not in " ".join(said)
    good = outlet_of(Mqtt("127.0.0.1", broker.port, user="cam", password_file=str(tmp_path / "word")))
    good.put(body(2))
    until(lambda: listener.sequences() == [2])
    good._sender._client._sock.close()  # the board loses its power: no farewell is sent
    until(lambda: "offline" in listener.states())
    good.close(1)
    listener.close()
    broker.kill()
