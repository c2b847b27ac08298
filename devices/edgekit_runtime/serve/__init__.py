"""Serving: bundles answered over HTTP, on the device itself.

The server is one process without numpy: `app.Application`, a raw-ASGI callable, and `models.Repository`, which keeps a
queue and a process for each model. That process (`child`, started by `process.Child`) opens the bundle, proves it, and
turns bodies into replies with `engine`; what knows a protocol there (`oip`, `tensorflow`, `raw`) is sans-I/O and works
on bytes. Bodies are in memory that both share (`wire`). `server` needs the extra ``serve`` (uvicorn).
"""
