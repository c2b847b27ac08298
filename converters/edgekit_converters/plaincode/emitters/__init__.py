"""Emitters: one file (or folder) per output language."""
