"""Serving: bundles answered over HTTP, on the device itself.

`app.Application` is one raw-ASGI callable; what knows a protocol (`oip`, `tensorflow`, `raw`) is sans-I/O and works on
bytes. `models.Repository` holds the bundles, one thread and one bounded queue each. `server` needs the extra ``serve``
(uvicorn); the rest needs numpy alone. `metrics.Recorder` is the door for a monitor.
"""
