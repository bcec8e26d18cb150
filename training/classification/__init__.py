"""Classifiers: conditions with their severity, scalp condition, hair-loss stage. Trained, calibrated, evaluated."""
