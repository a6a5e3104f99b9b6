"""What does it take to change its answers?"""
