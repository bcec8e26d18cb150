"""SAM for hair (ScalpVision, section 3.2): prompted by points that Algorithm 1 draws from the coarse mask.

``examples`` makes what the student learns from, ``sampling`` draws its prompts, ``student`` is the network, ``losses``
and ``train`` teach it without any teacher; ``checkpoints``, ``tiny_vit`` and ``distil`` bring in official SAMs.
"""
