"""Readers: one file per family of classes, each with a table `READS`."""
