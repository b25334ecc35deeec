"""Which functions do not take which dtypes, where JAX refuses them; `test_language.py` holds these lists to JAX."""

NO_HALF = frozenset(
    """
    lax.bitcast_convert_type lax.complex lax.conj lax.custom_linear_solve lax.imag lax.linalg.cholesky
    lax.linalg.eig lax.linalg.eigh lax.linalg.lu lax.linalg.qr lax.linalg.svd lax.linalg.tridiagonal_solve
    lax.pmean lax.psum lax.real nn.dot_product_attention numpy.fft.ihfft numpy.fft.rfft numpy.fft.rfft2
    numpy.fft.rfftn numpy.interp numpy.linalg.cholesky numpy.linalg.cond numpy.linalg.eigh numpy.linalg.eigvals
    numpy.linalg.eigvalsh numpy.linalg.inv numpy.linalg.lstsq numpy.linalg.pinv numpy.linalg.qr
    numpy.linalg.slogdet numpy.linalg.solve numpy.linalg.svd numpy.linalg.svdvals numpy.linalg.tensorinv
    numpy.linalg.tensorsolve numpy.polyfit numpy.roots scipy.linalg.cho_factor scipy.linalg.cholesky
    scipy.linalg.eigh scipy.linalg.expm scipy.linalg.expm_frechet scipy.linalg.inv scipy.linalg.lu
    scipy.linalg.lu_factor scipy.linalg.qr scipy.linalg.solve scipy.linalg.svd scipy.signal.csd
    scipy.signal.detrend scipy.signal.fftconvolve scipy.signal.stft scipy.signal.welch scipy.sparse.linalg.gmres
    """.split()
)
"""Not in bfloat16 and float16."""

NO_COMPLEX = frozenset(
    """
    grad hessian jacfwd jacobian jacrev lax.approx_max_k lax.approx_min_k lax.bessel_i0e lax.bessel_i1e
    lax.bitcast_convert_type lax.cbrt lax.ceil lax.clamp lax.complex lax.custom_linear_solve lax.digamma lax.erf
    lax.erf_inv lax.erfc lax.floor lax.ge lax.gt lax.igamma lax.igammac lax.is_finite lax.le lax.lgamma lax.lt
    lax.pmean lax.psum lax.reduce_precision lax.rem lax.round lax.top_k nn.dot_product_attention
    nn.scaled_dot_general nn.sparse_sigmoid nn.standardize numpy.argpartition numpy.astype numpy.cbrt numpy.ceil
    numpy.clip numpy.copysign numpy.divmod numpy.fabs numpy.fft.ihfft numpy.fft.rfft numpy.fft.rfft2
    numpy.fft.rfftn numpy.floor numpy.floor_divide numpy.fmod numpy.frexp numpy.heaviside numpy.hypot numpy.i0
    numpy.interp numpy.isneginf numpy.isposinf numpy.ldexp numpy.median numpy.mod numpy.modf numpy.nanmedian
    numpy.nanpercentile numpy.nanquantile numpy.partition numpy.percentile numpy.quantile numpy.remainder
    numpy.signbit numpy.trunc numpy.unwrap random.beta random.cauchy random.chisquare random.exponential
    random.f random.gamma random.gumbel random.laplace random.loggamma random.logistic random.maxwell
    random.pareto random.t random.uniform scipy.signal.csd scipy.signal.stft scipy.signal.welch value_and_grad
    """.split()
)
"""Not in complex64 and complex128."""
