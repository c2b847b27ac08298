"""``edgekit-runtime watch``: a source (camera, stream, folder, sensor rows) through a model to sinks, without lag.

`plan` reads the TOML file, `sources` take samples, `pipeline` answers for the newest of them, `changes` decides which
answers are worth telling, `sinks` send them away.
"""
