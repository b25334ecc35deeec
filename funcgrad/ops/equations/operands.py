"""Numbers at which the rows are checked: awkward ones are the checker's own affair."""

import numpy as np

X = np.array([[0.3, -1.2, 0.8], [1.7, -0.4, 2.1]])
Y = np.array([[1.4, 0.6, -0.9], [-1.1, 0.7, -2.3]])
POSITIVE = np.array([[0.4, 1.3, 2.2], [0.9, 3.1, 0.6]])
TIED = np.array([[0.3, 0.5, -0.8], [1.7, -0.4, 3.0]])
"""Some entries above those of X, some below, some equal."""
IMAGE = np.sin(np.arange(24.0)).reshape(2, 3, 4)
