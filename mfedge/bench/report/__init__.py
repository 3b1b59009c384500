"""What is printed and drawn."""

FORMATS = ("md", "csv", "svg", "png", "html")  # files that a stored result is turned into
TEXTS = ("md", "csv")  # those that need no library that draws
