"""Tests that need an NVIDIA GPU and TensorRT: `make test-gpu`. Not part of `make test`, whose machines have neither."""

from __future__ import annotations

import os

WANTED = os.environ.get("SCALPSCOPE_TEST_GPU") == "1"
collect_ignore_glob = [] if WANTED else ["test_*.py"]
