"""Programs that are sent to a board and run by its own Python (3.9 and newer, standard library alone)."""
