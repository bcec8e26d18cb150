"""The sub-commands of ``scalpscope-train``, one module per network: ``segmentation``."""
