"""Data sets in the form of TFDS: a builder each, what they share, and their frames once they are built."""
