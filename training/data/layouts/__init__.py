"""How labelled pictures lie on disk: one file per layout, each strict, each naming every file that it refuses.

A layout has two functions: ``looks_like(folder)`` and ``read(folder, task)``. `docs/data_layouts.md` shows them all.
"""

from training.data.layouts import aihub, class_folders, csv_table, yolo

__all__ = ["aihub", "class_folders", "csv_table", "yolo"]
