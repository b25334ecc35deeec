"""Networks and images: Flax, Equinox, Haiku, penzai, jraph, e3nn-jax, dm-pix."""

import jax
import jax.numpy as jnp

from tests.wild.drawing import draw
from tests.wild.program import Built, Field

field = Field()


def widen(tree):
    """Parameters that a package makes in float32, in float64."""
    return jax.tree.map(lambda x: x.astype(jnp.float64), tree)


@field.program("jraph")
def graph_network() -> Built:
    import jraph

    graph = jraph.GraphsTuple(
        nodes=draw(5, 3),
        edges=draw(6, 2),
        senders=jnp.asarray([0, 1, 2, 3, 4, 1]),
        receivers=jnp.asarray([1, 2, 0, 4, 3, 0]),
        n_node=jnp.asarray([3, 2]),
        n_edge=jnp.asarray([4, 2]),
        globals=draw(2, 1),
    )

    def loss(params, graph):
        network = jraph.GraphNetwork(
            lambda e, s, r, g: jnp.tanh(jnp.concatenate([e, s, r, g], -1) @ params["edge"]),
            lambda n, s, r, g: jax.nn.relu(jnp.concatenate([n, s, r, g], -1) @ params["node"]),
            lambda n, e, g: jnp.concatenate([n, e, g], -1) @ params["globals"],
        )
        return jnp.sum(network(graph).globals ** 2)

    return loss, ({"edge": draw(9, 4), "node": draw(12, 3), "globals": draw(8, 2)}, graph)


@field.program("jraph")
def graph_attention() -> Built:
    import jraph

    graph = jraph.GraphsTuple(
        nodes=draw(4, 3),
        edges=None,
        senders=jnp.asarray([0, 1, 2, 3, 0]),
        receivers=jnp.asarray([1, 1, 0, 2, 3]),
        n_node=jnp.asarray([4]),
        n_edge=jnp.asarray([5]),
        globals=None,
    )

    def loss(params, nodes):
        attention = jraph.GAT(
            lambda n: n @ params["query"],
            lambda s, r, e: jax.nn.leaky_relu(jnp.concatenate([s, r], -1) @ params["logit"]),
            jax.nn.elu,
        )
        return jnp.sum(attention(graph._replace(nodes=nodes)).nodes ** 2)

    return loss, ({"query": draw(3, 2), "logit": draw(4, 1)}, graph.nodes)


@field.program("e3nn_jax", (0, 1))
def tensor_product_of_irreps() -> Built:
    import e3nn_jax

    def loss(weights, positions):
        vectors = e3nn_jax.IrrepsArray("1o", positions)
        harmonics = e3nn_jax.spherical_harmonics("0e + 1o + 2e", vectors, normalize=True)
        product = e3nn_jax.tensor_product(harmonics, vectors, filter_ir_out=("0e", "1o"))
        return jnp.sum((product.array @ weights) ** 2) + jnp.sum(e3nn_jax.norm(vectors).array)

    return loss, (draw(7, 2), draw(4, 3))


@field.program("e3nn_jax")
def rotations() -> Built:
    import e3nn_jax

    def loss(angles, x):
        rotated = e3nn_jax.IrrepsArray("0e + 1o", x).transform_by_angles(*angles)
        gated = e3nn_jax.gate(e3nn_jax.concatenate([e3nn_jax.IrrepsArray("1x0e", x[..., :1]), rotated]))
        return jnp.sum(jnp.sin(gated.array))

    return loss, (draw(3), draw(2, 4))


@field.program("penzai")
def tower_of_penzai() -> Built:
    from penzai import pz
    from penzai.models import simple_mlp

    mlp = simple_mlp.MLP.from_config(jax.random.key(0), [3, 4, 2])
    slots, variables = pz.unbind_params(mlp)
    frozen = {variable.label: variable.freeze() for variable in variables}

    def loss(params, x):
        y = pz.bind_variables(slots, list(params.values()))(pz.nx.wrap(x).tag("batch", "features"))
        return jnp.sum(y.unwrap("batch", "features") ** 2)

    return loss, (widen(frozen), draw(5, 3))


@field.program("flax")
def linen_transformer_block() -> Built:
    from flax import linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + nn.MultiHeadDotProductAttention(2, dropout_rate=0.2, deterministic=False)(nn.LayerNorm()(x))
            return x + nn.Dense(4)(nn.gelu(nn.Dense(8)(nn.RMSNorm()(x))))

    x, block = draw(2, 3, 4), Block()
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return (
        lambda params, x: jnp.sum(block.apply(params, x, rngs={"dropout": jax.random.key(2)}) ** 2),
        (widen(block.init(keys, x)), x),
    )


@field.program("flax")
def linen_recurrent_net_under_remat() -> Built:
    from flax import linen as nn

    net = nn.RNN(nn.remat(nn.GRUCell)(3, param_dtype=jnp.float64))
    x = draw(2, 4, 3)
    return lambda params, x: jnp.sum(net.apply(params, x) ** 2), (net.init(jax.random.key(0), x), x)


