"""The agent: takes bundles from a fleet server to this device, proves them here, and goes back where they fail.

Messages and decisions (`protocol`, `machine`) know no socket, clock or disk, so that a simulator can run thousands.
"""
