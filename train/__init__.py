"""Training runs: `python -m train.main --model cdfi`."""
