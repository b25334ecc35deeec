"""What nets of these tests are trained on."""

import jax.numpy as jnp
import pytest


@pytest.fixture(scope="module")
def digits():
    datasets = pytest.importorskip("sklearn.datasets", reason="pip install 'funcgrad[examples]'")
    images, labels = datasets.load_digits(return_X_y=True)
    x, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    return (x[:1200], labels[:1200]), (x[1200:], labels[1200:])
