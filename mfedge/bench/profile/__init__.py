"""Where the time goes, per operator and per part of the network."""
