"""Upper bounds on v* by relaxations of the network: a file a method, and the two engines below them."""
