"""Measurements behind every performance claim: ratios to a peer, in one run, medians of interleaved rounds."""
