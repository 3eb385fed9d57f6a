"""What others need to test against autoscope: disks that fail on purpose; conformance kits will live here."""
