"""MQTT 5 through paho-mqtt: QoS 1, a retained status, a last will."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Any, Optional

from edgekit_runtime.capture.settings import path_field, secret
from edgekit_runtime.capture.sinks.base import About, Away, Sender, Sink
from edgekit_runtime.capture.sinks.http import trusting
from edgekit_runtime.errors import MissingRequirement

_PATIENCE = 5.0


class _Sender(Sender):
    """Publishes, and counts a message as sent when the broker has acknowledged it.

    paho sends again by itself what was not acknowledged when the connection broke; so a message that is given a second
    time (`keys`) is waited for, not published twice.
    """

    def __init__(self, client: Any, settings: Mqtt, about: About, topics: tuple[str, str]) -> None:
        self._client, self._about, self._settings = client, about, settings
        self._topic, self._status = topics
        self._changed = Condition()
        self._connected, self._refusal = False, ""
        self._pending: dict[str, int] = {}  # key to paho's number
        self._acknowledged: dict[int, str] = {}  # paho's number to why it was refused, or nothing
        client.on_connect, client.on_disconnect, client.on_publish = (
            self._on_connect,
            self._on_disconnect,
            self._on_sent,
        )
        client.will_set(self._status, self._state("offline"), 1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.connect_async(settings.host, settings.port, keepalive=settings.keepalive)
        client.loop_start()

    def _state(self, state: str) -> bytes:
        return json.dumps({"state": state, "model": self._about.model, "digest": self._about.digest}).encode()

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected = not reason.is_failure
            self._refusal = str(reason) if reason.is_failure else ""
            self._changed.notify_all()
        if not reason.is_failure:
            client.publish(self._status, self._state("online"), 1, retain=True)
            if self._settings.home_assistant:
                self._discover()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected = False
            self._changed.notify_all()

    def _on_sent(self, _client: Any, _data: Any, number: int, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._acknowledged[number] = str(reason) if reason is not None and reason.is_failure else ""
            while len(self._acknowledged) > 10_000:  # those of the status, which nobody asks for
                del self._acknowledged[next(iter(self._acknowledged))]
            self._changed.notify_all()

    def send(self, messages: Sequence[tuple[str, bytes]]) -> int:
        with self._changed:
            if not self._connected:
                self._changed.wait_for(lambda: self._connected, 0.5)
            if not self._connected:
                why = f" ({self._refusal})" if self._refusal else ""
                raise Away(f"no connection to the broker {self._settings.host}:{self._settings.port}{why}")
        for key, body in messages:
            if key not in self._pending:
                self._pending[key] = self._client.publish(self._topic, body, 1).mid
        done, limit = 0, time.monotonic() + _PATIENCE
        with self._changed:
            for key, _ in messages:
                number = self._pending[key]
                while number not in self._acknowledged and self._connected and time.monotonic() < limit:
                    self._changed.wait(0.2)
                if number not in self._acknowledged:
                    break
                why = self._acknowledged.pop(number)
                del self._pending[key]
                if why:
                    self.refused += 1
                    self.why = f"the broker answered: {why}"
                done += 1
        if not done:
            raise Away(f"the broker {self._settings.host}:{self._settings.port} does not acknowledge")
        return done

    def close(self, state: Optional[str] = None) -> None:
        if self._connected:
            farewell = self._client.publish(self._status, self._state("offline"), 1, retain=True).mid
            with self._changed:
                self._changed.wait_for(lambda: farewell in self._acknowledged or not self._connected, 2)
        self._client.disconnect()
        self._client.loop_stop()

    def _discover(self) -> None:
        identity = re.sub(r"[^A-Za-z0-9_-]", "_", self._settings.client_id or self._about.model)
        first = "{{ value_json.answer[0].label if value_json.answer else 'nothing' }}"
        card = {
            "name": self._about.model,
            "unique_id": f"edgekit_{identity}",
            "state_topic": self._topic,
            "value_template": first,
            "json_attributes_topic": self._topic,
            "availability_topic": self._status,
            "availability_template": "{{ value_json.state }}",
        }
        self._client.publish(f"homeassistant/sensor/edgekit_{identity}/config", json.dumps(card), 1, retain=True)


@dataclass(frozen=True)
class Mqtt(Sink):
    """A broker.

    Attributes:
        host: Where it is.
        port: TCP port; 8883 is usual with `tls`.
        topic: Where answers go; ``edgekit/MODEL/answers`` by default.
        status_topic: Where ``online`` and ``offline`` are kept; ``edgekit/MODEL/status`` by default.
        client_id: How the broker shall know us; it chooses by default.
        user: User name.
        password_file: File with the password.
        password_env: Environment variable with it.
        tls: Whether to speak TLS.
        ca_file: Certificates to trust; the system's by default.
        certificate: Our own certificate.
        key: Its private key.
        keepalive: Seconds after which a silent connection is tried.
        home_assistant: Whether to tell Home Assistant of a sensor (its MQTT discovery).
        room: Messages that may wait in memory.
        outbox: File in which messages wait while the broker is away.
        keep: Messages that may wait there; the oldest are dropped.
    """

    host: str
    port: int = 1883
    topic: str = ""
    status_topic: str = ""
    client_id: str = ""
    user: str = ""
    password_file: str = path_field("")
    password_env: str = ""
    tls: bool = False
    ca_file: str = path_field("")
    certificate: str = path_field("")
    key: str = path_field("")
    keepalive: int = 30
    home_assistant: bool = False
    room: int = 1000
    outbox: str = path_field("")
    keep: int = 10_000

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port <= 65535:
            raise ValueError("host must not be empty, and port be 1 to 65535")
        if any(c in topic for topic in (self.topic, self.status_topic) for c in "+#\0"):
            raise ValueError("a topic to publish to has no + or #")
        if not 5 <= self.keepalive <= 65535 or self.room < 1 or self.keep < 1:
            raise ValueError("keepalive must be 5 to 65535, room and keep 1 or more")

    def open(self, about: About) -> Sender:
        try:
            import paho.mqtt.client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise MissingRequirement("the sink mqtt needs paho-mqtt", "pip install 'edgekit-runtime[mqtt]'") from None
        client = paho.Client(CallbackAPIVersion.VERSION2, self.client_id, protocol=paho.MQTTv5)
        if self.user:
            client.username_pw_set(
                self.user, secret(self.password_file, self.password_env, "[[sink]] password") or None
            )
        if self.tls:
            client.tls_set_context(trusting(self.ca_file, self.certificate, self.key))
        base = "edgekit/" + re.sub(r"[+#/\0]", "_", about.model)
        topics = (self.topic or f"{base}/answers", self.status_topic or f"{base}/status")
        return _Sender(client, self, about, topics)
