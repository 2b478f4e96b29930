"""The protocols, one file each: ``read`` a body into an `Ask`, ``Writer`` a reply, ``problem`` an error's body."""
