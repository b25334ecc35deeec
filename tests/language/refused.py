"""Which functions do not take which dtypes, where JAX refuses them."""

NO_HALF = frozenset(
    """
    """.split()
)

NO_COMPLEX = frozenset(
    """
    """.split()
)
