"""Losses, projections and learning rules: optax, rlax, kfac-jax."""

import jax
import jax.numpy as jnp
import optax

from tests.wild.drawing import draw, draw_positive
from tests.wild.program import Built, Field

field = Field()


@field.program("optax")
def ctc() -> Built:
    labels, no_padding = jnp.asarray([[1, 2, 2, 0], [3, 1, 0, 0]]), jnp.zeros((2, 6))
    label_padding = jnp.asarray([[0.0, 0, 0, 1], [0, 0, 1, 1]])
    return lambda logits: jnp.sum(optax.ctc_loss(logits, no_padding, labels, label_padding)), (draw(2, 6, 4),)


@field.program("optax", (0, 1))
def losses_of_classes() -> Built:
    def loss(logits, targets):
        labels = jnp.argmax(targets, -1)
        shares = jax.nn.softmax(targets)
        return (
            jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
            + jnp.mean(optax.losses.poly_loss_cross_entropy(logits, shares, epsilon=1.5))
            + jnp.mean(optax.sigmoid_focal_loss(logits, shares, alpha=0.25))
            + jnp.mean(optax.kl_divergence(jax.nn.log_softmax(logits), shares))
            + jnp.mean(optax.losses.multiclass_sparsemax_loss(logits, labels))
        )

    return loss, (draw(3, 4), draw(3, 4, seed=1))


@field.program("optax", (0, 1))
def losses_of_numbers() -> Built:
    def loss(predicted, target):
        return (
            jnp.mean(optax.huber_loss(predicted, target))
            + jnp.mean(optax.log_cosh(predicted, target))
            + jnp.mean(optax.cosine_distance(predicted, target))
            + jnp.mean(optax.ntxent(predicted, jnp.asarray([0, 0, 1, 1])))
        )

    return loss, (draw(4, 3), draw(4, 3, seed=1))


@field.program("optax")
def projections() -> Built:
    weights = draw(6, seed=1)

    def loss(x):
        return (
            jnp.dot(optax.projections.projection_simplex(x), weights)
            + jnp.dot(optax.projections.projection_l1_ball(x, 0.7), weights)
            + jnp.dot(optax.projections.projection_l2_ball(x, 0.5), weights)
            + jnp.dot(optax.projections.projection_box(x, -0.4, 0.4), weights)
        )

    return loss, (draw(6),)


@field.program("optax", (0, 1))
def maml_through_an_inner_adam() -> Built:
    def loss(params, x, y):
        fit = lambda p: jnp.mean((jnp.tanh(x @ p["w"]) @ p["v"] - y) ** 2)
        optimizer = optax.adam(0.1)
        inner, state = params, optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(jax.grad(fit)(inner), state)
            inner = optax.apply_updates(inner, updates)
        return fit(inner)

    return loss, ({"w": draw(2, 3), "v": draw(3)}, draw(4, 2), draw(4))


@field.program("optax")
def hypergradient_of_a_learning_rate() -> Built:
    def loss(rate, x, y):
        optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(rate, momentum=0.9))

        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(jax.grad(lambda w: jnp.mean((x @ w - y) ** 2))(w), state, w)
            return (optax.apply_updates(w, updates), state), None

        w = jnp.zeros(3)
        (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), None, length=3)
        return jnp.mean((x @ w - y) ** 2)

    return loss, (jnp.asarray(0.1), draw(5, 3), draw(5))


@field.program("rlax", (0, 1))
def vtrace() -> Built:
    import rlax

    def loss(values, logits):
        ratios = jnp.exp(jax.nn.log_softmax(logits)[:, 0] + 1.0)
        out = rlax.vtrace_td_error_and_advantage(values[:-1], values[1:], draw(4), 0.9 * jnp.ones(4), ratios)
        return jnp.mean(out.errors**2) - jnp.mean(out.pg_advantage * jnp.log(ratios))

    return loss, (draw(5), draw(4, 3))


@field.program("rlax", (0, 1))
def returns_of_an_actor_critic() -> Built:
    import rlax

    def loss(values, logits):
        returns = rlax.lambda_returns(draw(4), 0.9 * jnp.ones(4), values[1:], 0.8)
        actions, weights = jnp.asarray([0, 2, 1, 1]), jnp.ones(4)
        policy = rlax.policy_gradient_loss(logits, actions, returns - values[:-1], weights)
        return policy + rlax.entropy_loss(logits, weights) + jnp.mean(rlax.l2_loss(values[:-1], returns))

    return loss, (draw(5), draw(4, 3))


@field.program("rlax")
def distributional_q_learning() -> Built:
    import rlax

    def loss(logits, following):
        atoms = jnp.linspace(-1.0, 1.0, 5)
        errors = rlax.categorical_q_learning(atoms, logits, jnp.asarray(1), 0.3, 0.9, atoms, following)
        quantiles = rlax.quantile_q_learning(
            logits.T, jnp.linspace(0.1, 0.9, 5), jnp.asarray(0), 0.3, 0.9, following.T, following.T
        )
        return jnp.sum(errors) + jnp.sum(quantiles)

    return loss, (draw(3, 5), draw(3, 5, seed=1))


@field.program("kfac_jax", (0, 1))
def layers_registered_for_kfac() -> Built:
    import kfac_jax

    def loss(w, b, x, labels):
        logits = kfac_jax.register_dense(jnp.tanh(x) @ w + b, x, w, b)
        kfac_jax.register_softmax_cross_entropy_loss(logits, labels)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    return loss, (draw(3, 4), draw(4), draw(5, 3), jnp.asarray([0, 1, 2, 3, 0]))


@field.program("kfac_jax", (0, 1))
def losses_of_kfac() -> Built:
    import kfac_jax

    def loss(mean, logits):
        normal = kfac_jax.NormalMeanNegativeLogProbLoss(mean, variance=0.5, targets=draw(4, seed=1))
        classes = kfac_jax.CategoricalLogitsNegativeLogProbLoss(logits, jnp.asarray([0, 2, 1, 1]))
        return jnp.mean(normal.evaluate()) + jnp.mean(classes.evaluate())

    return loss, (draw(4), draw(4, 3))


@field.program("optax", (0, 1))
def soft_sorting_by_perturbation() -> Built:
    def loss(x, y):
        soft_argmax = optax.perturbations.make_perturbed_fun(
            lambda x: jax.nn.one_hot(jnp.argmax(x, -1), 4), num_samples=8, sigma=0.5
        )
        return jnp.sum(soft_argmax(jax.random.key(0), x) * y)

    return loss, (draw(4), draw_positive(4))
