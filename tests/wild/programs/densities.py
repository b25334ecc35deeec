"""Densities, variational bounds, Gaussian processes and samplers: numpyro, distrax, TFP, flowjax, tinygp, blackjax."""

import jax
import jax.numpy as jnp
import optax

from tests.wild.drawing import draw, draw_positive
from tests.wild.program import Built, Field

field = Field()


@field.program("numpyro", (0, 1))
def joint_density_of_a_hierarchy() -> Built:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer.util import log_density

    def model(x, y):
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        with numpyro.plate("groups", 3):
            slope = numpyro.sample("slope", dist.Normal(0.0, scale))
        rate = numpyro.sample("rate", dist.Gamma(2.0, 3.0))
        numpyro.sample("y", dist.StudentT(4.0, x @ slope, rate), obs=y)

    def loss(latents, x):
        return log_density(model, (x, draw(5)), {}, latents)[0]

    return loss, ({"scale": jnp.asarray(0.8), "slope": draw(3), "rate": jnp.asarray(0.6)}, draw(5, 3))


@field.program("numpyro", slow=True)
def potential_of_unconstrained_latents() -> Built:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer.util import initialize_model

    def model(y):
        weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
        width = numpyro.sample("width", dist.HalfCauchy(1.0))
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(draw(3), width)), obs=y)

    potential = initialize_model(jax.random.key(0), model, model_args=(draw(4),)).potential_fn
    return potential, ({"weights": draw(2), "width": jnp.asarray(0.3)},)


@field.program("numpyro")
def evidence_bound_of_a_guide() -> Built:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import Trace_ELBO

    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    def guide(y):
        center = numpyro.param("center", jnp.asarray(0.0))
        width = numpyro.param("width", jnp.asarray(1.0), constraint=dist.constraints.positive)
        numpyro.sample("mean", dist.Normal(center, width))

    def loss(params):
        return Trace_ELBO(num_particles=3).loss(jax.random.key(0), params, model, guide, draw(5))

    return loss, ({"center": jnp.asarray(0.3), "width": jnp.asarray(0.8)},)


@field.program("numpyro", (0, 1, 2))
def densities_of_many_families() -> Built:
    import numpyro.distributions as dist

    def loss(location, scale, x):
        inside = jax.nn.sigmoid(x)
        return (
            jnp.sum(dist.Beta(scale, scale + 1).log_prob(inside))
            + jnp.sum(dist.VonMises(location, scale).log_prob(x))
            + jnp.sum(dist.TruncatedNormal(location, scale, low=-3.0).log_prob(x))
        )

    return loss, (draw(3), draw_positive(3), draw(3, seed=1))


@field.program("numpyro", (0, 1))
def samples_by_implicit_reparameterization() -> Built:
    import numpyro.distributions as dist

    def loss(a, b):
        key = jax.random.key(0)
        return jnp.sum(dist.Gamma(a, b).sample(key) ** 2) + jnp.sum(dist.Dirichlet(a).rsample(key)[0])

    return loss, (1 + draw_positive(3), draw_positive(3, seed=1))


@field.program("numpyro")
def states_summed_out_by_scan() -> Built:
    import numpyro
    import numpyro.distributions as dist
    from numpyro.contrib.control_flow import scan
    from numpyro.infer.util import log_density

    def model(y):
        decay = numpyro.sample("decay", dist.Uniform(0.0, 1.0))

        def turn(x, y):
            x = numpyro.sample("x", dist.Normal(decay * x, 0.5))
            numpyro.sample("y", dist.Normal(x, 0.2), obs=y)
            return x, None

        scan(turn, 0.0, y)

    def loss(latents):
        return log_density(model, (draw(4),), {}, latents)[0]

    return loss, ({"decay": jnp.asarray(0.7), "x": draw(4, seed=1)},)


@field.program("distrax", (0, 1), slow=True)
def normalizing_flow_of_splines() -> Built:
    import distrax

    def loss(params, x):
        base = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
        spline = distrax.RationalQuadraticSpline(params, -3.0, 3.0)
        flow = distrax.Transformed(base, distrax.Chain([distrax.Block(spline, 1), distrax.Block(distrax.Tanh(), 1)]))
        return -jnp.mean(flow.log_prob(0.5 * jnp.tanh(x)))

    return loss, (0.5 * draw(2, 7), draw(4, 2))


@field.program("distrax", (0, 1))
def hidden_markov_model() -> Built:
    import distrax

    def loss(transitions, means):
        model = distrax.HMM(
            distrax.Categorical(jnp.zeros(3)), distrax.Categorical(transitions), distrax.Normal(means, jnp.ones(3))
        )
        *_, smoothed, log_prob = model.forward_backward(draw(5))
        return log_prob + jnp.sum(smoothed**2)

    return loss, (draw(3, 3), draw(3))


