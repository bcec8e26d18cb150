"""How good masks are: the figures of ScalpVision's Table 1, for any set of methods on any folder of pictures and masks.

Public: ``mask_metrics`` (counts and scores), ``methods`` (what can be evaluated), ``evaluate`` (pairs, scores, files).
"""

from training.evaluation.mask_metrics import MaskCounts, MaskScores, count_mask, mean_scores, pooled_scores

__all__ = ["MaskCounts", "MaskScores", "count_mask", "mean_scores", "pooled_scores"]
