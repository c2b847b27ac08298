"""One file per kind of page; each function returns a page's whole text."""

NOTICE = "<!-- written by `python docs/generate.py`; change the code it describes instead -->\n"
