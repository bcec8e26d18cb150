"""How good masks are: the figures of ScalpVision's Table 1, for any set of methods on any folder of pictures and masks.

``mask_metrics`` counts and scores one mask, ``pairs`` reads pictures and truths, ``finder`` says what a method is;
``methods``, ``bundle_finder`` and ``sam_automatic`` are those there are. ``evaluate`` makes tallies, scores, paired
differences and conditions of them, each with an interval by ``bootstrap``; ``report`` and ``sheet`` write them down.
``flakes`` is the test on pictures full of what is no hair.
"""

from training.evaluation.mask_metrics import MaskCounts, MaskScores, count_mask, mean_scores, pooled_scores

__all__ = ["MaskCounts", "MaskScores", "count_mask", "mean_scores", "pooled_scores"]
