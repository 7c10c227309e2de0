"""A mark in the brightness of a clip that says which clip it is, and outlives encoders, scaling and crops.

A server embeds it with a pattern key (`embedding`); whoever has the keys reads it (`reading`). What it does not
outlive, and that it resists nobody who works to remove it, is said in docs/safety.md; how it is built in
docs/decisions/0027-watermark.md.
"""
