"""Placement: where each operator of a model runs on a device, and why not on its accelerator."""

from edgekit_converters.placement.placement import OpPlacement, Placement

__all__ = ["OpPlacement", "Placement"]
