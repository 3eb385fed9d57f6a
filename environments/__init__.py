"""Gymnasium environments and instrument drivers; importing this package registers the ``autoscope/...-v0`` ids.

The autoscope package never imports it: it loads environments and instruments by entry point only.
"""

from environments.registration import register

register()
