"""Pictures and labels: from files to a network's input."""
