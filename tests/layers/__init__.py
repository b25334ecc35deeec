"""Networks against numpy and plain JAX."""
