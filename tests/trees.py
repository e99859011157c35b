"""What tests ask of parameter trees."""

import jax


def layout(tree):
    """Shape and dtype of every leaf."""
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
