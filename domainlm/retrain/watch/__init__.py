"""The long-lived watcher: it notices, starts children, and outlives what goes wrong around it."""
