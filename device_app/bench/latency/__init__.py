"""How fast this machine is, in a report that stands up in a review: `scalpscope bench` without a name behind it.

One run makes one `report.LatencyReport` (JSON), the raw time of every frame beside it (JSONL), and one page to look at
(HTML). `subjects` is what is timed, `loadgen` and `live` how it is driven, `machine` what the machine did meanwhile,
`quality` what the speed costs, `verdict` whether the figures count.
"""
