"""The sub-commands of ``scalpscope-train``, one module per network; ``options`` has what they share."""