@field.program("distrax", (0, 1))
def divergences_and_samples() -> Built:
    import distrax

    def loss(location, scale):
        q = distrax.MultivariateNormalTri(location, jnp.tril(scale))
        sample, log_prob = q.sample_and_log_prob(seed=jax.random.key(0))
        squashed = distrax.Transformed(q, distrax.Block(distrax.Sigmoid(), 1))
        prior = distrax.MultivariateNormalDiag(jnp.zeros(3), jnp.ones(3))
        y, density = squashed.sample_and_log_prob(seed=jax.random.key(1))
        return log_prob + jnp.sum(sample**2) + q.kl_divergence(prior) + density + jnp.sum(y)

    return loss, (draw(3), 0.3 * draw(3, 3) + jnp.eye(3))


@field.program("tinygp", (0, 1))
def gaussian_process() -> Built:
    import tinygp

    def loss(params, x):
        kernel = jnp.exp(params["amplitude"]) * tinygp.kernels.Matern52(jnp.exp(params["scale"]))
        kernel += tinygp.kernels.ExpSineSquared(scale=params["period"], gamma=0.5)
        gp = tinygp.GaussianProcess(kernel, x, diag=jnp.exp(params["noise"]))
        log_probability, conditioned = gp.condition(draw(5), x + 0.1)
        return -log_probability + jnp.sum(conditioned.loc**2)

    numbers = {"amplitude": 0.2, "scale": 0.1, "period": 1.3, "noise": -1.0}
    return loss, (jax.tree.map(jnp.asarray, numbers), jnp.sort(draw(5)))


@field.program("tinygp")
def quasiseparable_gaussian_process() -> Built:
    import tinygp

    def loss(params):
        kernel = tinygp.kernels.quasisep.Matern32(jnp.exp(params[0]), jnp.exp(params[1]))
        gp = tinygp.GaussianProcess(kernel, jnp.linspace(0.0, 2.0, 6), diag=0.1)
        return -gp.log_probability(draw(6))

    return loss, (jnp.asarray([0.3, 0.4]),)


@field.program("blackjax", (0, 1))
def step_of_hamiltonian_monte_carlo() -> Built:
    import blackjax

    def loss(step_size, position):
        kernel = blackjax.hmc(lambda x: -jnp.sum(x**4 + x[0] * x[1]), step_size, jnp.ones(2), 3)
        state, info = kernel.step(jax.random.key(0), kernel.init(position))
        return jnp.sum(state.position**2) + info.acceptance_rate

    return loss, (jnp.asarray(0.2), draw(2))


@field.program("blackjax")
def langevin_chain() -> Built:
    import blackjax

    def loss(center):
        kernel = blackjax.mala(lambda x: -jnp.sum((x - center) ** 2), 0.05)
        turn = lambda state, key: (kernel.step(key, state)[0], None)
        state, _ = jax.lax.scan(turn, kernel.init(jnp.ones(2)), jax.random.split(jax.random.key(0), 3))
        return jnp.sum(state.position**2) + state.logdensity

    return loss, (draw(2),)


@field.program("blackjax")
def bound_of_meanfield_variational_inference() -> Built:
    import blackjax

    def loss(center):
        log_density = lambda x: -jnp.sum((x - center) ** 2)
        approximation = blackjax.meanfield_vi(log_density, optax.sgd(0.1), num_samples=3)
        state, info = approximation.step(jax.random.key(0), approximation.init(jnp.zeros(2)))
        return jnp.sum(state.mu**2) + jnp.sum(jnp.exp(state.rho)) + info.elbo

    return loss, (draw(2),)


@field.program("tensorflow_probability", (0, 1))
def bijected_mixture() -> Built:
    from tensorflow_probability.substrates import jax as tfp

    def loss(location, scale):
        mixture = tfp.distributions.MixtureSameFamily(
            tfp.distributions.Categorical(logits=location), tfp.distributions.Gamma(1 + scale, jnp.exp(location))
        )
        warped = tfp.bijectors.Chain([tfp.bijectors.Softplus(), tfp.bijectors.Shift(location[0])])(mixture)
        return -jnp.sum(warped.log_prob(1 + jnp.exp(draw(4))))

    return loss, (draw(3), draw_positive(3))


@field.program("flowjax equinox")
def autoregressive_flow() -> Built:
    import equinox as eqx
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow

    flow = masked_autoregressive_flow(
        jax.random.key(0), base_dist=Normal(jnp.zeros(2)), flow_layers=2, nn_width=4, nn_depth=1
    )
    params, static = eqx.partition(flow, eqx.is_inexact_array)

    def loss(params, x):
        return -jnp.mean(eqx.combine(params, static).log_prob(x))

    return loss, (params, draw(3, 2))
