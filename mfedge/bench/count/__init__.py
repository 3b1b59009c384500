"""Instructions of one inference, counted under emulation: the same number every time, on any machine."""
