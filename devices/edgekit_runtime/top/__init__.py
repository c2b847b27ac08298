"""``edgekit-runtime top``: what a server does at this moment, in a terminal, with the standard library alone."""
