"""Training runs: `python -m train.main --model cdfi`."""

from vfijax.command import quiet_compiler

quiet_compiler()  # before jax is imported
