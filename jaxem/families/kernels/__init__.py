"""What the engine runs for a family: coordinates, anchors, packing and rounding errors, in a file for each kernel."""
