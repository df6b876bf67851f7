"""What of a face can be seen: the judge of visible regions."""
