"""What the pages show: one file a subject; each view is a function of a visit that returns a response."""
