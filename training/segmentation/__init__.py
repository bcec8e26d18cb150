"""The hair network: pseudo-images it learns from, U²-Net in three widths, its training, and classical baselines.

The names below need torch, which is slow to import, and the pseudo-images do not: each is loaded from its own module.
``pseudo_images.render_pseudo_image``, ``u2net.U2Net`` and ``U2NetConfig``, ``recipe.load_recipe``, ``train.train``,
``checkpoint.load_network``, ``baselines``.
"""
