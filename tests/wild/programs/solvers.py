"""Differential, algebraic and linear equations: diffrax, optimistix, lineax, jaxopt."""

import jax
import jax.numpy as jnp

from tests.wild.drawing import draw, draw_positive
from tests.wild.program import Built, Field

field = Field()


def neural_ode(adjoint: str) -> Built:
    """A vector field of two layers, from 0 to 1; the adjoint by name, as diffrax is imported when it is built."""
    import diffrax

    def loss(params, y):
        def vector_field(t, y, args):
            w, v = args
            return jnp.tanh(w @ y + t) @ v

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(vector_field),
            diffrax.Euler(),
            t0=0.0,
            t1=1.0,
            dt0=0.25,
            y0=y,
            args=params,
            adjoint=getattr(diffrax, adjoint)(),
            max_steps=4,
        )
        return jnp.sum(solution.ys**2)

    return loss, ((draw(4, 3), draw(4, 3, seed=1)), draw(3))


@field.program("diffrax", (0, 1))
def ode_by_checkpoints() -> Built:
    return neural_ode("RecursiveCheckpointAdjoint")


@field.program("diffrax", (0, 1))
def ode_by_plain_differentiation() -> Built:
    return neural_ode("DirectAdjoint")


@field.program("diffrax", (0, 1), tolerance=1e6)
def ode_solved_backwards() -> Built:
    return neural_ode("BacksolveAdjoint")


@field.program("diffrax", (0, 1), slow=True)
def adaptive_steps_saved_densely() -> Built:
    import diffrax

    def loss(rates, y):
        lotka_volterra = lambda t, y, r: jnp.stack([r[0] * y[0] - r[1] * y[0] * y[1], r[2] * y[0] * y[1] - y[1]])
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lotka_volterra),
            diffrax.Bosh3(),
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=y,
            args=rates,
            saveat=diffrax.SaveAt(ts=jnp.linspace(0.0, 1.0, 4)),
            stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-4),
            max_steps=16,
        )
        return jnp.mean(solution.ys**2)

    return loss, (draw_positive(3), draw_positive(2))


@field.program("diffrax", (0, 1), slow=True)
def sde_along_a_brownian_tree() -> Built:
    import diffrax

    def loss(drift, diffusion, key):
        path = diffrax.VirtualBrownianTree(0.0, 1.0, tol=1e-2, shape=(2,), key=key)
        terms = diffrax.MultiTerm(
            diffrax.ODETerm(lambda t, y, args: -args[0] * y),
            diffrax.ControlTerm(lambda t, y, args: jnp.diag(args[1] * jnp.cos(y)), path),
        )
        solution = diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, 1.0, 0.25, jnp.ones(2), args=(drift, diffusion), max_steps=4
        )
        return jnp.sum(solution.ys**2)

    return loss, (draw_positive(2), draw_positive(2, seed=1), jax.random.key(0))


@field.program("diffrax", (0, 1), slow=True)
def cde_along_a_spline() -> Built:
    import diffrax

    def loss(weights, path):
        times = jnp.linspace(0.0, 1.0, 5)
        control = diffrax.CubicInterpolation(times, diffrax.backward_hermite_coefficients(times, path))
        term = diffrax.ControlTerm(lambda t, y, w: jnp.tanh(w @ y).reshape(3, 2), control).to_ode()
        solution = diffrax.diffeqsolve(term, diffrax.Euler(), 0.0, 1.0, 0.25, jnp.ones(3), args=weights, max_steps=4)
        return jnp.sum(solution.ys**2)

    return loss, (draw(6, 3), draw(5, 2))


@field.program("diffrax optimistix", slow=True)
def event_in_an_ode() -> Built:
    import diffrax
    import optimistix

    def loss(height):
        event = diffrax.Event(lambda t, y, args, **_: y[0], optimistix.Newton(1e-8, 1e-8))
        fall = diffrax.ODETerm(lambda t, y, args: jnp.stack([y[1], -9.81 - 0.1 * y[1]]))
        solution = diffrax.diffeqsolve(
            fall, diffrax.Heun(), 0.0, 4.0, 0.25, jnp.stack([height, jnp.zeros_like(height)]), event=event
        )
        return solution.ts[0] + solution.ys[0, 1]

    return loss, (jnp.asarray(3.0),)


@field.program("optimistix", (0, 1), tolerance=1e6)
def root_by_newton() -> Built:
    import optimistix

    def loss(weights, bias):
        equation = lambda y, args: y - jnp.tanh(args[0] @ y + args[1])
        root = optimistix.root_find(equation, optimistix.Newton(1e-10, 1e-10), jnp.zeros(3), (weights, bias))
        return jnp.sum(root.value**2)

    return loss, (0.3 * draw(3, 3), draw(3))


@field.program("optimistix", tolerance=1e6)
def root_by_bisection() -> Built:
    import optimistix

    def loss(a):
        solver = optimistix.Bisection(1e-10, 1e-10)
        options = {"lower": 0.0, "upper": 4.0}
        return optimistix.root_find(lambda y, a: y**3 - a, solver, jnp.asarray(1.0), a, options=options).value

    return loss, (jnp.asarray(5.0),)


