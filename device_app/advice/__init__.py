"""What is said about a graded condition: a plain table that anybody may edit, condition by severity, one file per
language, `advice.LANGUAGE.toml`. It informs and names its sources; it diagnoses nothing and orders no treatment.
`load_advice` reads one, strictly: a table is complete or it is refused.
"""

from device_app.advice.table import Advice, AdviceTable, load_advice, shipped_languages

__all__ = ["Advice", "AdviceTable", "load_advice", "shipped_languages"]
