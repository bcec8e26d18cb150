"""The measurements of docs/benchmarks.md, one module for each ``scalpscope bench`` command.

Each module hands out ``command``, which `device_app.commands.bench` finds by the module's name, and measures the same
code that the app runs. Nothing in the app imports from here.
"""
