"""Fourier and cosine transforms, and the spectra made of them."""

import jax.numpy as jnp

from tests.language.case import Family
from tests.language.drawing import normal

FAMILY = Family("fourier")
case, each = FAMILY.case, FAMILY.each

each("numpy.fft", "fft ifft hfft", normal(3, 6), tolerance=64)
each("numpy.fft", "fft2 ifft2 fftn ifftn", normal(2, 3, 4), tolerance=64)
each("numpy.fft", "rfft ihfft rfft2 rfftn", normal(4, 6), tolerance=64)
each("numpy.fft", "irfft irfft2 irfftn", normal(4, 5), tolerance=64)
each("numpy.fft", "fftshift ifftshift", normal(3, 5))
for norm in ("ortho", "forward"):
    case("numpy.fft.fft", normal(5), norm=norm, n=7, label=f"{norm}, padded", tolerance=64)
    case("numpy.fft.irfft", normal(4), norm=norm, n=5, label=f"{norm}, odd", tolerance=64)
case("numpy.fft.rfftn", normal(3, 4), s=(2, 6), axes=(1, 0), label="axes", tolerance=64)
for kind in ("FFT", "IFFT", "IRFFT"):
    lengths = (6,) if kind == "IRFFT" else (4,)
    case("lax.fft", normal(3, 4), fft_type=kind, fft_lengths=lengths, label=kind, tolerance=64)
case("lax.fft", normal(3, 6), fft_type="RFFT", fft_lengths=(6,), label="RFFT", dtypes="f", tolerance=64)
case(
    "numpy.fft.fft numpy.fft.ifft",
    normal(6),
    call=lambda x: jnp.fft.ifft(jnp.fft.fft(x) * jnp.arange(6)).real,
    label="filter",
    tolerance=64,
)
each("scipy.fft", "dct idct", normal(3, 5), tolerance=64)
each("scipy.fft", "dctn idctn", normal(3, 5), tolerance=64)
each("scipy.signal", "fftconvolve", normal(6), normal(3), tolerance=256)
case("scipy.signal.detrend", normal(3, 8), tolerance=256)
case("scipy.signal.stft", normal(16), nperseg=8, tolerance=256)
case("scipy.signal.istft", normal(5, 5), nperseg=8, tolerance=256)
case("scipy.signal.welch", normal(16), nperseg=8, tolerance=256)
case("scipy.signal.csd", normal(16), normal(16), nperseg=8, tolerance=256)
