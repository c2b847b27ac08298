"""The fleet server: who runs what, how it fares, and bundles on their way to devices.

`rollouts` decides without a database, `registry`, `ingest`, `library` and `operations` keep what is so, `server` speaks
HTTP, `client` is the operator's side. The protocol with devices: ``edgekit_runtime.agent.protocol``.
"""
