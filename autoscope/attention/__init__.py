"""Telling people that a run needs them: reasons, quiet hours, and channels from a bell to an e-mail."""
