"""Short programs that use the library; run from a checkout as `python -m examples.NAME`."""
