"""Measurements: ratios of things run side by side, never a test."""