@field.program("optimistix", (0, 1), tolerance=1e6)
def fixed_point() -> Built:
    import optimistix

    def loss(weights, bias):
        solver = optimistix.FixedPointIteration(1e-10, 1e-10)
        return jnp.sum(
            optimistix.fixed_point(
                lambda y, args: jnp.tanh(args[0] @ y + args[1]), solver, jnp.zeros(3), (weights, bias)
            ).value
        )

    return loss, (0.2 * draw(3, 3), draw(3))


@field.program("optimistix", (0, 1), tolerance=1e6)
def least_squares_by_levenberg_marquardt() -> Built:
    import optimistix

    def loss(x, y):
        residuals = lambda p, data: p[0] * jnp.exp(-p[1] * data[0]) - data[1]
        solver = optimistix.LevenbergMarquardt(1e-10, 1e-10)
        return jnp.sum(optimistix.least_squares(residuals, solver, jnp.ones(2), (x, y)).value ** 2)

    times = jnp.linspace(0.0, 2.0, 6)
    return loss, (times, 2 * jnp.exp(-0.7 * times) + 0.05 * draw(6))


@field.program("optimistix", tolerance=1e6)
def minimum_by_bfgs() -> Built:
    import optimistix

    def loss(shift):
        valley = lambda y, s: jnp.sum((y - s) ** 2) + jnp.sum(jnp.cos(y) ** 2)
        return jnp.sum(optimistix.minimise(valley, optimistix.BFGS(1e-10, 1e-10), jnp.zeros(2), shift).value ** 3)

    return loss, (draw(2),)


@field.program("optimistix")
def minimum_through_all_steps() -> Built:
    import optimistix

    def loss(shift):
        solver = optimistix.GradientDescent(learning_rate=0.1, rtol=1e-3, atol=1e-3)
        solution = optimistix.minimise(
            lambda y, s: jnp.sum((y - s) ** 2),
            solver,
            jnp.zeros(2),
            shift,
            adjoint=optimistix.RecursiveCheckpointAdjoint(),
            max_steps=8,
            throw=False,
        )
        return jnp.sum(solution.value**2)

    return loss, (draw(2),)


@field.program("lineax", (0, 1))
def linear_solve_by_lu() -> Built:
    import lineax

    def loss(matrix, vector):
        return jnp.sum(lineax.linear_solve(lineax.MatrixLinearOperator(matrix), vector).value ** 2)

    return loss, (draw(3, 3) + 3 * jnp.eye(3), draw(3))


@field.program("lineax", (0, 1), tolerance=1e6)
def linear_solve_by_conjugate_gradients() -> Built:
    import lineax

    def loss(root, vector):
        operator = lineax.FunctionLinearOperator(
            lambda y: root.T @ (root @ y) + y, jax.eval_shape(lambda: vector), lineax.positive_semidefinite_tag
        )
        return jnp.sum(lineax.linear_solve(operator, vector, lineax.CG(rtol=1e-12, atol=1e-12)).value ** 2)

    return loss, (draw(3, 3), draw(3))


@field.program("lineax", (0, 1))
def linear_least_squares_by_qr() -> Built:
    import lineax

    def loss(matrix, vector):
        operator = lineax.MatrixLinearOperator(matrix)
        return jnp.sum(jnp.sin(lineax.linear_solve(operator, vector, lineax.QR()).value))

    return loss, (draw(5, 2), draw(5))


@field.program("lineax", (0, 1))
def tridiagonal_solve() -> Built:
    import lineax

    def loss(diagonal, vector):
        beside = 0.3 * diagonal[1:]
        operator = lineax.TridiagonalLinearOperator(diagonal, beside, beside)
        return jnp.sum(lineax.linear_solve(operator, vector, lineax.AutoLinearSolver(well_posed=True)).value ** 2)

    return loss, (draw_positive(4), draw(4))


@field.program("jaxopt", tolerance=1e6)
def ridge_by_implicit_differentiation() -> Built:
    import jaxopt

    def loss(strength, x, y):
        objective = lambda w, strength: jnp.mean((x @ w - y) ** 2) + strength * jnp.sum(w**2)
        weights = jaxopt.LBFGS(objective, maxiter=30, tol=1e-10).run(jnp.zeros(3), strength).params
        return jnp.sum(weights**2)

    return loss, (jnp.asarray(0.3), draw(6, 3), draw(6))


@field.program("jaxopt", tolerance=1e6)
def lasso_by_proximal_gradients() -> Built:
    import jaxopt

    def loss(strength, x, y):
        objective = lambda w: jnp.mean((x @ w - y) ** 2)
        solver = jaxopt.ProximalGradient(objective, jaxopt.prox.prox_lasso, maxiter=50, tol=1e-8)
        return jnp.sum(solver.run(jnp.zeros(3), strength).params ** 2)

    return loss, (jnp.asarray(0.05), draw(6, 3), draw(6))


@field.program("jaxopt")
def projection_on_a_simplex() -> Built:
    import jaxopt

    weights = draw(5, seed=1)
    return lambda x: jnp.dot(jaxopt.projection.projection_simplex(x), weights), (0.3 * draw(5),)
