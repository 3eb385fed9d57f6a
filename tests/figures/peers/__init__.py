"""Other tools as their documentation shows them, each a process of its own, and what they reached, recorded.

The workers import nothing of ours but `peer_loop`, so that each can run with an interpreter of its own.
"""
