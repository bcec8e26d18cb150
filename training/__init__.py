"""Everything that teaches the networks: data, networks, losses, training runs, evaluation and their recipes.

It imports the device's own pre- and post-processing, so that what is trained is what is served; the device never
imports it. ``data`` finds backgrounds, ``segmentation`` holds the hair network, ``evaluation`` scores masks,
``configs`` holds the recipes, ``cli`` the command ``scalpscope-train``.
"""
