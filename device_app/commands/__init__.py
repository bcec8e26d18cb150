"""The sub-commands of `scalpscope`, one module each; each has a `command` that `device_app.cli` mounts.

They import what they need when they run, so that ``scalpscope --help`` answers at once.
"""
