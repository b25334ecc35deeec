"""Train a U-Net to take Gaussian noise out of photographs, on pictures that ship with scikit-image.

    python examples/denoise.py --help

prints the network as a table, trains for some minutes on random crops of six photographs on a CPU, and denoises a
seventh that it has not seen: noisy, denoised and clean side by side. U-Net: Ronneberger, Fischer & Brox 2015; learning
the noise instead of the picture: Zhang et al. 2017 (DnCNN).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from skimage import data
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_tv_chambolle

import funcgrad as fg
from funcgrad import ops, train
from funcgrad.layers import chain, residual
from funcgrad.networks import unet

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Config:
    """What can be chosen."""

    seed: int = 0
    """Of the parameters, the crops and their noise; the noise on the picture held out is always the same."""
    steps: int = 600
    batch_size: int = 8
    crop: int = 48
    """Side of the crops; must be divisible by 2^(number of widths - 1)."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of the levels of the U-Net, from the finest to the coarsest."""
    noise: float = 0.1
    """Standard deviation; pictures lie in [0, 1]."""
    learning_rate: float = 4e-3
    output: Path = Path("runs")
    """Where denoise.png and denoise.jsonl go."""
    smoke: bool = False
    """Run for three steps of a tiny network only, to see that everything works."""


def make_network(config: Config) -> residual:
    """The picture and a correction by a U-Net, which sees it centred and counts in standard deviations of the noise.

    On values between 0 and 1, with corrections of size 1 to begin with, its ReLUs die before they learn.
    """
    return residual(chain(lambda x: 4 * (x - 0.5), unet(3, widths=config.widths), lambda y: config.noise * y))


def load_photographs() -> tuple[list[np.ndarray], np.ndarray]:
    """Photographs to train on and the one held out (a cat), f32[h, w, 3] in [0, 1]; none is downloaded."""
    left, right, _ = data.stereo_motorcycle()
    pictures = [data.astronaut(), data.coffee(), data.rocket(), left, right, data.hubble_deep_field()]
    *training, held_out = [picture.astype(np.float32) / 255 for picture in (*pictures, data.chelsea())]
    return training, held_out


def crops(photographs: list[np.ndarray], config: Config) -> Iterator[Batch]:
    """Endless batches of crops, mirrored or not, with noise and without, f32[b, h, w, 3]."""
    rng = np.random.default_rng(config.seed)
    while True:
        clean = np.empty((config.batch_size, config.crop, config.crop, 3), np.float32)
        for i in range(config.batch_size):
            photograph = photographs[rng.integers(len(photographs))]
            top, left = (rng.integers(size - config.crop + 1) for size in photograph.shape[:2])
            crop = photograph[top : top + config.crop, left : left + config.crop]
            clean[i] = crop[:, :: rng.choice((-1, 1))]
        yield with_noise(clean, config.noise, rng), clean


def with_noise(clean: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """The pictures and independent Gaussian noise on every value."""
    return clean + deviation * rng.standard_normal(clean.shape, np.float32)


def objective(denoised: jax.Array, clean: jax.typing.ArrayLike) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error, and the peak signal-to-noise ratio in dB to watch."""
    loss = ops.mean(ops.squared_error(denoised, clean))
    return loss, {"psnr": -10 * jnp.log10(loss)}


def draw(path: Path, pictures: dict[str, np.ndarray]) -> None:
    """The pictures side by side."""
    figure = Figure(figsize=(5 * len(pictures), 3.8), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(picture.clip(0, 1))
        axes.set_title(title)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def main(config: Config) -> None:
    """Train, denoise, draw."""
    if config.smoke:
        config = replace(config, steps=3, batch_size=2, crop=16, widths=(4, 8))
    photographs, held_out = load_photographs()
    multiple = 2 ** (len(config.widths) - 1)
    clean = held_out[: held_out.shape[0] // multiple * multiple, : held_out.shape[1] // multiple * multiple]
    noisy = with_noise(clean, config.noise, np.random.default_rng(0))

    net = make_network(config)
    key, init_key = jax.random.split(jax.random.key(config.seed))
    inputs, _ = next(crops(photographs, config))
    params, model_state = net.init(init_key, inputs)
    print(fg.summary(net, inputs), "\n")

    denoise = jax.jit(lambda params, picture: net(params, picture[None])[0])

    def evaluate(params: Any, _: Any) -> dict[str, jax.Array]:
        return {"held_out_psnr": objective(denoise(params, noisy), clean)[1]["psnr"]}

    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
    state, _ = train.fit(
        train.init(params, optimizer, model_state),
        train.step(train.supervised(net, objective), optimizer, clip_norm=1.0),
        lambda _: crops(photographs, config),
        key=key,
        steps=config.steps,
        evaluate=evaluate,
        evaluate_every=max(config.steps // 5, 1),
        log=config.output / "denoise.jsonl",
    )

    def psnr(picture: np.ndarray) -> float:
        return float(peak_signal_noise_ratio(clean, picture, data_range=1))

    denoised = np.asarray(denoise(state.params, noisy))
    smoothed = max((denoise_tv_chambolle(noisy, weight=w, channel_axis=-1) for w in (0.05, 0.1, 0.15, 0.2)), key=psnr)
    titles = {f"noisy, {psnr(noisy):.2f} dB": noisy, f"denoised, {psnr(denoised):.2f} dB": denoised, "clean": clean}
    draw(config.output / "denoise.png", titles)
    print(f"PSNR noisy {psnr(noisy):.2f} dB, denoised {psnr(denoised):.2f} dB, gain {psnr(denoised) - psnr(noisy):.2f}")
    print(f"for comparison: least total variation, at the best of four weights, {psnr(smoothed):.2f} dB")
    print(f"picture in {config.output / 'denoise.png'}, metrics in {config.output / 'denoise.jsonl'}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
