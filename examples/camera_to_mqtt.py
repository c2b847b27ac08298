"""What does the camera see? A bundle watches a camera, or a film in its place, and tells an MQTT broker.

    python examples/camera_to_mqtt.py BUNDLE /dev/video0 BROKER[:PORT]
    python examples/camera_to_mqtt.py BUNDLE film.avi 127.0.0.1

Writes camera.toml into the current folder, runs `edgekit-runtime watch` on it, and prints what a subscriber gets.
On a Raspberry Pi with a camera on the ribbon cable, the table of the source is `kind = "picamera2"`.
Needs `edgekit-runtime[mqtt,camera]`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CAMERA = """
[source]
kind = "camera"
device = "{source}"

[watch]
fps = 10
"""
FILM = """
[source]
kind = "video"
path = "{source}"

[watch]
every = true
"""
REST = """min_score = 0.5
changes_only = true
agree = [2, 3]

[[sink]]
kind = "mqtt"
host = "{host}"
port = {port}
topic = "home/door"
status_topic = "home/door/status"
outbox = "outbox.db"
"""


def main(bundle: Path, source: str, broker: str) -> None:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    host, _, port = broker.partition(":")
    model = f'[model]\nbundle = "{bundle.resolve()}"\n'
    kind = CAMERA if source.startswith("/dev/") else FILM.replace("{source}", str(Path(source).resolve()))
    text = (model + kind + REST).format(source=source, host=host, port=port or 1883)
    Path("camera.toml").write_text(text)

    def tell(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        told = json.loads(message.payload)
        if "state" in told:
            print(f"{message.topic}: {told['state']}", flush=True)
        else:
            seen = ", ".join(f"{a['label']} {a['score']:.2f}" for a in told["answer"]) or "nothing"
            print(f"{message.topic}: {seen}", flush=True)

    listener = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    listener.on_message = tell
    listener.connect(host, int(port or 1883))
    listener.subscribe("home/door/#", qos=1)
    listener.loop_start()
    subprocess.run([sys.executable, "-m", "edgekit_runtime", "watch", "camera.toml"], check=True)
    listener.disconnect()
    listener.loop_stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