@field.program("flax")
def nnx_convolutional_net() -> Built:
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 3, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.head = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            x = nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (2, 2), (2, 2))
            return self.head(jnp.mean(x, (1, 2)))

    graph, params, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)

    def loss(params, rest, x):
        return jnp.sum(nnx.merge(graph, params, rest, copy=True)(x) ** 2)

    return loss, (widen(params), widen(rest), draw(2, 4, 4, 2))


@field.program("equinox")
def equinox_net_in_a_scan() -> Built:
    import equinox as eqx

    mlps = eqx.filter_vmap(lambda key: eqx.nn.MLP(3, 3, 4, 1, key=key))(jax.random.split(jax.random.key(0), 3))
    params, static = eqx.partition(mlps, eqx.is_inexact_array)

    def loss(params, x):
        turn = lambda x, layer: (x + eqx.combine(layer, static)(x), None)
        return jnp.sum(jax.lax.scan(eqx.filter_checkpoint(turn), x, params)[0] ** 2)

    return loss, (widen(params), draw(3))


@field.program("equinox")
def equinox_while_loop_by_checkpoints() -> Built:
    import equinox as eqx

    def loss(x):
        turn = lambda carry: (carry[0] + 1, jnp.sin(carry[1]) + carry[1] ** 2 / 4)
        loop = eqx.internal.while_loop(
            lambda carry: carry[0] < 5, turn, (jnp.asarray(0), x), max_steps=8, kind="checkpointed", checkpoints=3
        )
        return jnp.sum(loop[1])

    return loss, (draw(3),)


@field.program("equinox", (0, 1))
def equinox_custom_derivatives() -> Built:
    import equinox as eqx

    @eqx.filter_custom_vjp
    def scale(args):
        x, weights = args
        return x * weights["w"]

    @scale.def_fwd
    def scale_fwd(perturbed, args):
        return scale(args), None

    @scale.def_bwd
    def scale_bwd(residuals, g, perturbed, args):
        x, weights = args
        return 2 * g * weights["w"], {"w": g * x}

    @eqx.filter_custom_jvp
    def cube(x, *, power):
        return x**power

    @cube.def_jvp
    def cube_jvp(primals, tangents, *, power):
        (x,), (t,) = primals, tangents
        return x**power, power * x ** (power - 1) * t

    def loss(x, w):
        x = eqx.error_if(x, jnp.any(x > 100), "too large")
        return jnp.sum(scale((x, {"w": w})) + cube(x, power=3))

    return loss, (draw(3), draw(3, seed=1))


@field.program("haiku")
def haiku_lstm() -> Built:
    import haiku as hk

    def forward(x):
        core = hk.LSTM(4)
        y, _ = hk.dynamic_unroll(core, x, core.initial_state(2))
        return hk.Linear(1)(hk.LayerNorm(-1, True, True)(y))

    net = hk.without_apply_rng(hk.transform(forward))
    x = draw(3, 2, 3)
    return lambda params, x: jnp.mean(net.apply(params, x) ** 2), (widen(net.init(jax.random.key(0), x)), x)


@field.program("haiku")
def haiku_layers_by_stack_and_state() -> Built:
    import haiku as hk

    def forward(x):
        x = hk.experimental.layer_stack(2)(lambda x: jax.nn.relu(hk.Linear(3)(x)))(x)
        x = hk.BatchNorm(True, True, 0.9)(x, is_training=True)
        return hk.dropout(hk.next_rng_key(), 0.3, x)

    net = hk.transform_with_state(forward)
    params, state = net.init(jax.random.key(0), draw(4, 3))
    loss = lambda params, x: jnp.sum(net.apply(params, state, jax.random.key(1), x)[0] ** 3)
    return loss, (widen(params), draw(4, 3))


@field.program("dm_pix")
def augmented_images() -> Built:
    import dm_pix

    def loss(image):
        blurred = dm_pix.gaussian_blur(image, 1.0, 3.0)
        colored = dm_pix.adjust_hue(dm_pix.adjust_gamma(dm_pix.adjust_contrast(blurred, 1.2), 1.5), 0.1)
        turned = dm_pix.rotate(colored, 0.3, order=1, mode="nearest")
        return jnp.sum(turned**2)

    return loss, (jax.nn.sigmoid(draw(6, 6, 3)).astype(jnp.float32),)


@field.program("dm_pix", (0, 1))
def similarity_of_images() -> Built:
    import dm_pix

    def loss(a, b):
        return dm_pix.ssim(a, b, filter_size=3) + dm_pix.psnr(a[None], b[None])[0]

    a, b = (jax.nn.sigmoid(draw(6, 6, 3, seed=seed)).astype(jnp.float32) for seed in (0, 1))
    return loss, (a, b)
