"""Tables, the dataset that they make, and the features that are learned from it."""
