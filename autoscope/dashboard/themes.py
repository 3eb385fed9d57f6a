"""A dark and a light theme in colours for colour-blind eyes too (after Okabe and Ito, 2008)."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="autoscope-dark",
    primary="#56B4E9",
    secondary="#CC79A7",
    accent="#56B4E9",
    success="#3CC9A0",
    warning="#F0B040",
    error="#FF7043",
    foreground="#E6E6E6",
    background="#101418",
    surface="#161B21",
    panel="#2A323B",
    dark=True,
)
LIGHT = Theme(
    name="autoscope-light",
    primary="#0072B2",
    secondary="#A0527F",
    accent="#0072B2",
    success="#007A5A",
    warning="#A86400",
    error="#B84300",
    foreground="#1A1A1A",
    background="#FAFAF7",
    surface="#F0F0EC",
    panel="#D8DAD6",
    dark=False,
)
