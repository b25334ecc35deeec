"""What is no layer, or only half of one, says so."""

import jax.numpy as jnp

from funcgrad.errors import GraphError
from funcgrad.layers import Cell, chain, linear
from tests.raising import raises_sentence


class half_a_cell(Cell):
    """It does not say what it starts from."""

    features: int

    def init(self, key, x, carry=None):
        return {}, {}

    def forward(self, params, x, carry):
        return x, carry


def test_a_cell_must_say_what_it_starts_from():
    with raises_sentence(NotImplementedError, "half_a_cell must say what its carry starts as: define zero_carry."):
        half_a_cell(3).zero_carry(jnp.ones((2, 3)))


def test_the_class_of_a_layer_is_no_layer():
    with raises_sentence(GraphError, r".*the class linear itself; call it to make a layer.*"):
        chain(linear)
