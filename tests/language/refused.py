"""Which functions do not take which dtypes, where JAX refuses them; `test_language.py` holds these lists to JAX."""

NO_HALF = frozenset(
    """
    lax.bitcast_convert_type lax.complex lax.conj lax.custom_linear_solve lax.imag lax.linalg.cholesky
    lax.linalg.eig lax.linalg.eigh lax.linalg.lu lax.linalg.qr lax.linalg.svd lax.linalg.tridiagonal_solve
    lax.real nn.dot_product_attention numpy.fft.ihfft numpy.fft.rfft numpy.fft.rfft2 numpy.fft.rfftn
    numpy.interp numpy.linalg.cholesky numpy.linalg.cond numpy.linalg.eigh numpy.linalg.eigvals
    numpy.linalg.eigvalsh numpy.linalg.inv numpy.linalg.lstsq numpy.linalg.pinv numpy.linalg.qr
    numpy.linalg.slogdet numpy.linalg.solve numpy.linalg.svd numpy.linalg.svdvals numpy.linalg.tensorinv
    numpy.linalg.tensorsolve nn.initializers.orthogonal numpy.polyfit numpy.roots random.ball random.multivariate_normal
    scipy.linalg.cho_factor scipy.linalg.cholesky scipy.linalg.eigh scipy.linalg.expm scipy.linalg.expm_frechet
    scipy.linalg.inv scipy.linalg.lu scipy.linalg.lu_factor scipy.linalg.qr scipy.linalg.solve scipy.linalg.svd
    scipy.signal.csd scipy.signal.detrend scipy.signal.fftconvolve scipy.signal.stft scipy.signal.welch
    scipy.sparse.linalg.gmres scipy.special.exp1 scipy.special.expi scipy.special.expn scipy.special.log_ndtr
    scipy.special.ndtr scipy.special.ndtri scipy.special.sici scipy.special.spence scipy.special.sph_harm_y
    scipy.special.zeta scipy.stats.norm.cdf scipy.stats.norm.isf scipy.stats.norm.logcdf scipy.stats.norm.logsf
    scipy.stats.multivariate_normal.logpdf scipy.stats.multivariate_normal.pdf
    scipy.stats.norm.ppf scipy.stats.norm.sf scipy.stats.truncnorm.cdf scipy.stats.truncnorm.logcdf
    scipy.stats.truncnorm.logpdf scipy.stats.truncnorm.logsf scipy.stats.truncnorm.pdf scipy.stats.truncnorm.sf
    """.split()
)
"""Not in bfloat16 and float16."""

