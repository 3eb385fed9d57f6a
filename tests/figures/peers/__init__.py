"""Other tools as their documentation shows them, each campaign a process of its own, and what they reached, recorded.

The models are those of `policies.peers`; the loop and the record are older than `autoscope bench`.
"""
