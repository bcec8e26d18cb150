"""Everything that teaches the networks: data, networks, losses, training runs, evaluation and their recipes.

It imports the device's own pre- and post-processing, so that what is trained is what is served; the device never
imports it. ``data`` finds backgrounds, ``segmentation`` holds the hair network, ``prompting`` SAM, ``evaluation``
scores masks. ``run`` is the one training loop, ``checkpoint`` and ``report`` write what it leaves behind, ``recipes``
reads the recipes in ``configs``, and ``cli`` is the command ``scalpscope-train``.
"""
