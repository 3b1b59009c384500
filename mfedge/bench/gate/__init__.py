"""Is a candidate slower than its baseline?"""
