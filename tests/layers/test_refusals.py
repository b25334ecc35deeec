"""What is no layer says so."""

from funcgrad.errors import GraphError
from funcgrad.layers import chain, linear
from tests.raising import raises_sentence


def test_the_class_of_a_layer_is_no_layer():
    with raises_sentence(GraphError, r".*the class linear itself; call it to make a layer.*"):
        chain(linear)
