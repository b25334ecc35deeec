"""Public functions of JAX that have no case, and why each needs none."""

REASONS = {
    "settings, and contexts that change them": """
        allow_f16_reductions array_garbage_collection_guard auto_pcast check_tracer_leaks checking_leaks debug_infs
        debug_key_reuse debug_nans default_device default_matmul_precision default_prng_impl disable_jit enable_checks
        enable_custom_prng enable_x64 explain_cache_misses jax2tf_associative_scan_reductions legacy_prng_key
        log_compiles make_user_context no_execution no_tracing numpy_dtype_promotion numpy_rank_promotion
        remove_size_one_mesh_axis_from_type softmax_custom_jvp thread_guard threefry_partitionable transfer_guard
        transfer_guard_device_to_device transfer_guard_device_to_host transfer_guard_host_to_device
        numpy.get_printoptions numpy.printoptions numpy.set_printoptions""",
    "devices, buffers and processes": """
        block_until_ready clear_caches copy_to_host_async default_backend device_count device_get devices ds
        effects_barrier get_abstract_mesh get_mesh host_count host_id host_ids live_arrays local_device_count
        local_devices make_array_from_callback make_array_from_process_local_data
        make_array_from_single_device_arrays make_mesh print_environment_info process_count process_index
        process_indices""",
    "shapes, dtypes and other facts about arrays, not their entries": """
        typeof lax.broadcast_shapes lax.conv_dimension_numbers lax.conv_general_permutations
        lax.conv_general_shape_tuple lax.conv_shape_tuple lax.conv_transpose_shape_tuple lax.dtype lax.padtype_to_pads
        lax.reduce_window_shape_tuple lax.shape_as_value numpy.broadcast_shapes numpy.can_cast numpy.einsum_path
        numpy.iscomplexobj numpy.isdtype numpy.isrealobj numpy.isscalar numpy.issubdtype numpy.iterable numpy.ndim
        numpy.promote_types numpy.result_type numpy.shape numpy.size random.key_dtype random.key_impl
        nn.get_scaled_dot_general_config""",
    "types, for annotations": """
        lax.ConvGeneralDilatedDimensionNumbers lax.DotDimensionNumbers lax.PrecisionLike random.Key""",
    "constants: no array goes in": """
        lax.after_all lax.broadcasted_iota lax.create_token lax.empty lax.iota numpy.arange numpy.bartlett
        numpy.blackman numpy.diag_indices numpy.empty numpy.eye numpy.hamming numpy.hanning numpy.identity
        numpy.indices numpy.kaiser numpy.mask_indices numpy.ones numpy.tri numpy.tril_indices numpy.triu_indices
        numpy.zeros numpy.fft.fftfreq numpy.fft.rfftfreq scipy.linalg.dft scipy.linalg.hadamard scipy.linalg.helmert
        scipy.linalg.hilbert scipy.linalg.invhilbert scipy.linalg.invpascal scipy.linalg.pascal
        scipy.special.bernoulli""",
    "initializers that are given a scale or a shape of their own; they draw as those that have a case": """
        nn.initializers.delta_orthogonal nn.initializers.variance_scaling""",
    "the size of the result depends on the entries, so it cannot be traced": """
        numpy.trim_zeros""",
    "allocates or frees, and hands nothing on": "empty_ref free_ref",
    "reads or writes files, buffers, iterators or text": """
        numpy.array_repr numpy.array_str numpy.from_dlpack numpy.frombuffer numpy.fromfile numpy.fromiter
        numpy.fromstring numpy.load numpy.save numpy.savez""",
    "shows something to the person in front of the screen": """
        ad_checkpoint.print_saved_residuals debug.breakpoint debug.inspect_array_sharding debug.visualize_array_sharding
        debug.visualize_sharding""",
    "needs a mesh around the whole test, which `tests/language/test_meshes.py` has": "reshard smap",
    "needs hardware or collectives that a CPU does not have": """
        lax.pbroadcast lax.psend lax.precv lax.psum_scatter_start lax.ragged_all_to_all nn.scaled_matmul""",
}

EXCEPTIONS = {name: reason for reason, names in REASONS.items() for name in names.split()}

NEWER = frozenset(
    """
    ad_checkpoint.checkpoint_name_fwd lax.log2 lax.mulhi lax.one_minus_square lax.polynomial numpy.minmax
    numpy.top_k scipy.linalg.convolution_matrix scipy.linalg.fiedler_companion scipy.special.boxcox
    scipy.special.boxcox1p scipy.special.comb scipy.special.dawsn scipy.special.erfcinv scipy.special.wofz
    """.split()
)
"""Names that only the newer of the two versions of JAX has."""
