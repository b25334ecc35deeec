"""Particles and rigid bodies: jax-md, mjx."""

import jax
import jax.numpy as jnp

from tests.wild.drawing import draw
from tests.wild.program import Built, Field

field = Field()


@field.program("jax_md", (0, 1), slow=True)
def energy_of_particles() -> Built:
    import jax_md

    displacement, _ = jax_md.space.periodic(4.0)

    def loss(positions, sigma):
        return jax_md.energy.lennard_jones_pair(displacement, sigma=sigma)(positions)

    return loss, (jnp.asarray([[0.0, 0, 0], [1, 0, 0], [0, 1.1, 0], [0.9, 1, 1]]) + 0.02 * draw(4, 3), jnp.asarray(0.9))


@field.program("jax_md", slow=True)
def simulated_particles() -> Built:
    import jax_md

    displacement, shift = jax_md.space.periodic(4.0)

    def loss(positions):
        energy = jax_md.energy.soft_sphere_pair(displacement, sigma=1.2)
        init, step = jax_md.simulate.nve(energy, shift, 1e-2)
        state = init(jax.random.key(0), positions, kT=0.1)
        state = jax.lax.fori_loop(0, 3, lambda _, state: step(state), state)
        return energy(state.position) + jnp.sum(state.momentum**2)

    return loss, (jnp.asarray([[0.0, 0, 0], [1, 0, 0], [0, 1.1, 0], [0.9, 1, 1]]) + 0.02 * draw(4, 3),)


ARM = """
<mujoco>
  <worldbody>
    <body>
      <joint type="hinge" axis="0 1 0"/><geom size="0.1"/>
      <body pos="0 0 0.5"><joint type="ball"/><geom size="0.1"/></body>
    </body>
  </worldbody>
</mujoco>
"""


@field.program("mujoco.mjx", slow=True)
def pose_of_an_arm() -> Built:
    import mujoco
    from mujoco import mjx

    model = mjx.put_model(mujoco.MjModel.from_xml_string(ARM))

    def loss(joints):
        data = mjx.kinematics(model, mjx.make_data(model).replace(qpos=joints))
        return jnp.sum(data.xpos**2) + jnp.sum(jnp.sin(data.xmat))

    return loss, (draw(5),)
