"""One suite for each kind of part; every registered one must pass it, those of installed plug-ins included."""
