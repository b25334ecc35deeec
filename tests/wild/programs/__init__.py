"""Small programs over public packages, by field.

All packages install and can be imported beside JAX 0.10.1. Beside JAX 0.12 kfac-jax 0.0.8 cannot (`jax.core.Effects`).
"""

from tests.wild.programs import densities, networks, optimization, physics, solvers

FIELDS = (solvers, optimization, densities, networks, physics)
PROGRAMS = [program for module in FIELDS for program in module.field.programs]
