"""What watches a training while it runs: stops, curves, samples, progress, and what it costs."""
