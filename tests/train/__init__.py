"""Training against plain optax loops."""
