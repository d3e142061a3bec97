"""Measurements: reproductions of the paper, searches of settings, benchmarks."""
