"""What a device tells of its models: counts that merge, drift, its own health, and an outbox that outlives power cuts.

The resident agent imports the modules here that need the standard library alone; `recorder` and `drift` need numpy.
"""
