"""What the live page is made of: markup, style and code."""
