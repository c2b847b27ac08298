"""Source kinds: one file per framework."""
