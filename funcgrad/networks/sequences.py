"""Recurrent networks of tokens."""

from typing import Any

from funcgrad.layers import chain, dropout, embedding, linear, lstm_cell, recurrent


def lstm_lm(vocabulary: int, *, width: int = 650, depth: int = 2, rate: float = 0.0) -> chain:
    """An LSTM language model: integer `tokens[b, t] -> logits[b, t, vocabulary]`.

    With 10,000 tokens, as it stands, the medium model of Zaremba et al. 2014, section 4.1, of about 20 million
    parameters (19,775,200 with one bias per gate), whose dropout rate is 0.5.

    Args:
        vocabulary: number of tokens.
        width: of the embedding and of every layer.
        depth: number of LSTM layers.
        rate: of the dropout before every layer and before the output; never between time steps.

    Returns:
        The network, a `chain`; its last layer is called `head`.

    Example:
        >>> net, tokens = fg.networks.lstm_lm(10_000), jnp.zeros((1, 35), jnp.int32)
        >>> params, _ = jax.eval_shape(net.init, jax.random.key(0), tokens)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        19775200
    """
    drop: list[Any] = [dropout(rate)] if rate else []
    layers = [layer for _ in range(depth) for layer in (recurrent(lstm_cell(width)), *drop)]
    return chain(embedding(vocabulary, width), *drop, *layers, head=linear(vocabulary))
