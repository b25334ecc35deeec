"""Measurements behind every performance claim: ratios to peers, in one run, medians of interleaved rounds."""
