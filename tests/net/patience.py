"""How long tests wait for what should come soon: on a machine with other work it takes many times
as long."""

HANGS_S = 240.0
"""Whoever has waited so long waits for ever. It says nothing of how fast anything is, and no test
that passes waits."""
