"""What the commands that act on AWS share."""
