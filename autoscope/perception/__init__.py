"""What is seen in frames: scalarizers, regions, registration, sharpness."""
