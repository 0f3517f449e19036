"""What all attacks are made of: what is climbed, the climb, where it starts, what it aims at and how often."""
