"""What the networks learn from: hair-free backgrounds cut from unlabelled scalp pictures, or drawn from nothing."""

from training.data.backgrounds import BackgroundPool, Patch, find_patches, load_backgrounds

__all__ = ["BackgroundPool", "Patch", "find_patches", "load_backgrounds"]