NO_COMPLEX = frozenset(
    """
    grad hessian jacfwd jacobian jacrev lax.approx_max_k lax.approx_min_k lax.bessel_i0e lax.bessel_i1e
    lax.bitcast_convert_type lax.cbrt lax.ceil lax.clamp lax.complex lax.custom_linear_solve lax.digamma lax.erf
    lax.erf_inv lax.erfc lax.floor lax.ge lax.gt lax.igamma lax.igammac lax.is_finite lax.le lax.lgamma lax.lt
    lax.nextafter lax.reduce_precision lax.rem lax.round lax.top_k nn.dot_product_attention
    nn.initializers.truncated_normal nn.initializers.uniform nn.scaled_dot_general nn.sparse_sigmoid
    nn.standardize numpy.argpartition numpy.astype numpy.cbrt numpy.ceil numpy.clip numpy.copysign numpy.divmod
    numpy.fabs numpy.fft.ihfft numpy.fft.rfft numpy.fft.rfft2 numpy.fft.rfftn numpy.floor numpy.floor_divide
    numpy.fmod numpy.frexp numpy.heaviside numpy.hypot numpy.i0 numpy.interp numpy.isneginf numpy.isposinf
    numpy.ldexp numpy.median numpy.minmax numpy.mod numpy.modf numpy.nanmedian numpy.nanpercentile
    numpy.nanquantile numpy.nextafter numpy.partition numpy.percentile numpy.quantile numpy.remainder
    numpy.signbit numpy.spacing numpy.trunc numpy.unwrap random.ball random.beta random.binomial
    random.categorical random.cauchy random.chisquare random.dirichlet random.exponential random.f random.gamma
    random.generalized_normal random.gumbel random.laplace random.loggamma random.logistic random.lognormal
    random.maxwell random.multinomial random.multivariate_normal random.pareto random.poisson random.rayleigh
    random.t random.truncated_normal random.uniform random.wald scipy.ndimage.map_coordinates scipy.signal.csd
    scipy.signal.stft scipy.signal.welch scipy.special.bessel_jn scipy.special.beta scipy.special.betainc
    scipy.special.betaln scipy.special.comb scipy.special.dawsn scipy.special.digamma scipy.special.entr
    scipy.special.erf scipy.special.erfc scipy.special.erfcinv scipy.special.erfcx scipy.special.erfinv
    scipy.special.exp1 scipy.special.expi scipy.special.expn scipy.special.factorial scipy.special.fresnel
    scipy.special.gammainc scipy.special.gammaincc scipy.special.gammaln scipy.special.gammasgn
    scipy.special.hyp1f1 scipy.special.hyp2f1 scipy.special.i0 scipy.special.i0e scipy.special.i1
    scipy.special.i1e scipy.special.kl_div scipy.special.log_ndtr scipy.special.loggamma
    scipy.special.multigammaln scipy.special.ndtr scipy.special.ndtri scipy.special.owens_t scipy.special.poch
    scipy.special.polygamma scipy.special.rel_entr scipy.special.sici scipy.special.spence
    scipy.special.sph_harm_y scipy.special.zeta scipy.stats.bernoulli.cdf scipy.stats.bernoulli.logpmf
    scipy.stats.bernoulli.pmf scipy.stats.bernoulli.ppf scipy.stats.beta.logpdf scipy.stats.beta.pdf
    scipy.stats.betabinom.logpmf scipy.stats.betabinom.pmf scipy.stats.binom.logpmf scipy.stats.binom.pmf
    scipy.stats.chi2.cdf scipy.stats.chi2.logcdf scipy.stats.chi2.logpdf scipy.stats.chi2.logsf
    scipy.stats.chi2.pdf scipy.stats.chi2.sf scipy.stats.dirichlet.logpdf scipy.stats.dirichlet.pdf
    scipy.stats.expon.cdf scipy.stats.expon.logcdf scipy.stats.expon.logpdf scipy.stats.expon.logsf
    scipy.stats.expon.pdf scipy.stats.expon.sf scipy.stats.gamma.cdf scipy.stats.gamma.logcdf
    scipy.stats.gamma.logpdf scipy.stats.gamma.logsf scipy.stats.gamma.pdf scipy.stats.gamma.sf
    scipy.stats.gennorm.cdf scipy.stats.gennorm.logpdf scipy.stats.gennorm.pdf scipy.stats.geom.logpmf
    scipy.stats.geom.pmf scipy.stats.gumbel_l.cdf scipy.stats.gumbel_l.logcdf scipy.stats.gumbel_l.logsf
    scipy.stats.gumbel_l.sf scipy.stats.gumbel_r.cdf scipy.stats.gumbel_r.logcdf scipy.stats.gumbel_r.logsf
    scipy.stats.gumbel_r.sf scipy.stats.laplace.cdf scipy.stats.laplace.logpdf scipy.stats.laplace.pdf
    scipy.stats.multinomial.logpmf scipy.stats.multinomial.pmf scipy.stats.nbinom.logpmf scipy.stats.nbinom.pmf
    scipy.stats.norm.cdf scipy.stats.norm.isf scipy.stats.norm.logcdf scipy.stats.norm.logsf
    scipy.stats.norm.ppf scipy.stats.norm.sf scipy.stats.pareto.cdf scipy.stats.pareto.logcdf
    scipy.stats.pareto.logpdf scipy.stats.pareto.logsf scipy.stats.pareto.pdf scipy.stats.pareto.sf
    scipy.stats.poisson.cdf scipy.stats.poisson.entropy scipy.stats.poisson.logpmf scipy.stats.poisson.pmf
    scipy.stats.t.logpdf scipy.stats.t.pdf scipy.stats.truncnorm.cdf scipy.stats.truncnorm.logcdf
    scipy.stats.truncnorm.logpdf scipy.stats.truncnorm.logsf scipy.stats.truncnorm.pdf scipy.stats.truncnorm.sf
    scipy.stats.uniform.cdf scipy.stats.uniform.logpdf scipy.stats.uniform.pdf scipy.stats.vonmises.logpdf
    scipy.stats.vonmises.pdf scipy.stats.wrapcauchy.logpdf scipy.stats.wrapcauchy.pdf value_and_grad
    """.split()
)
"""Not in complex64 and complex128."""
