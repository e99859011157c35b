"""How close is close: one table, with the reasons."""

import jax.numpy as jnp
import numpy as np

# (relative, absolute) per dtype, for one weighted sum of values around 1.
TOLERANCE = {
    "float64": (1e-9, 1e-12),
    "float32": (1e-5, 1e-6),  # sums in another order; the absolute part grows with sqrt(terms)
    "bfloat16": (2e-2, 2e-3),  # 8 bits of mantissa; against a float32 reference
    "float16": (2e-3, 2e-4),  # 11 bits of mantissa; against a float32 reference
}

# Largest absolute errors of a float32 network against numbers of the published one, which itself is
# that far from its own double precision run.
FRAME = 1e-4
AMBIGUOUS = 2e-2  # where a truncated offset lies within rounding of a negative integer, it may jump
PROBABILITY = 1e-5  # tap weights and masks
OFFSET = 2e-4  # offsets and block outputs, values up to 30

LOSS = 1e-5  # relative
GRADIENT_NORM = 1e-3  # relative, per parameter
GRADIENT_NORM_SCALAR = 1e-2  # relative, PReLU slopes: one number, summed from cancelling terms


def close(actual, expected, dtype="float32", terms=1, gradient=False):
    """Asserts that two arrays agree within the table; gradients get ten times as much."""
    relative, absolute = (limit * (10 if gradient else 1) for limit in TOLERANCE[str(jnp.dtype(dtype))])
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(
        np.asarray(actual, np.float64),
        np.asarray(expected, np.float64),
        rtol=relative,
        atol=absolute * np.sqrt(terms) * scale,
    )
