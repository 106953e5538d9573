"""What the other packages share: settings, errors, names on AWS, releases and their store."""
